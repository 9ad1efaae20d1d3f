"""Outlines painted into tiles of an image: lines and fills up close, points far away, and none of them left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.region_edges import edges_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations.region_index import RegionIndex

__all__ = ["FILL", "GROUPS", "POINT_PX", "SOLID", "Frame", "paint"]

GROUPS = 15
"""How many colours there are: groups 1 to 15; outlines of group 0 are not painted."""
SOLID, FILL, POINT = 15, 3, 9
"""How strong the line of an outline is, what it encloses, and the point that stands for a single outline."""

POINT_PX = 3.0
"""Outlines no longer and no wider than this are painted as points: their lines would be one blot."""
FILLED_PX = 6.0
"""Smaller ones are not filled: there is nothing between the lines."""
SHORT_PX = 0.75
"""Vertices are left out as long as what is skipped is no longer than this."""
MARGIN = 2
"""How far (pixels) a line or point reaches beyond what it marks, rounded up."""


@dataclass(frozen=True)
class Frame:
    """Which pixels of which level are painted.

    Index ``v`` of level 0 is index ``scale * v + shift`` of the level. What a pixel holds does not depend on the frame
    that it is painted in, so that tiles meet without a seam.

    Parameters
    ----------
    scale, shift : (y, x)
        A negative scale mirrors.
    origin : (y, x)
        Where on the level the frame begins.
    shape : (y, x)
        How many pixels it has.
    level_shape : (y, x)
        How many the level has: points of outlines that reach beyond it are painted on its border.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]
    origin: tuple[int, int]
    shape: tuple[int, int]
    level_shape: tuple[int, int]

    def on_level(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map indices (..., 2) of level 0 to the level."""
        mapped: NDArray[np.float64] = points * np.asarray(self.scale) + np.asarray(self.shift)
        return mapped

    @property
    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The least and the greatest index of level 0 that can leave a mark within the frame."""
        corners = np.asarray([self.origin, np.add(self.origin, self.shape)], dtype=np.float64)
        corners += np.asarray([[-MARGIN], [MARGIN]])
        # what lies beyond the image is marked on its border
        corners[0][np.asarray(self.origin) == 0] = -np.inf
        corners[1][np.add(self.origin, self.shape) >= self.level_shape] = np.inf
        ends = (corners - np.asarray(self.shift)) / np.asarray(self.scale)
        return ends.min(axis=0), ends.max(axis=0)


def paint(index: RegionIndex, groups: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    """Return the pixels of a frame, uint8 (y, x): ``strength * 16 + group`` of the strongest mark, 0 where there is none.

    A line is two pixels wide: :data:`SOLID` on the pixel nearest to where it crosses a row or column, weaker beside it.
    A pixel whose centre lies inside an outline has at least :data:`FILL`. What is too small for that is painted as
    points, two pixels wide and stronger where many fall together, so that every outline leaves a mark at every level.
    Of several groups the strongest mark is seen, of equally strong ones the group with the highest number.

    Parameters
    ----------
    index : RegionIndex
    groups : uint8 array, (rows of the index,)
        1 to :data:`GROUPS`, or 0 for outlines that are hidden.
    frame : Frame
    """
    rows = index.in_box(*frame.box)
    rows = rows[groups[rows] > 0]
    out = np.zeros(frame.shape, np.uint8)
    if not len(rows):
        return out
    boxes = index.boxes(rows)
    sides = (np.diff(boxes, axis=1)[:, 0] * np.abs(frame.scale)).max(axis=1)
    is_point = sides <= POINT_PX
    if is_point.any():
        _paint_points(out, boxes[is_point].mean(axis=1), groups[rows[is_point]], frame)
    _paint_lines(out, index, rows[~is_point], sides[~is_point], groups, frame)
    return out


def _paint_points(
    out: NDArray[np.uint8], middles: NDArray[np.float64], groups: NDArray[np.uint8], frame: Frame
) -> None:
    places = np.floor(frame.on_level(middles) + 0.5).astype(np.int64)
    places = np.clip(places, 0, np.asarray(frame.level_shape) - 1) - np.asarray(frame.origin)
    # one more row and column before the frame, whose points reach into it
    height, width = frame.shape[0] + 1, frame.shape[1] + 1
    places += 1
    here = ((places >= 0) & (places < (height, width))).all(axis=1)
    cells, groups = places[here, 0] * width + places[here, 1], groups[here]
    for group in np.unique(groups):
        counts = np.bincount(cells[groups == group], minlength=height * width)
        strength = np.zeros(len(counts), np.uint8)
        found = np.flatnonzero(counts)
        more = np.log2(counts[found]).astype(np.uint8)
        strength[found] = np.minimum(POINT + more, SOLID) * 16 + group
        marks = strength.reshape(height, width)
        for row in (slice(0, -1), slice(1, None)):
            for column in (slice(0, -1), slice(1, None)):
                np.maximum(out, marks[row, column], out=out)


def _paint_lines(
    out: NDArray[np.uint8],
    index: RegionIndex,
    rows: NDArray[np.int64],
    sides: NDArray[np.float64],
    groups: NDArray[np.uint8],
    frame: Frame,
) -> None:
    height, width = frame.shape
    padded = np.zeros((height + 2 * MARGIN, width + 2 * MARGIN), np.uint8)
    for part, inner, places in index.parts(rows):
        edges = edges_of(part.table, inner, part.longest_edges, SHORT_PX / max(np.abs(frame.scale)))
        points = np.ascontiguousarray(frame.on_level(edges.vertices).T)
        own = groups[rows[places]]
        for axis in (0, 1):
            edge, lines, at = _crossings(points, edges.after, axis, frame)
            owners, at = edges.owners[edge], at - frame.origin[1 - axis]
            _mark(padded, axis, (lines, at), own[owners])
            if axis == 0:
                _fill(out, (owners, lines, at), sides[places] > FILLED_PX, own)
    np.maximum(out, padded[MARGIN:-MARGIN, MARGIN:-MARGIN], out=out)


def _crossings(
    points: NDArray[np.float64], after: NDArray[np.int64], axis: int, frame: Frame
) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float64]]:
    """Return where edges cross the lines through the pixel centres of a frame, along rows (axis 0) or columns (1).

    Returns
    -------
    edge : from which vertex
    line : which row or column of the frame
    at : where along it, as an index of the level
    """
    first_line, count = frame.origin[axis], frame.shape[axis]
    along, across = points[axis], points[1 - axis]
    along_end = along[after]
    first = np.clip(np.ceil(np.minimum(along, along_end)), first_line, first_line + count)
    last = np.clip(np.ceil(np.maximum(along, along_end)), first_line, first_line + count)
    crossed = np.flatnonzero(last > first)
    first, counts = first[crossed].astype(np.int64), (last[crossed] - first[crossed]).astype(np.int64)
    begins = np.cumsum(counts) - counts
    lines = np.arange(int(counts.sum())) + np.repeat(first - begins, counts)
    start, base = along[crossed], across[crossed]
    slope = (across[after[crossed]] - base) / (along_end[crossed] - start)
    at: NDArray[np.float64] = np.repeat(base, counts) + (lines - np.repeat(start, counts)) * np.repeat(
        slope, counts
    )
    return np.repeat(crossed, counts), lines - first_line, at


