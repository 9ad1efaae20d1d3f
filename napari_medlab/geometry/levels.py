"""Indices on the levels of a pyramid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["index_at_level", "index_at_level0", "level_factors"]


def level_factors(shapes: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
    """Return for each level how many level-0 pixels one of its pixels spans, axis by axis, from the true ratio of shapes.

    Parameters
    ----------
    shapes : sequence of (y, x) or (z, y, x)
        Spatial shapes, level 0 first.
    """
    base = np.asarray(shapes[0], dtype=np.float64)
    return [tuple((base / np.asarray(shape)).tolist()) for shape in shapes]


def index_at_level0(index: ArrayLike, factor: ArrayLike) -> NDArray[np.float64]:
    """Map indices (..., n) on a level of the given factor to level 0: the centre of pixel i is (i + 0.5) f - 0.5."""
    mapped: NDArray[np.float64] = (np.asarray(index, dtype=np.float64) + 0.5) * np.asarray(factor) - 0.5
    return mapped


def index_at_level(index0: ArrayLike, factor: ArrayLike) -> NDArray[np.float64]:
    """Map level-0 indices (..., n) to a level of the given factor."""
    mapped: NDArray[np.float64] = (np.asarray(index0, dtype=np.float64) + 0.5) / np.asarray(factor) - 0.5
    return mapped
