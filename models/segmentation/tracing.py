"""Outlines of a mask that is seen block by block: pieces of them, joined where they meet at the seams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.segmentation.components import Block

    Line = NDArray[np.float64]

__all__ = ["join_pieces", "trace_plane"]


def trace_plane(labels: NDArray[np.int32], block: Block) -> list[tuple[int, Line]]:
    """Return pieces of outlines in a block of a plane, each with the number of the part that it goes around.

    Parameters
    ----------
    labels : int array (y, x)
        Numbers of parts, 0 outside, over what is read of the block.
    block : Block
        Its last two axes are the plane's.

    Returns
    -------
    list of (number, float64 array (n, 2)), (y, x) indices in the plane, with the last vertex equal to the first where an
    outline lies within the block. Vertices are those of :func:`napari_medlab.geometry.mask_to_rings`.
    """
    from skimage.measure import find_contours

    on = np.nonzero(labels)
    if not len(on[0]):
        return []
    # nothing is set beyond the plane's border; elsewhere the next block goes on
    start = block.start[-2:]
    before = [int(first == 0) for first in start]
    after = [int(end == read) for end, read in zip(block.stop[-2:], block.read_stop[-2:], strict=True)]
    padded = np.pad(labels, [*zip(before, after, strict=True)])
    low = [max(int(at.min()) + more - 1, 0) for at, more in zip(on, before, strict=True)]
    high = [int(at.max()) + more + 2 for at, more in zip(on, before, strict=True)]
    part = padded[low[0] : high[0], low[1] : high[1]]
    if min(part.shape) < 2:
        return []
    corner = np.asarray(low) - before + np.asarray(start)
    lines = find_contours((part > 0).astype(np.float64), 0.5, fully_connected="low")
    return [(_part_at(part, line[0]), line + corner) for line in lines]


def _part_at(labels: NDArray[np.int32], vertex: NDArray[np.float64]) -> int:
    """Return the number on the inner side of a vertex, which lies half-way between two pixels."""
    one, other = (tuple(side(vertex).astype(int)) for side in (np.floor, np.ceil))
    return int(max(labels[one], labels[other]))


def join_pieces(pieces: Sequence[Line]) -> list[Line]:
    """Return the rings that pieces of outlines make up, (n, 2), without a last vertex that repeats the first.

    A ring begins with its least vertex, so that it does not depend on where the seams are.
    """
    rings = [piece[:-1] for piece in pieces if np.array_equal(piece[0], piece[-1])]
    waiting = {tuple(piece[0].tolist()): piece for piece in pieces if not np.array_equal(piece[0], piece[-1])}
    while waiting:
        _, piece = waiting.popitem()
        chain = [piece[:-1]]
        while (following := waiting.pop(tuple(piece[-1].tolist()), None)) is not None:
            piece = following
            chain.append(piece[:-1])
        rings.append(np.concatenate(chain))
    return sorted((_from_least(ring) for ring in rings), key=lambda ring: ring[0].tolist())


def _from_least(ring: Line) -> Line:
    return np.roll(ring, -int(np.lexsort(ring.T[::-1])[0]), axis=0)