def _mark(
    padded: NDArray[np.uint8],
    axis: int,
    crossings: tuple[NDArray[np.int64], NDArray[np.float64]],
    groups: NDArray[np.uint8],
) -> None:
    """Mark where outlines cross rows or columns: the nearest pixel, and those beside it by how near they are."""
    lines, at = crossings
    nearest = np.floor(at + 0.5)
    here = (nearest >= -1) & (nearest <= padded.shape[1 - axis] - 2 * MARGIN)
    nearest, beyond = nearest[here], (at - nearest)[here]
    row = padded.shape[1]
    per_line, per_step = (row, 1) if axis == 0 else (1, row)
    cells = (lines[here] + MARGIN) * per_line + (nearest.astype(np.int64) + MARGIN) * per_step
    flat, groups = padded.reshape(-1), groups[here]
    # a line of two pixels covers of its neighbours what is left of one on either side
    for step, strength in (
        (-1, np.rint(SOLID * (0.5 - beyond))),
        (1, np.rint(SOLID * (0.5 + beyond))),
        (0, SOLID),
    ):
        codes = np.asarray(strength, np.uint8) * np.uint8(16) + groups
        np.maximum.at(flat, cells + step * per_step, codes)


def _fill(
    out: NDArray[np.uint8],
    crossings: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
    is_filled: NDArray[np.bool_],
    groups: NDArray[np.uint8],
) -> None:
    """Paint what lies between the first and the second crossing of a row, the third and the fourth, and so on."""
    owners, lines, at = crossings
    chosen = is_filled[owners]
    owners, lines = owners[chosen], lines[chosen]
    height, width = out.shape
    columns = np.clip(np.ceil(at[chosen]), 0, width).astype(np.int64)
    # sorted by outline, row and column, every two that follow one another belong together
    keys = np.sort((owners * height + lines) * (width + 1) + columns)
    spans = keys.reshape(-1, 2)
    spans = spans[spans[:, 0] < spans[:, 1]]
    group_of = groups[spans[:, 0] // (height * (width + 1))]
    cells = spans % (height * (width + 1))
    size = height * (width + 1)
    for group in np.unique(group_of):
        ends = cells[group_of == group]
        depth = np.bincount(ends[:, 0], minlength=size) - np.bincount(ends[:, 1], minlength=size)
        covered = np.cumsum(depth.reshape(height, width + 1), axis=1)[:, :width] > 0
        np.maximum(out, np.uint8(FILL * 16) + group, out=out, where=covered)
