"""Which of a million boxes meet a box: a tree in a few arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["BoxTree"]

BRANCHES = 16
FEW = 64
"""So many nodes are looked at one by one: the tree has no smaller level."""
BITS = 16
SPREAD = ((8, 0x00FF00FF), (4, 0x0F0F0F0F), (2, 0x33333333), (1, 0x55555555))


class BoxTree:
    """A packed R-tree (Kamel and Faloutsos, 1993) whose leaves lie in Z-order (Morton, 1966); it never changes.

    Parameters
    ----------
    boxes : float64 array, (n, 2, 2)
        Least and greatest (y, x) of each; those with a nan are in no answer.
    """

    def __init__(self, boxes: NDArray[np.float64]) -> None:
        flat = boxes.reshape(-1, 4)
        rows = np.flatnonzero(np.isfinite(flat).all(axis=1))
        centres = (flat[rows, :2] + flat[rows, 2:]) / 2
        self._rows = rows[np.argsort(_z_order(centres), kind="stable")]
        self._levels = [flat[self._rows]]
        while len(self._levels[-1]) > FEW:
            self._levels.append(_parents(self._levels[-1]))

    def meeting(self, low: ArrayLike, high: ArrayLike) -> NDArray[np.int64]:
        """Return the rows of the boxes that meet a box, its borders with it, in no order.

        Parameters
        ----------
        low, high : (y, x)
            The least and the greatest corner.
        """
        box = np.concatenate([np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)])
        nodes = np.arange(len(self._levels[-1]))
        for depth in range(len(self._levels) - 1, -1, -1):
            nodes = nodes[_meet(self._levels[depth][nodes], box)]
            if depth:
                nodes = (nodes[:, None] * BRANCHES + np.arange(BRANCHES)).ravel()
                nodes = nodes[: np.searchsorted(nodes, len(self._levels[depth - 1]))]
        found: NDArray[np.int64] = self._rows[nodes]
        return found


def _meet(boxes: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.bool_]:
    meet: NDArray[np.bool_] = (
        (boxes[:, 0] <= box[2]) & (boxes[:, 2] >= box[0]) & (boxes[:, 1] <= box[3]) & (boxes[:, 3] >= box[1])
    )
    return meet


def _parents(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the boxes around each few that follow one another."""
    starts = np.arange(0, len(boxes), BRANCHES)
    low, high = np.minimum.reduceat(boxes[:, :2], starts), np.maximum.reduceat(boxes[:, 2:], starts)
    return np.concatenate([low, high], axis=1)


def _z_order(points: NDArray[np.float64]) -> NDArray[np.uint32]:
    """Return the place of each point along a curve that keeps neighbours together."""
    if len(points) == 0:
        return np.zeros(0, np.uint32)
    low = points.min(axis=0)
    side = max(float((points.max(axis=0) - low).max()), 1e-9)
    cells = ((points - low) * ((2**BITS - 1) / side)).astype(np.uint32)
    for shift, mask in SPREAD:
        cells = (cells | (cells << np.uint32(shift))) & np.uint32(mask)
    order: NDArray[np.uint32] = cells[:, 0] << np.uint32(1) | cells[:, 1]
    return order
