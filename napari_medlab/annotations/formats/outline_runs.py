"""The run lengths of many outlines at once, straight from their vertices: no pixel is painted.

An outline's mask changes between one row of pixels and the next only where the crossings of its edges with the two rows
differ. Both rows' crossings, sorted together and taken in pairs, are therefore the stretches of columns in which a run
begins or ends at the lower row; all these ends, sorted by column, are the runs, as
:mod:`~napari_medlab.annotations.formats.coco_rle` has them. The work grows with the length of an outline, not with its area,
and is done for thousands of outlines by each call of numpy.

The pixels are those of :func:`~napari_medlab.geometry.rings_to_mask`, bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["OutlineRuns", "compressed_texts", "runs_of_outlines"]

CROSSINGS_AT_ONCE = 1 << 14
"""So many crossings of edges with rows are worked on together: their arrays stay within a processor's cache."""
MAX_CROSSINGS = 1 << 25
"""More crossings, or ends of runs, of one outline would fill the memory."""


@dataclass(frozen=True, eq=False)
class OutlineRuns:
    """The runs of many outlines, each in an image of its own.

    Parameters
    ----------
    runs : int64 array, (runs, 2)
        The first pixel inside and the first one behind it, column by column, of one outline after the other.
    starts : int64 array, (n + 1,)
        Outline ``k`` has the runs ``starts[k]`` up to ``starts[k + 1]``.
    sizes : int64 array, (n,)
        The number of pixels of the image of each.
    """

    runs: NDArray[np.int64]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def pixels(self) -> NDArray[np.int64]:
        """The number of pixels inside each outline, int64 (n,)."""
        inside = np.concatenate([[0], np.cumsum(self.runs[:, 1] - self.runs[:, 0])])
        return np.asarray(inside[self.starts[1:]] - inside[self.starts[:-1]], dtype=np.int64)

    def compressed(self) -> list[str]:
        """Return COCO's compressed text of each outline."""
        n = len(self.sizes)
        # the ends of an outline's runs and, behind them, the end of its image
        starts = 2 * self.starts + np.arange(n + 1)
        is_image = np.zeros(starts[-1], dtype=np.bool_)
        is_image[starts[1:] - 1] = True
        ends = np.empty(starts[-1], dtype=np.int64)
        ends[is_image], ends[~is_image] = self.sizes, self.runs.ravel()
        counts = np.diff(ends, prepend=0)
        counts[starts[1:-1]] = ends[starts[1:-1]]
        is_kept = ~is_image | (counts > 0)
        kept = np.concatenate([[0], np.cumsum(is_kept)])[starts]
        return compressed_texts(counts[is_kept], kept)


