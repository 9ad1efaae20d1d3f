"""Painted outlines: as a plain rasteriser has them, without seams, and none of them left out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from outline_samples import random_table, tables

from napari_medlab.annotations import Region
from napari_medlab.annotations.painting import FILL, FILLED_PX, POINT, POINT_PX, SHORT_PX, SOLID, Frame, paint
from napari_medlab.annotations.region_edges import longest_edges
from napari_medlab.annotations.region_index import RegionIndex
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.geometry import rings_to_mask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

SHAPE = (50, 50)
WHOLE = Frame((1.0, 1.0), (0.0, 0.0), (0, 0), SHAPE, SHAPE)
SQUARE = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])


def frame_of(factor: float, shape: tuple[int, int] = SHAPE) -> Frame:
    """Return all of a level that is coarser by a factor."""
    size = (int(np.ceil(shape[0] / factor)), int(np.ceil(shape[1] / factor)))
    scale = (size[0] / shape[0], size[1] / shape[1])
    return Frame(scale, (0.5 * scale[0] - 0.5, 0.5 * scale[1] - 0.5), (0, 0), size, size)


def groups_of(table: RegionTable) -> NDArray[np.uint8]:
    return (table.labels + 1).astype(np.uint8)


def side_of(region: Region) -> float:
    """Return the longer side of the box around a region."""
    vertices = np.concatenate(region.rings)
    return float(np.ptp(vertices, axis=0).max())


def plainly(table: RegionTable, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Paint outlines one by one and edge by edge, each pixel with the strongest mark."""
    out = np.zeros(shape, np.uint8)
    for number in range(len(table)):
        region, group = table.region(number), int(table.labels[number]) + 1
        if side_of(region) > FILLED_PX:
            inside = rings_to_mask(region.rings, shape)
            out[inside] = np.maximum(out[inside], FILL * 16 + group)
        for ring in region.rings:
            for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                for place, strength in marks_of(start, end):
                    if 0 <= place[0] < shape[0] and 0 <= place[1] < shape[1]:
                        out[place] = max(out[place], round(strength) * 16 + group)
    return out


def marks_of(start: NDArray[np.float64], end: NDArray[np.float64]) -> Iterator[tuple[tuple[int, int], float]]:
    """Yield the pixels that an edge marks where it crosses rows and columns, and how strongly."""
    for axis in (0, 1):
        low, high = sorted((start[axis], end[axis]))
        for line in range(int(np.ceil(low)), int(np.ceil(high))):
            share = (end[1 - axis] - start[1 - axis]) / (end[axis] - start[axis])
            at = start[1 - axis] + (line - start[axis]) * share
            nearest = int(np.floor(at + 0.5))
            for other in (nearest - 1, nearest, nearest + 1):
                strength = float(np.clip(1.5 - abs(at - other), 0, 1)) * SOLID
                yield (line, other) if axis == 0 else (other, line), strength


def drawn_as_lines(table: RegionTable) -> RegionTable:
    """Return the outlines that are large enough at level 0."""
    sides = np.diff(table.boxes, axis=1)[:, 0].max(axis=1)
    return table.where(sides > POINT_PX)


@given(table=tables())
@settings(deadline=None, max_examples=80)
def test_lines_and_fills_are_those_of_a_plain_rasteriser(table: RegionTable) -> None:
    table = drawn_as_lines(table)
    # of others vertices may be left out, which moves a line by less than half a pixel
    assume((longest_edges(table) * 2 > SHORT_PX).all())
    assert np.array_equal(paint(RegionIndex.of(table), groups_of(table), WHOLE), plainly(table, SHAPE))


@given(table=tables(most=30), factor=st.sampled_from([0.25, 1, 2, 7, 16]), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=80)
def test_tiles_meet_without_a_seam(table: RegionTable, factor: float, seed: int) -> None:
    index, groups = RegionIndex.of(table), groups_of(table)
    whole = frame_of(factor)
    all_of_it = paint(index, groups, whole)
    rng = np.random.default_rng(seed)
    top, left = (int(rng.integers(0, size)) for size in whole.shape)
    height, width = (
        int(rng.integers(1, whole.shape[0] - top + 1)),
        int(rng.integers(1, whole.shape[1] - left + 1)),
    )
    part = replace(whole, origin=(top, left), shape=(height, width))
    assert np.array_equal(paint(index, groups, part), all_of_it[top : top + height, left : left + width])


