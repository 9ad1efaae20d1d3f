"""Branching trees of vessels and airways as balls along their branches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Tree", "grow_tree"]

LENGTH_PER_RADIUS = (3.5, 7.0)
CHILD_RADIUS = (0.68, 0.93)
MAX_BALLS = 5_000


@dataclass(frozen=True)
class Tree:
    """Balls along the branches: ``centres_mm`` (n, 3) along the array axes (z, y, x), ``radii_mm`` (n,), ``forks`` (m,) rows."""

    centres_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    forks: NDArray[np.int64]


def grow_tree(
    rng: np.random.Generator,
    root_mm: NDArray[np.floating],
    direction: NDArray[np.float64],
    radius_mm: float,
    least_mm: float,
) -> Tree:
    """Grow a tree that forks in two until its branches are thinner than ``least_mm``.

    Parameters
    ----------
    rng : the source of randomness
    root_mm : (3,), where the trunk begins, in mm along the array axes
    direction : (3,), where the trunk points
    radius_mm : radius of the trunk
    least_mm : radius below which branches end
    """
    pending = [(root_mm, direction / np.linalg.norm(direction), radius_mm)]
    centres, radii, forks, total = [], [], [], 0
    while pending and total < MAX_BALLS:
        start, heading, radius = pending.pop(0)
        length = radius * rng.uniform(*LENGTH_PER_RADIUS)
        steps = max(int(length / (0.8 * radius)), 2)
        path = _wander(rng, start, heading, length, steps)
        taper = np.linspace(radius, radius * 0.88, steps)
        centres.append(path)
        radii.append(taper)
        total += steps
        forks.append(total - 1)
        for _ in range(2):
            child = radius * rng.uniform(*CHILD_RADIUS)
            if child >= least_mm:
                pending.append((path[-1], _turn(rng, heading), child))
    return Tree(np.concatenate(centres), np.concatenate(radii), np.asarray(forks))


def _wander(
    rng: np.random.Generator,
    start: NDArray[np.floating],
    heading: NDArray[np.float64],
    length: float,
    steps: int,
) -> NDArray[np.float64]:
    """Return a slightly curved path (steps, 3)."""
    bend = np.cumsum(rng.normal(0, 0.14, (steps, 3)), axis=0)
    along = heading + bend
    path: NDArray[np.float64] = start + np.cumsum(along, axis=0) * (length / steps)
    return path


def _turn(rng: np.random.Generator, heading: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a heading turned by a random 20 to 60 degrees."""
    sideways = rng.normal(size=3)
    sideways -= heading * (sideways @ heading)
    sideways /= np.linalg.norm(sideways)
    angle = np.deg2rad(rng.uniform(20, 60))
    turned: NDArray[np.float64] = np.cos(angle) * heading + np.sin(angle) * sideways
    return turned
