"""Where in its image something lies, in words: thirds along each axis."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.hardcases.errors.table import ErrorTable

__all__ = ["AXES", "PLACES", "fractions_of", "is_at"]

ACROSS = ("right", "midline", "left")
UPWARDS = ("lower", "middle", "upper")
BACKWARDS = ("front", "central", "back")
AXES = (ACROSS[::-1], UPWARDS[::-1], BACKWARDS)
PLACES = tuple(name for axis in AXES for name in axis)
"""Names of thirds. In a volume left and right are the patient's, upper is towards the head, front is anterior; in a
planar image left, right, upper and lower are the picture's, and nothing is at its front or back."""


def fractions_of(table: ErrorTable, grids: Mapping[str, Grid]) -> NDArray[np.float64]:
    """Return where each error lies in its image, float64 (n, 3).

    Columns are z, y and x as fractions of the image: 0 at the first voxel's centre and 1 at the last one's. Volumes are
    taken with their axes turned to run nearest to head, back and left. The first column is nan for planar images, and
    all are nan for cases without a grid.
    """
    cases, codes = table.case_names
    unknown = np.full((3, 4), np.nan)
    frames = [_world_to_fractions(grids[case]) if case in grids else unknown for case in cases]
    world = np.zeros((len(table), 4))
    world[:, : table.ndim], world[:, 3] = table.centre, 1.0
    fractions: NDArray[np.float64] = np.einsum("nij,nj->ni", np.reshape(frames, (-1, 3, 4))[codes], world)
    return fractions


@lru_cache(maxsize=4096)
def _world_to_fractions(grid: Grid) -> NDArray[np.float64]:
    """Return the matrix (3, 4) that takes homogeneous world coordinates (x, y, z, 1) to fractions (z, y, x)."""
    n = grid.ndim
    order, flips = grid.canonical_axes()
    share = grid.to_index(np.eye(n + 1, n)) / np.maximum(np.asarray(grid.shape) - 1, 1)
    share = np.where(np.asarray(flips) > 0, share[:, order], 1 - share[:, order])
    matrix = np.zeros((3, 4))
    matrix[: 3 - n] = np.nan
    # the images of the unit vectors, less that of the origin, are the columns of the linear part
    matrix[3 - n :, :n] = (share[:n] - share[n]).T
    matrix[3 - n :, 3] = share[n]
    return matrix


def is_at(fractions: NDArray[np.float64], places: Collection[str]) -> NDArray[np.bool_]:
    """Return which rows lie at the places, (n,): at one of them along each axis that is named.

    Parameters
    ----------
    fractions : float64 array, (n, 3), or (n, 2) for planar images alone
        As :func:`fractions_of` gives them.
    places : names from :data:`PLACES`
    """
    planar = np.isnan(fractions[:, 0]) if fractions.shape[1] == 3 else np.ones(len(fractions), dtype=np.bool_)
    x, y = fractions[:, -1], fractions[:, -2]
    # a picture's rows run down and its columns to the right, a patient's axes up and to the left
    along = {
        ACROSS: np.where(planar, 1 - x, x),
        UPWARDS: np.where(planar, 1 - y, fractions[:, 0]),
        BACKWARDS: np.where(planar, np.nan, y),
    }
    mask = np.ones(len(fractions), dtype=np.bool_)
    for names, position in along.items():
        thirds = [third for third, name in enumerate(names) if name in places]
        if thirds:
            known = np.isfinite(position)
            third = np.clip(np.floor(np.where(known, position, 0.0) * 3), 0, 2)
            mask &= known & np.isin(third, thirds)
    return mask
