"""Masks as run lengths, the way COCO and HuBMAP store them: column by column, in numpy alone.

Runs are int64 arrays (n, 2): the first pixel inside and the first one behind it, in **column-major** order (pixel
``x * height + y``). COCO's counts are the lengths of runs outside and inside in turn, beginning outside, so that a mask
with its first pixel inside begins with a 0. COCO's compressed text writes each count (from the third on: what it exceeds
the last but one by) in groups of five bits, the lowest first, a sixth bit telling that more follow, as characters from
``"0"`` on (``rleToString`` in cocoapi's maskApi.c).

Outlines follow :func:`napari_medlab.geometry.rings_to_mask`: a pixel is inside where its centre is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats.outline_runs import compressed_texts, runs_of_outlines
from napari_medlab.geometry import mask_to_rings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["MAX_PIXELS", "checked_runs", "compress", "counts_of_runs", "decompress", "mask_of_runs", "parts_of_runs",
           "rings_of_runs", "runs_of_counts", "runs_of_mask", "runs_of_rings", "union_of_runs"]  # fmt: skip

MAX_PIXELS = 1 << 27
"""The rectangle around one part of a mask may have so many pixels; more would fill the memory."""
Runs = np.ndarray[tuple[int, int], np.dtype[np.int64]]


def runs_of_counts(counts: ArrayLike, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return COCO's counts as runs.

    Raises
    ------
    ValueError
        Where a count is negative, or they do not add up to the pixels of the image (height, width).
    """
    lengths = np.asarray(counts, dtype=np.int64)
    size = shape[0] * shape[1]
    if ((lengths < 0) | (lengths > size)).any():
        wrong = lengths[(lengths < 0) | (lengths > size)][0]
        raise ValueError(f"the run lengths hold {wrong}, expected 0 to {size}")
    total = lengths.sum(
        dtype=np.float64
    )  # exact as long as it is the size of an image, and never wraps around
    if total != size:
        raise ValueError(
            f"the run lengths add up to {total:.0f} pixels, and the image has {shape[0]} × {shape[1]}"
        )
    ends = np.cumsum(lengths)
    inside = ends[: len(ends) // 2 * 2].reshape(-1, 2)
    return inside[inside[:, 1] > inside[:, 0]]


def counts_of_runs(runs: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return runs, in order and apart from one another, as COCO's counts."""
    size = shape[0] * shape[1]
    ends = runs.ravel()
    if not len(ends) or ends[-1] != size:
        ends = np.append(ends, size)
    return np.diff(ends, prepend=0)


def compress(counts: ArrayLike) -> str:
    """Return COCO's counts as its compressed text."""
    values = np.asarray(counts, dtype=np.int64)
    return compressed_texts(values, np.asarray([0, len(values)]))[0]


def decompress(text: str) -> NDArray[np.int64]:
    """Return the counts of COCO's compressed text.

    Raises
    ------
    ValueError
        Where it holds other characters, ends within a number, or has a number of more than 60 bits.
    """
    try:
        groups = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    except UnicodeEncodeError as error:
        raise ValueError("the compressed run lengths hold characters other than ASCII") from error
    if not len(groups):
        return groups
    if ((groups < 0) | (groups > 63)).any():
        wrong = text[int(np.flatnonzero((groups < 0) | (groups > 63))[0])]
        raise ValueError(f"the compressed run lengths hold the character {wrong!r}")
    is_last = groups < 32
    if not is_last[-1]:
        raise ValueError("the compressed run lengths end within a number")
    first = np.flatnonzero(np.append(True, is_last[:-1]))
    within = np.arange(len(groups)) - first[np.cumsum(np.append(0, is_last[:-1]))]
    if within.max() > 11:
        raise ValueError("the compressed run lengths hold a number of more than 60 bits")
    values = np.add.reduceat((groups & 0x1F) << (5 * within), first)
    negative = (groups[is_last] & 0x10) > 0
    values[negative] -= np.int64(1) << (5 * (within[is_last][negative] + 1))
    # each but the first three was told against the one before the last
    if np.abs(values).max() > 1 << 45:
        raise ValueError("the compressed run lengths hold a number of more than 45 bits")
    for start in (1, 2):
        values[start::2] = np.cumsum(values[start::2])
    return values


def runs_of_mask(
    mask: ArrayLike, shape: tuple[int, int], origin: tuple[int, int] = (0, 0)
) -> NDArray[np.int64]:
    """Return the runs of a mask (y, x) whose first pixel is ``origin`` of an image of that shape."""
    given = np.asarray(mask, dtype=np.int8)
    changes = np.diff(np.pad(given, ((1, 1), (0, 0))), axis=0).T
    column, first = np.nonzero(changes == 1)
    _, stop = np.nonzero(changes == -1)
    base = (column + origin[1]) * shape[0] + origin[0]
    return _joined(np.stack([base + first, base + stop], axis=1))


def runs_of_rings(rings: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return the runs of the pixels whose centres lie inside an odd number of rings; what lies outside is cut off."""
    vertices = np.concatenate([np.zeros((0, 2)), *rings])
    ring_starts = np.cumsum([0, *map(len, rings)])
    return runs_of_outlines(vertices, ring_starts, np.asarray([0, len(rings)]), np.asarray([shape])).runs


def union_of_runs(several: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Return the runs of what any of several masks of one image covers."""
    every = np.concatenate([np.zeros((0, 2), dtype=np.int64), *several])
    return _joined(every[np.lexsort((every[:, 1], every[:, 0]))])


def parts_of_runs(runs: NDArray[np.int64], height: int) -> list[NDArray[np.int64]]:
    """Return the parts of a mask, each as runs: pixels belong together that share a side; in order of the first pixel."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    spans = _within_columns(runs, height)
    if not len(spans):
        return []
    # a run touches those of the next column that end behind its beginning and begin before its end
    shifted = spans + height
    first = np.searchsorted(spans[:, 1], shifted[:, 0], side="right")
    stop = np.maximum(np.searchsorted(spans[:, 0], shifted[:, 1], side="left"), first)
    counts = stop - first
    left = np.repeat(np.arange(len(spans)), counts)
    right = np.arange(len(left)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    graph = coo_array((np.ones(len(left), np.int8), (left, right)), shape=(len(spans),) * 2)
    _, part = connected_components(graph, directed=False)
    order = np.argsort(part, kind="stable")
    pieces = np.split(spans[order], np.flatnonzero(np.diff(part[order])) + 1)
    return sorted(pieces, key=lambda piece: int(piece[0, 0]))


def mask_of_runs(runs: NDArray[np.int64], height: int) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Return the mask of the smallest rectangle around runs, and its first pixel (y, x).

    Raises
    ------
    ValueError
        Where the rectangle has more than 134 million pixels.
    """
    spans = _within_columns(runs, height)
    if not len(spans):
        return np.zeros((0, 0), dtype=np.bool_), (0, 0)
    column = spans[:, 0] // height
    first, stop = spans[:, 0] - column * height, spans[:, 1] - column * height
    top, left = int(first.min()), int(column.min())
    extent = np.asarray([int(stop.max()) - top, int(column.max()) - left + 1])
    _refuse_large(extent)
    steps = np.zeros((extent[1], extent[0] + 1), dtype=np.int8)
    np.add.at(steps, (column - left, first - top), 1)
    np.add.at(steps, (column - left, stop - top), -1)
    mask = np.cumsum(steps[:, :-1], axis=1, dtype=np.int8).astype(np.bool_).T
    return mask, (top, left)


def rings_of_runs(runs: NDArray[np.int64], height: int) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask, part by part, whose mask is exactly this one again."""
    rings: list[NDArray[np.float64]] = []
    for part in parts_of_runs(runs, height):
        mask, origin = mask_of_runs(part, height)
        rings += [ring + origin for ring in mask_to_rings(mask)]
    return rings


def checked_runs(runs: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Return runs that lie in the image, in order and apart; raise ValueError for others."""
    ends = runs.ravel()
    if len(ends) and (ends[0] < 0 or ends[-1] > shape[0] * shape[1] or (np.diff(ends) < 0).any()):
        raise ValueError(
            f"the runs overlap, are not in order or leave the image of {shape[0]} × {shape[1]} pixels"
        )
    return _joined(runs)


def _joined(runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return sorted runs with those joined that touch or overlap, and without empty ones."""
    runs = runs[runs[:, 1] > runs[:, 0]]
    if len(runs) < 2:
        return runs
    reach = np.maximum.accumulate(runs[:, 1])
    begins = np.append(True, runs[1:, 0] > reach[:-1])
    ends = np.append(begins[1:], True)
    return np.stack([runs[begins, 0], reach[ends]], axis=1)


def _within_columns(runs: NDArray[np.int64], height: int) -> NDArray[np.int64]:
    """Return runs cut where a column of the image ends."""
    first, last = runs[:, 0] // height, (runs[:, 1] - 1) // height
    counts = last - first + 1
    if int(counts.sum()) > MAX_PIXELS:
        raise ValueError(f"the mask covers {int(counts.sum())} runs of columns, {MAX_PIXELS} is the limit")
    row = np.repeat(np.arange(len(runs)), counts)
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + first[row]
    start = np.maximum(runs[row, 0], column * height)
    stop = np.minimum(runs[row, 1], (column + 1) * height)
    return np.stack([start, stop], axis=1)


def _refuse_large(extent: NDArray[np.int64]) -> None:
    if int(extent[0]) * int(extent[1]) > MAX_PIXELS:
        raise ValueError(
            f"a part of the mask spans {extent[0]} × {extent[1]} pixels, {MAX_PIXELS:,} is the limit"
        )
