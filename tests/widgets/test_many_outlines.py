"""Many outlines over a slide: what is on the canvas, what is picked, and what an edit paints again."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.components import ViewerModel

sys.path.insert(0, str(Path(__file__).parents[1] / "annotations"))

from outline_samples import random_table, star

from napari_medlab.annotations import Region
from napari_medlab.annotations.painting import FILL, POINT, SOLID, Frame, paint
from napari_medlab.annotations.region_index import RegionIndex
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.geometry import Grid
from napari_medlab.images.tiles import TileCache
from napari_medlab.widgets.layers.case_view import CaseView
from napari_medlab.widgets.layers.many_outlines import (
    CHOSEN_GROUP,
    COLOURS,
    NAME,
    SMALL,
    ManyOutlines,
    PreparedOutlines,
    by_label,
    is_many,
)
from napari_medlab.widgets.layers.painted_tiles import FINER, TILE, PaintedPyramid, Painting

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


SHAPE = (1500, 1100)
HANG = 30.0


def table_of(count: int = 300, seed: int = 0) -> RegionTable:
    made: RegionTable = random_table(np.random.default_rng(seed), count, 1000.0)
    return made


def view_of(flips: tuple[int, int] = (1, 1), pixel_um: float = 0.5) -> CaseView:
    pixels = np.zeros((*SHAPE, 3), np.uint8)
    grid = Grid.axis_aligned(SHAPE, (pixel_um, pixel_um), unit="um")
    return CaseView("case", "slide", "slide", [[pixels]], grid, is_rgb=True, order=(0, 1), flips=flips)


def pyramid_of(table: RegionTable, flips: tuple[int, int] = (1, 1)) -> PaintedPyramid:
    painting = Painting(RegionIndex.of(table), by_label(table))
    return PaintedPyramid(painting, SHAPE, flips, TileCache(1 << 26))


def all_levels(pyramid: PaintedPyramid) -> list[NDArray[np.uint8]]:
    return [np.asarray(level[...]) for level in pyramid.levels]


@pytest.fixture
def shown() -> tuple[Any, ManyOutlines, RegionTable]:
    viewer, table = ViewerModel(), table_of()
    many = ManyOutlines(viewer)
    many.show(PreparedOutlines(view_of(), table))
    return viewer, many, table


def test_levels_are_halvings_that_begin_finer_than_the_image() -> None:
    levels = pyramid_of(table_of(3)).levels
    assert levels[0].shape == (SHAPE[0] * FINER, SHAPE[1] * FINER)
    for fine, coarse in itertools.pairwise(levels):
        assert coarse.shape == tuple(-(-size // 2) for size in fine.shape)


@pytest.mark.parametrize("flips", [(1, 1), (1, -1)])
def test_a_level_holds_what_is_painted_of_it(flips: tuple[int, int]) -> None:
    table = table_of()
    pyramid = pyramid_of(table, flips)
    number = FINER.bit_length() - 1
    last = [size - 1 for size in SHAPE]
    shift = tuple(float(end) if flip < 0 else 0.0 for end, flip in zip(last, flips, strict=True))
    frame = Frame((float(flips[0]), float(flips[1])), (shift[0], shift[1]), (0, 0), SHAPE, SHAPE)
    assert pyramid.pixels_per_index(number) == 1
    painted = paint(pyramid.painting.index, pyramid.painting.groups, frame)
    assert np.array_equal(pyramid.levels[number][...], painted)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_after_an_edit_every_level_is_as_if_painted_anew(level: int) -> None:
    rng, table = np.random.default_rng(1), table_of()
    pyramid = pyramid_of(table)
    all_levels(pyramid)  # everything is in memory
    moved = replace(table.region(7), rings=(star(rng, np.array([512.0, 512.0]), 80.0),))
    index = pyramid.painting.index.with_region(moved)
    pyramid.change(Painting(index, np.append(pyramid.painting.groups, np.uint8(5))), [7, len(table)], level)
    anew = PaintedPyramid(pyramid.painting, SHAPE, cache=TileCache(1 << 26))
    for ours, theirs in zip(all_levels(pyramid), all_levels(anew), strict=True):
        assert np.array_equal(ours, theirs)


def test_an_edit_paints_the_tiles_it_touches_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of()
    pyramid = pyramid_of(table)
    all_levels(pyramid)
    painted: list[Frame] = []

    def counting(index: RegionIndex, groups: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
        painted.append(frame)
        return paint(index, groups, frame)

    monkeypatch.setattr("napari_medlab.widgets.layers.painted_tiles.paint", counting)
    rows = np.flatnonzero(np.diff(table.boxes, axis=1)[:, 0].max(axis=1) < 20)
    pyramid.change(
        Painting(pyramid.painting.index.without(int(rows[0])), pyramid.painting.groups), rows[:1].tolist(), 1
    )
    # the box of the outline on the level that is looked at, in up to four tiles, and on the coarsest
    assert 1 <= len(painted) <= 5
    assert sum(int(np.prod(frame.shape)) for frame in painted) < 100**2
    painted.clear()
    all_levels(pyramid)
    assert all(frame.shape <= (TILE, TILE) for frame in painted)
    assert 1 <= len(painted) <= 4 * len(pyramid.levels)


def test_an_outline_over_very_many_tiles_is_painted_again_as_well() -> None:
    table = table_of(20)
    pyramid = PaintedPyramid(
        Painting(RegionIndex.of(table), by_label(table)), (4000, 4000), cache=TileCache(1 << 28)
    )
    corner = (slice(0, 700), slice(0, 700))
    before = pyramid.levels[0][corner]
    ring = Region("case", (np.array([[100.0, 100.0], [100.0, 3900.0], [3900.0, 3900.0], [3900.0, 100.0]]),))
    index = pyramid.painting.index.with_region(ring)
    pyramid.change(Painting(index, np.append(pyramid.painting.groups, np.uint8(1))), [index.row_count - 1], 0)
    assert not np.array_equal(pyramid.levels[0][corner], before)
    assert SOLID * 16 + 1 in pyramid.levels[0][398:404, 1000]


def test_a_tile_that_is_painted_during_an_edit_is_not_taken_for_what_is_there_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = table_of()
    pyramid = pyramid_of(table)
    row = int(np.argmax(np.diff(table.boxes, axis=1)[:, 0].min(axis=1)))
    later = Painting(pyramid.painting.index.without(row), pyramid.painting.groups)

    def edited_meanwhile(index: RegionIndex, groups: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
        pixels = paint(index, groups, frame)
        monkeypatch.setattr("napari_medlab.widgets.layers.painted_tiles.paint", paint)
        pyramid.change(later, [row], 3)
        return pixels

    monkeypatch.setattr("napari_medlab.widgets.layers.painted_tiles.paint", edited_meanwhile)
    middle = (table.boxes[row].mean(axis=0) * FINER).astype(int) // TILE
    box = tuple(slice(n * TILE, (n + 1) * TILE) for n in middle.tolist())
    assert pyramid.levels[0][box].any()  # what the thread got that began before the edit
    anew = PaintedPyramid(later, SHAPE, cache=TileCache(1 << 26))
    assert np.array_equal(pyramid.levels[0][box], anew.levels[0][box])


def test_repainting_begins_again_where_an_edit_came_in_between() -> None:
    table = table_of()
    pyramid = pyramid_of(table)
    made: list[Painting] = []

    def remake(painting: Painting) -> Painting:
        if not made:
            pyramid.change(Painting(painting.index.without(3), painting.groups), [3], 0)
        made.append(painting)
        return Painting(painting.index, np.minimum(painting.groups, 1).astype(np.uint8))

    pyramid.repaint(remake)
    assert len(made) == 2
    assert len(pyramid.painting.index) == len(table) - 1
    assert set(np.unique(pyramid.coarsest % 16).tolist()) == {0, 1}
    before = pyramid.painting
    pyramid.repaint(remake, lambda: True)
    assert pyramid.painting is before


@pytest.mark.parametrize("flips", [(1, 1), (1, -1)])
def test_what_is_drawn_at_a_place_is_picked_there(flips: tuple[int, int]) -> None:
    view, table = view_of(flips), table_of()
    many = ManyOutlines(ViewerModel())
    many.show(PreparedOutlines(view, table))
    for row in range(0, 100, 7):
        middle = table.boxes[row].mean(axis=0)
        found = RegionIndex.of(table).at(middle)
        position = view.to_shown(middle) * np.asarray(view.scale)
        assert many.pick(position) == (None if found < 0 else table.region(found).region_id)
        layer = many.layer
        if found >= 0 and (middle > 1).all() and (middle < np.asarray(SHAPE) - 2).all():
            drawn = np.rint(np.asarray(layer.world_to_data(position))).astype(int)
            assert layer.data[0][drawn[0] - 2 : drawn[0] + 3, drawn[1] - 2 : drawn[1] + 3].any()


def test_the_layer_lies_exactly_over_the_image(shown: tuple[Any, ManyOutlines, RegionTable]) -> None:
    viewer, many, _ = shown
    view = view_of()
    image = viewer.add_image(view.levels[0], scale=view.scale, units=view.units, rgb=True)
    # corners of pixels, as napari draws them: half a pixel before the centre of the first
    first = np.asarray(many.layer.data_to_world((-0.5, -0.5)))
    assert first == pytest.approx(image.data_to_world((-0.5, -0.5)))
    ends = np.asarray(many.layer.data[0].shape) - 0.5
    assert np.asarray(many.layer.data_to_world(ends)) == pytest.approx(
        image.data_to_world(np.asarray(SHAPE) - 0.5)
    )
    assert many.layer.units == image.units


def test_an_outline_is_taken_out_and_put_back(shown: tuple[Any, ManyOutlines, RegionTable]) -> None:
    _, many, table = shown
    region, count = table.region(5), len(table)
    before = all_levels_of(many)
    taken = many.take_out(region.region_id)
    assert taken is not None
    assert taken.digest() == region.digest()
    assert many.index is not None
    assert len(many.index) == count - 1
    assert many.take_out(region.region_id) is None
    many.put_back(taken)
    assert len(many.index) == count
    assert many.index.score(many.index.row_of(region.region_id)) == table.scores[5]
    assert all(np.array_equal(a, b) for a, b in zip(before, all_levels_of(many), strict=True))


def test_the_chosen_outline_has_the_colour_of_the_chosen_one(
    shown: tuple[Any, ManyOutlines, RegionTable],
) -> None:
    _, many, table = shown
    row = int(np.argmax(np.diff(table.boxes, axis=1)[:, 0].min(axis=1)))
    before = all_levels_of(many)
    region = table.region(row)
    many.choose(region.region_id)
    assert all((level % 16 == CHOSEN_GROUP).any() for level in all_levels_of(many))
    many.put_back(replace(region, rings=tuple(ring + 3 for ring in region.rings)))
    assert all((level % 16 == CHOSEN_GROUP).any() for level in all_levels_of(many))
    many.put_back(region)
    many.choose("")
    assert all(np.array_equal(a, b) for a, b in zip(before, all_levels_of(many), strict=True))


def test_outlines_are_grouped_anew_and_the_chosen_and_edited_ones_with_them(
    shown: tuple[Any, ManyOutlines, RegionTable],
) -> None:
    _, many, table = shown
    many.choose(table.region(9).region_id)
    many.put_back(replace(table.region(2), label="something new"))

    def by_score(each: RegionTable) -> NDArray[np.uint8]:
        return np.where(each.scores >= 0.5, 2, 0).astype(np.uint8)

    stale = many.regrouping(by_label)
    many.regrouping(by_score)()
    stale()
    assert many.index is not None
    groups = {many.index.region(row).region_id: int(group) for row, group in enumerate(groups_of(many))}
    for row in range(len(table)):
        wanted = CHOSEN_GROUP if row == 9 else 2 if table.scores[row] >= 0.5 else 0
        assert groups[table.region(row).region_id] == wanted


def test_colours_are_changed_without_painting(
    shown: tuple[Any, ManyOutlines, RegionTable], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, many, _ = shown
    monkeypatch.setattr("napari_medlab.widgets.layers.painted_tiles.paint", None)
    many.set_colours(["#123456"])
    line = many.layer.colormap.map(np.array([(SOLID * 16 + 3) / 255]))[0]
    assert np.rint(line[:3] * 255).tolist() == [0x12, 0x34, 0x56]
    assert many.layer.colormap.map(np.array([0.0]))[0, 3] == 0


def test_every_value_has_a_colour_of_its_own_in_the_middle_of_its_bin(
    shown: tuple[Any, ManyOutlines, RegionTable],
) -> None:
    _, many, _ = shown
    colormap = many.layer.colormap
    assert len(colormap.controls) == 257
    for code in range(1, 255):
        assert colormap.controls[code] < code / 255 < colormap.controls[code + 1]
    fill, line = (colormap.map(np.array([(strength * 16 + 1) / 255]))[0] for strength in (FILL, POINT))
    assert np.allclose(fill[:3], line[:3])
    assert 0 < fill[3] < line[3]


def test_what_points_mean_is_told_when_the_zoom_changes() -> None:
    small = [
        Region("case", (star(np.random.default_rng(n), np.array([700.0, 3.0 * n]), 2.0),)) for n in range(300)
    ]
    prepared = PreparedOutlines(view_of(), RegionTable.from_regions("case", small))
    assert prepared.note(len(prepared.pyramid.levels) - 1).startswith("300 of 300 outlines are too small")
    assert prepared.note(0) == ""
    notes: list[str] = []
    many = ManyOutlines(ViewerModel())
    many.noted.connect(notes.append)
    many.show(prepared)
    many.clear()
    assert len(notes) == 2
    assert "a point stands for one or more" in notes[0]
    assert notes[1] == ""


def test_another_case_is_shown_in_the_same_layer_and_a_case_in_other_units_in_one_of_its_own() -> None:
    viewer = ViewerModel()
    many = ManyOutlines(viewer)
    many.show(PreparedOutlines(view_of(), table_of()))
    first = many.layer
    many.show(PreparedOutlines(view_of(pixel_um=0.25), table_of(seed=1)), COLOURS)
    assert many.layer is first
    assert first.scale.tolist() == [0.25 / FINER] * 2
    grid = Grid.axis_aligned(SHAPE, (1.0, 1.0), unit="px")
    many.show(PreparedOutlines(replace(view_of(), grid=grid), table_of()))
    assert many.layer is not first
    assert [layer.name for layer in viewer.layers] == [NAME]
    many.clear()
    assert len(viewer.layers) == 0
    assert many.pick((1.0, 1.0)) is None
    assert many.in_lasso([(0, 0), (0, 9), (9, 9)]) == []


def test_until_another_case_is_there_nothing_of_the_one_before_is_shown(
    shown: tuple[Any, ManyOutlines, RegionTable],
) -> None:
    viewer, many, table = shown
    layer = many.layer
    many.make_room(view_of(pixel_um=0.25))
    assert (many.layer, layer.visible, many.pyramids) == (layer, False, ())
    assert max(viewer.layers.extent.world[1]) < 1
    assert many.pick(table.boxes[0].mean(axis=0) * 0.5) is None
    assert many.take_out(table.region(0).region_id) is None
    many.show(PreparedOutlines(view_of(), table))
    assert (many.layer, layer.visible) == (layer, True)
    volume = Grid.axis_aligned((4, 8, 8), (1.0, 1.0, 1.0))
    many.make_room(replace(view_of(), grid=volume))
    assert len(viewer.layers) == 0


def test_a_lasso_on_the_canvas_takes_what_lies_in_it(shown: tuple[Any, ManyOutlines, RegionTable]) -> None:
    _, many, table = shown
    corners = np.array([[100.0, 100.0], [100.0, 400.0], [400.0, 400.0], [400.0, 100.0]])
    wanted = [table.region(row).region_id for row in RegionIndex.of(table).in_lasso(corners).tolist()]
    assert wanted
    assert many.in_lasso(corners * 0.5) == wanted


def test_painting_on_the_way_to_the_canvas_never_waits(shown: tuple[Any, ManyOutlines, RegionTable]) -> None:
    _, many, _ = shown
    namespace: dict[str, Any] = {"__name__": "napari.layers.test", "level": many.layer.data[0]}
    exec("def draw(box): return level[box]", namespace)  # noqa: S102 - a frame that looks like napari's own
    draw: Callable[[Any], NDArray[np.uint8]] = namespace["draw"]
    box = (slice(0, 1000), slice(0, 1000))
    draw(box)
    streamed = many.pyramids[0]
    until = time.monotonic() + HANG
    while streamed.is_waiting:
        assert time.monotonic() < until, "tiles never came"
        time.sleep(0.002)
    assert streamed.take_news()
    assert np.array_equal(draw(box), many.layer.data[0][box])


def test_few_outlines_and_those_of_volumes_are_left_to_the_shapes_layer() -> None:
    few, many = table_of(SMALL), table_of(SMALL + 1)
    assert not is_many(view_of(), few)
    assert is_many(view_of(), many)


def all_levels_of(many: ManyOutlines) -> list[NDArray[np.uint8]]:
    return [np.asarray(level[...]) for level in many.layer.data]


def groups_of(many: ManyOutlines) -> NDArray[np.uint8]:
    prepared = many._prepared
    assert prepared is not None
    return prepared.pyramid.painting.groups
