"""Judges candidates by whether their middle is denser than what surrounds it on all sides."""

import numpy as np
from numpy.typing import NDArray

REACH = 5


def judge(cubes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probability of each of the cubes, (n, channel, z, y, x), 0 … 1."""
    middle = np.asarray(cubes.shape[2:]) // 2
    offsets = np.indices(cubes.shape[2:]) - middle[:, None, None, None]
    distance = np.sqrt((offsets**2).sum(axis=0))
    inside = cubes[:, 0, distance <= REACH / 2].mean(axis=1)
    around = np.percentile(cubes[:, 0, (distance > REACH) & (distance <= REACH + 1)], 75, axis=1)
    probability: NDArray[np.float64] = 1 / (1 + np.exp(-8.0 * (inside - around)))
    return probability