@given(table=tables(most=30), factor=st.sampled_from([0.25, 0.5, 1, 2, 4, 8, 16, 32, 64]))
@settings(deadline=None, max_examples=120)
def test_every_outline_leaves_a_mark_at_every_level(table: RegionTable, factor: float) -> None:
    frame = frame_of(factor)
    for row in range(len(table)):
        alone = table.where([row])
        low, high = alone.boxes[0]
        if (high < -0.5).any() or (low > np.asarray(SHAPE) - 0.5).any():
            continue  # outside of the image
        painted = paint(RegionIndex.of(alone), groups_of(alone), frame)
        if (painted % 16 == alone.labels[0] + 1).any():
            # of what the border cuts off a sliver may be left, and is as faint as that
            is_whole = (low >= -0.5).all() and (high <= np.asarray(SHAPE) - 0.5).all()
            assert (painted // 16).max() >= (min(POINT, SOLID) if is_whole else 1)
            continue
        # lines that lie outside of the image leave none; what they enclose is then inside
        assert side_of(alone.region(0)) * max(frame.scale) > POINT_PX
        assert not any(
            ((ring >= 0.5) & (ring <= np.asarray(SHAPE) - 1.5)).all(axis=1).any()
            for ring in alone.region(0).rings
        )


def test_a_point_is_two_pixels_wide_and_stronger_where_many_fall_together() -> None:
    spots = [SQUARE * 0.1 + (10, 10)] + [SQUARE * 0.1 + (30, 30)] * 64
    table = RegionTable.from_regions("c", [Region("c", (spot,)) for spot in spots])
    painted = paint(RegionIndex.of(table), groups_of(table), WHOLE)
    assert (painted[10:12, 10:12] == POINT * 16 + 1).all()
    assert (painted[30:32, 30:32] == SOLID * 16 + 1).all()
    assert np.count_nonzero(painted) == 8


def test_holes_and_parts_are_filled_by_the_even_odd_rule() -> None:
    region = Region("c", (SQUARE * 20 + 5.5, SQUARE * 8 + 11.5, SQUARE * 12 + 32.5))
    table = RegionTable.from_regions("c", [region])
    painted = paint(RegionIndex.of(table), groups_of(table), WHOLE)
    assert painted[8, 8] == painted[38, 38] == FILL * 16 + 1
    assert painted[15, 15] == painted[2, 2] == painted[28, 28] == 0


def test_hidden_outlines_leave_no_mark_and_the_highest_group_is_seen() -> None:
    table = RegionTable.from_regions("c", [Region("c", (SQUARE * 20 + 5,)), Region("c", (SQUARE * 20 + 5,))])
    index = RegionIndex.of(table)
    assert not paint(index, np.zeros(2, np.uint8), WHOLE).any()
    both = paint(index, np.array([3, 7], np.uint8), WHOLE)
    assert set((both[both > 0] % 16).tolist()) == {7}
    assert np.array_equal(paint(index, np.array([3, 0], np.uint8), WHOLE) % 16 == 3, both > 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_negative_scale_mirrors(axis: int) -> None:
    table = drawn_as_lines(random_table(np.random.default_rng(5), 20))
    index, groups = RegionIndex.of(table), groups_of(table)
    last = SHAPE[axis] - 1.0
    turned = replace(WHOLE, scale=(-1.0, 1.0), shift=(last, 0.0))
    mirrored = paint(
        index, groups, turned if axis == 0 else replace(WHOLE, scale=(1.0, -1.0), shift=(0.0, last))
    )
    # where a line lies half-way between two pixels, or a centre on an edge, both sides may be taken
    assert (mirrored == np.flip(paint(index, groups, WHOLE), axis)).mean() > 0.99


def test_edited_outlines_are_painted_where_they_are_now() -> None:
    table = random_table(np.random.default_rng(6), 20)
    index = RegionIndex.of(table)
    moved = replace(table.region(4), rings=(SQUARE * 20 + 15.2,))
    later = index.with_region(moved)
    groups = np.append(groups_of(table), np.uint8(9))
    rest = np.delete(np.arange(20), 4)
    anew = RegionTable.joined([table.where(rest), RegionTable.from_regions("case", [moved])])
    wanted = paint(RegionIndex.of(anew), np.append(groups_of(table)[rest], np.uint8(9)), WHOLE)
    assert np.array_equal(paint(later, groups, WHOLE), wanted)