def compressed_texts(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> list[str]:
    """Return the counts of several masks as COCO's compressed texts.

    Parameters
    ----------
    counts : int64 array
        Of one mask after the other, none of them beyond 2⁵⁸.
    starts : int64 array, (masks + 1,)
        Mask ``k`` has the counts ``starts[k]`` up to ``starts[k + 1]``.
    """
    # each but a mask's first three is told against the one before the last
    values = counts.copy()
    values[2:] -= counts[:-2]
    early = (starts[:-1, None] + np.arange(3)).ravel()
    early = early[early < np.repeat(starts[1:], 3)]
    values[early] = counts[early]
    # a number takes as many groups of five bits as hold it with its sign
    magnitude = values ^ (values >> 63)
    groups = np.ones(len(values), dtype=np.int64)
    at = np.flatnonzero(magnitude >= 16)
    while len(at):
        groups[at] += 1
        at = at[magnitude[at] >> (5 * groups[at] - 1) > 0]
    ends = np.cumsum(groups)
    characters = np.empty(ends[-1] if len(ends) else 0, dtype=np.uint8)
    at, place = np.arange(len(values)), ends - groups
    while len(at):
        goes_on = groups[at] > 1
        characters[place[at]] = (values[at] & 0x1F) + 32 * goes_on + 48
        at = at[goes_on]
        values[at] >>= 5
        place[at] += 1
        groups[at] -= 1
    text = characters.tobytes().decode("ascii")
    cuts = np.concatenate([[0], ends])[starts].tolist()
    return [text[cut:stop] for cut, stop in pairwise(cuts)]


def runs_of_outlines(
    vertices: NDArray[np.float64],
    ring_starts: NDArray[np.int64],
    outline_rings: NDArray[np.int64],
    shapes: NDArray[np.int64],
) -> OutlineRuns:
    """Return the runs of the pixels whose centres lie inside an odd number of an outline's rings.

    Parameters
    ----------
    vertices : float64 array, (vertices, 2)
        (y, x) indices, 0 at a pixel's centre.
    ring_starts : int64 array, (rings + 1,)
        Ring ``k`` has the vertices ``ring_starts[k]`` up to ``ring_starts[k + 1]``.
    outline_rings : int64 array, (n + 1,)
        Outline ``k`` has the rings ``outline_rings[k]`` up to ``outline_rings[k + 1]``.
    shapes : int64 array, (n, 2)
        Height and width of the image of each outline; what lies outside is cut off.

    Raises
    ------
    ValueError
        Where one outline crosses rows, or columns, more than 33 million times.
    """
    vertex_starts = ring_starts[outline_rings]
    windows = _windows(vertices, vertex_starts, shapes)
    edges = _edges(vertices, ring_starts, np.diff(vertex_starts), windows)
    parts = [
        _runs_of_batch(edges.chosen(cut, first), windows.chosen(slice(first, stop)))
        for cut, first, stop in _batches(edges, len(shapes))
    ]
    runs = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(part for part, _ in parts)])
    counts = np.concatenate([np.zeros(0, dtype=np.int64), *(each for _, each in parts)])
    return OutlineRuns(runs, np.concatenate([[0], np.cumsum(counts)]), shapes[:, 0] * shapes[:, 1])


class _Windows(NamedTuple):
    """The part of its image that each outline is worked on in: first pixel, height and width, and those of the image."""

    low: NDArray[np.int64]
    extent: NDArray[np.int64]
    shapes: NDArray[np.int64]

    def chosen(self, outlines: slice) -> _Windows:
        return _Windows(self.low[outlines], self.extent[outlines], self.shapes[outlines])


