"""Many soft discs stamped into a plane at once: the brush for vessels, spicules and specks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["stamp_discs"]


def stamp_discs(
    field: NDArray[np.float32], centres_px: NDArray[np.float64], radii_px: NDArray[np.float64], edge_px: float
) -> None:
    """Raise an occupancy field, in place, to that of discs with soft edges.

    Parameters
    ----------
    field : float32 array (y, x), occupancy 0 to 1
    centres_px : (n, 2), centres (y, x) as indices
    radii_px : (n,)
    edge_px : the width over which occupancy falls from 1 to 0, centred on the border
    """
    reach = np.ceil(radii_px + edge_px).astype(int)
    for size in np.unique(reach):
        rows = np.flatnonzero(reach == size)
        steps = np.arange(-size, size + 1)
        index = np.rint(centres_px[rows]).astype(int)
        y, x = index[:, :1, None] + steps[None, :, None], index[:, 1:, None] + steps[None, None]
        distance = np.hypot(y - centres_px[rows, :1, None], x - centres_px[rows, 1:, None])
        value = np.clip(0.5 + (radii_px[rows, None, None] - distance) / edge_px, 0, 1).astype(np.float32)
        keep = (value > 0) & (y >= 0) & (x >= 0) & (y < field.shape[0]) & (x < field.shape[1])
        flat = (y * field.shape[1] + x)[keep]
        np.maximum.at(field.reshape(-1), flat, value[keep])
