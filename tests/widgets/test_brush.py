from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from outline_views import SQUARE, Bench, volume

from napari_medlab.annotations import Region
from napari_medlab.correcting.masks import patch_in
from napari_medlab.correcting.regions import slices_of
from napari_medlab.widgets.layers import brush as brushes
from napari_medlab.widgets.layers.brush import MaskBrush

if TYPE_CHECKING:
    import pytest


def brush_on(bench: Bench) -> MaskBrush:
    return MaskBrush(bench.viewer, bench.outlines, bench.events.later)


def stroke(bench: Bench, brush: MaskBrush, *places: tuple[float, ...], label: int = 1) -> None:
    """Paint as napari does from press to release."""
    layer = brush.layer
    with layer.block_history():
        for place in places:
            layer.paint(place, label)
    bench.events.run()


def test_a_stroke_becomes_the_exact_outline_and_other_slices_keep_theirs() -> None:
    bench = Bench()
    region = volume(2, 3, 5, ring=SQUARE / 3)
    bench.show(region)
    brush = brush_on(bench)
    brush.size = 5
    brush.use()
    assert brush.layer.data.dtype == np.uint8
    np.testing.assert_allclose(brush.layer.scale, bench.view.scale)
    stroke(bench, brush, (3, 20, 20), (3, 20, 24))
    ((before, after),) = bench.edits
    assert before is region
    assert after is not None
    assert after.rings[0] is region.rings[0]
    assert after.rings[-1] is region.rings[2]
    mask = patch_in(after, tuple(slice(0, size) for size in bench.view.grid.shape)).mask
    np.testing.assert_array_equal(mask, brush.layer.data.astype(bool))


def test_naparis_own_undo_has_nothing_to_take_back() -> None:
    bench = Bench()
    bench.show(volume(3))
    brush = brush_on(bench)
    brush.use()
    stroke(bench, brush, (3, 30, 30))
    painted = brush.layer.data.copy()
    brush.layer.undo()
    bench.events.run()
    np.testing.assert_array_equal(brush.layer.data, painted)
    assert len(bench.edits) == 1


def test_an_undone_stroke_goes_from_the_mask_too() -> None:
    bench = Bench()
    region = volume(3)
    bench.show(region)
    brush = brush_on(bench)
    brush.use("erase")
    stroke(bench, brush, (3, 15, 15), label=0)
    bench.show(region)
    assert brush.mode == "erase"
    expected = patch_in(region, tuple(slice(0, size) for size in bench.view.grid.shape)).mask
    np.testing.assert_array_equal(brush.layer.data.astype(bool), expected)


def test_erasing_all_removes_the_outline_and_painting_again_makes_a_new_one() -> None:
    bench = Bench()
    region = volume(3)
    bench.show(region)
    brush = brush_on(bench)
    brush.size = 60
    brush.use("erase")
    stroke(bench, brush, (3, 15, 15), label=0)
    assert bench.edits == [(region, None)]
    brush.size = 3
    stroke(bench, brush, (4, 15, 15))
    before, after = bench.edits[-1]
    assert before is None
    assert after is not None
    assert after.region_id != region.region_id
    assert (after.owner_id, slices_of(after)) == ("o", [4])


def test_a_ball_paints_through_the_slices_and_the_polygon_on_one() -> None:
    bench = Bench()
    bench.show()
    brush = brush_on(bench)
    brush.size, brush.is_3d = 17, True
    brush.use()
    stroke(bench, brush, (3, 20, 20))
    _, ball = bench.edits[-1]
    assert ball is not None
    assert slices_of(ball) == [1, 2, 3, 4, 5]
    brush.is_3d = False
    brush.use("polygon")
    brush.layer.paint_polygon([[3, 30, 30], [3, 30, 39], [3, 38, 39]], 1)
    bench.events.run()
    assert len(bench.edits) == 2


def test_a_mask_of_an_image_shown_turned_lands_where_it_was_painted() -> None:
    bench = Bench((40, 50), flips=(1, -1))
    bench.show()
    brush = brush_on(bench)
    brush.size = 1
    brush.use()
    stroke(bench, brush, (10, 5))
    ((_, after),) = bench.edits
    assert after is not None
    np.testing.assert_allclose(after.rings[0].mean(axis=0), (10, 44))


def test_the_patch_is_bounded_and_follows_the_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brushes, "SLICES", 4)
    bench = Bench((30, 40, 50))
    bench.show(volume(3, 20))
    brush = brush_on(bench)
    brush.use()
    assert brush.layer.data.shape == (4, 40, 50)
    assert brush.layer.translate[0] == 2.0
    bench.viewer.dims.set_point(0, 20 * 2.0)
    assert brush.layer.translate[0] == 36.0
    assert brush.layer.data[2].any()
    assert bench.edits == []


def test_a_large_plane_is_painted_around_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brushes, "SIDE", 64)
    bench = Bench((400, 500))
    far = Region("c", (SQUARE + 300,), "o")
    bench.show(far)
    bench.viewer.scene.camera.center = (0.0, 100 * 0.5, 120 * 0.5)
    brush = brush_on(bench)
    brush.size = 4
    brush.use()
    np.testing.assert_allclose(brush.layer.translate, (68 * 0.5, 88 * 0.5))
    stroke(bench, brush, (10, 10))
    ((_, after),) = bench.edits
    assert after is not None
    assert len(after.rings) == 2
    assert polygons_at(after) == [(78, 98), (315, 315)]


def polygons_at(region: Region) -> list[tuple[int, int]]:
    return sorted((round(float(ring[:, 0].mean())), round(float(ring[:, 1].mean()))) for ring in region.rings)


def test_the_brush_goes_when_another_tool_or_another_case_comes() -> None:
    bench = Bench()
    region = volume(3)
    bench.show(region)
    brush = brush_on(bench)
    told: list[str] = []
    brush.changed.connect(told.append)
    brush.use()
    assert bench.outlines.is_editing
    assert len(bench.outlines.layer.data) == 0
    bench.outlines.use("direct")
    assert brush.layer is None
    assert "mask" not in bench.viewer.layers
    assert len(bench.outlines.layer.data) == 1
    brush.use("fill")
    brush.use("fill")
    assert told == ["paint", "", "fill", ""]
    assert not bench.outlines.is_editing
    brush.use()
    bench.view = type(bench.view)(**{**vars(bench.view), "case_id": "other"})
    bench.show()
    assert brush.layer is None