class _Edges(NamedTuple):
    """The edges that cross a row, in their outline's window: where they begin, and which rows they cross."""

    outline: NDArray[np.int64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    slope: NDArray[np.float64]
    """Columns for each row."""
    first: NDArray[np.int64]
    stop: NDArray[np.int64]

    def chosen(self, cut: slice, first_outline: int) -> _Edges:
        """Return some of the edges, their outlines counted from ``first_outline``."""
        outline = self.outline[cut] - first_outline
        return _Edges(outline, self.y[cut], self.x[cut], self.slope[cut], self.first[cut], self.stop[cut])


def _windows(
    vertices: NDArray[np.float64], vertex_starts: NDArray[np.int64], shapes: NDArray[np.int64]
) -> _Windows:
    low, high = np.zeros(shapes.shape), np.zeros(shapes.shape)
    filled = np.flatnonzero(np.diff(vertex_starts))
    if len(filled):
        low[filled] = np.floor(np.minimum.reduceat(vertices, vertex_starts[filled]))
        high[filled] = np.ceil(np.maximum.reduceat(vertices, vertex_starts[filled])) + 1
    first = np.clip(low, 0, shapes).astype(np.int64)
    return _Windows(first, np.clip(high, first, shapes).astype(np.int64) - first, shapes)


def _edges(
    vertices: NDArray[np.float64],
    ring_starts: NDArray[np.int64],
    vertex_counts: NDArray[np.int64],
    windows: _Windows,
) -> _Edges:
    outline = np.repeat(np.arange(len(vertex_counts)), vertex_counts)
    start = vertices - windows.low[outline]
    following = np.arange(1, len(vertices) + 1)
    filled = np.diff(ring_starts) > 0
    following[ring_starts[1:][filled] - 1] = ring_starts[:-1][filled]
    end = start[following]
    height = windows.extent[outline, 0]
    first = np.clip(np.ceil(np.minimum(start[:, 0], end[:, 0])), 0, height).astype(np.int64)
    stop = np.clip(np.ceil(np.maximum(start[:, 0], end[:, 0])), 0, height).astype(np.int64)
    crosses = np.flatnonzero(stop > first)
    start, end = start[crosses], end[crosses]
    slope = (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    return _Edges(outline[crosses], start[:, 0], start[:, 1], slope, first[crosses], stop[crosses])


def _batches(edges: _Edges, n: int) -> Iterator[tuple[slice, int, int]]:
    """Yield which edges and outlines, first and one behind the last, are worked on together."""
    edge_starts = np.searchsorted(edges.outline, np.arange(n + 1))
    crossings = np.concatenate([[0], np.cumsum(edges.stop - edges.first)])[edge_starts]
    first = 0
    while first < n:
        room = crossings[first] + CROSSINGS_AT_ONCE
        stop = max(first + 1, int(np.searchsorted(crossings, room, side="right")) - 1)
        yield slice(int(edge_starts[first]), int(edge_starts[stop])), first, stop
        first = stop


def _runs_of_batch(edges: _Edges, windows: _Windows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the runs of some outlines, and how many each has."""
    low, extent, shapes = windows
    # every outline has its own rows, one more than its window, and its own pixels, one more than its image
    rows = extent[:, 0] + 1
    row_base = np.cumsum(rows) - rows
    sizes = shapes[:, 0] * shapes[:, 1] + 1
    base = np.cumsum(sizes) - sizes
    bits = int(extent[:, 1].max()).bit_length()
    keys = _changes(edges, row_base, extent[:, 1], bits)

    outline_of_row = np.repeat(np.arange(len(rows)), rows)
    begins, stops = keys[::2], keys[1::2]
    is_wide = stops > begins
    begins, widths = begins[is_wide], (stops - begins)[is_wide]
    _refuse_many(int(widths.sum()))
    row, column = begins >> bits, begins & ((1 << bits) - 1)
    outline = outline_of_row[row]
    height = shapes[outline, 0]
    y = row - row_base[outline] + low[outline, 0]
    pixel = base[outline] + (column + low[outline, 1]) * height + y
    ends = np.repeat(pixel, widths) + _within(widths) * np.repeat(height, widths)
    ends.sort()
    # a run that reaches the bottom of its column goes on at the top of the next one
    is_alone = np.ones(len(ends) + 1, dtype=np.bool_)
    is_alone[1:-1] = ends[1:] != ends[:-1]
    ends = ends[is_alone[1:] & is_alone[:-1]]
    counts = np.diff(np.searchsorted(ends, np.append(base, base[-1:] + sizes[-1:])))
    ends -= np.repeat(base, counts)
    return ends.reshape(-1, 2), counts // 2


def _changes(
    edges: _Edges, row_base: NDArray[np.int64], width: NDArray[np.int64], bits: int
) -> NDArray[np.int64]:
    """Return, sorted, the row and column of every crossing, and again with the next row: in pairs, where rows differ."""
    # an upright edge crosses all rows at one place: what changes are its first row and the one behind its last
    rows = edges.stop - edges.first
    is_upright = edges.slope == 0
    counts = np.where(is_upright, 1, rows)
    _refuse_many(int(counts.sum()))
    edge = np.repeat(np.arange(len(counts)), counts)
    row = edges.first[edge] + _within(counts)
    crossing = edges.x[edge] + (row - edges.y[edge]) * edges.slope[edge]
    column = np.clip(np.ceil(crossing), 0, width[edges.outline][edge]).astype(np.int64)
    here = ((row_base[edges.outline][edge] + row) << bits) + column
    below = here + (np.where(is_upright, rows, 1) << bits)[edge]
    # most edges are steep: the next crossing is then in the same column, and takes back what this one changes below
    changes = np.ones(len(here) + 1, dtype=np.bool_)
    changes[1:-1] = here[1:] != below[:-1]
    keys = np.concatenate([here[changes[:-1]], below[changes[1:]]])
    keys.sort()
    return keys


def _within(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the numbers from 0 up to each count, one after the other."""
    stops = np.cumsum(counts)
    return np.arange(stops[-1] if len(stops) else 0) - np.repeat(stops - counts, counts)


def _refuse_many(count: int) -> None:
    if count > MAX_CROSSINGS:
        raise ValueError(
            f"an outline crosses {count:,} rows or columns of pixels, {MAX_CROSSINGS:,} is the limit"
        )
