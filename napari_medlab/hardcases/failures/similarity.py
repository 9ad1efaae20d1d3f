"""Errors that look alike: nearest neighbours in an embedding, and a map of all of them to draw a lasso on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Layout", "MapSettings", "Neighbours", "inside", "lay_out"]

BLOCK_VALUES = 1 << 22
"""About this many similarities are held at once."""
NEAREST_LANDMARKS = 5
A, B = 1.577, 0.895
"""The curve 1 / (1 + a d^2b) that fits a least distance of 0.1 on the map (McInnes et al., 2018, section 4.2)."""
MOST_STEP = 4.0
SPREAD = 10.0


class Neighbours:
    """Finds the objects that are most alike, by the cosine between their embeddings; exact.

    Parameters
    ----------
    embedding : array (n, features)
        Rows of zeros are like nothing, themselves included.

    Raises
    ------
    ValueError
        Where a value is not finite, as a nan would be like everything.
    """

    def __init__(self, embedding: ArrayLike) -> None:
        values = np.atleast_2d(np.asarray(embedding, dtype=np.float32))
        if not np.isfinite(values).all():
            msg = "An embedding must be finite in all its values."
            raise ValueError(msg)
        self._units = _unit_rows(values)

    def __len__(self) -> int:
        return len(self._units)

    def of_row(self, row: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Return the rows most like one row, itself left out, most alike first, and their cosines."""
        rows, cosines = _best((self._units @ self._units[row])[None], count + 1)
        others = rows[0] != row
        return rows[0][others][:count], cosines[0][others][:count]


@dataclass(frozen=True)
class MapSettings:
    """How a map is made.

    Parameters
    ----------
    components : int
        Principal components that are kept of an embedding.
    neighbours : int
        That a map tries to keep together.
    epochs : int
    most_points : int
        More points than this are placed by those of them that are drawn as landmarks.
    seed : int
        The same seed and embedding give the same map.
    """

    components: int = 32
    neighbours: int = 15
    epochs: int = 200
    most_points: int = 20_000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Layout:
    """A map.

    Parameters
    ----------
    points : float32 array (n, 2)
    landmarks : int
        How many points were laid out; where fewer than there are, each other one lies among its nearest landmarks.
    """

    points: NDArray[np.float32]
    landmarks: int


def lay_out(
    embedding: ArrayLike,
    settings: MapSettings | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Layout:
    """Return a map on which objects that are alike lie near one another; distances between far ones mean little.

    Parameters
    ----------
    embedding : array (n, features)
    settings : MapSettings, optional
    on_progress : callable, optional
        Called with the steps done and in all.
    stop : callable, optional
        Called between steps; it raises where nobody wants the map any more.

    Notes
    -----
    A small form of UMAP (L. McInnes, J. Healy and J. Melville, arXiv 1802.03426, 2018): a weighted graph of exact nearest
    neighbours, whose edges pull and whose random pairs push, a sample of both in each epoch. It begins with the first two
    principal components, so that clusters come to lie as the components have them (D. Kobak and G. C. Linderman, Nature
    Biotechnology 39 (2021)).
    """
    chosen = settings or MapSettings()
    values = principal_components(np.asarray(embedding, dtype=np.float32), chosen.components)
    if len(values) < 4:
        return Layout(_first_two(values), len(values))
    rng = np.random.default_rng(chosen.seed)
    if len(values) <= chosen.most_points:
        return Layout(_map_of(values, chosen, rng, (on_progress, stop)), len(values))
    landmarks = np.sort(rng.choice(len(values), chosen.most_points // 2, replace=False))
    laid = _map_of(values[landmarks], chosen, rng, (on_progress, stop))
    near, cosine = _all_neighbours(
        _unit_rows(values), _unit_rows(values[landmarks]), NEAREST_LANDMARKS, (None, stop)
    )
    weight = 1 / np.maximum(1 - cosine, 1e-6)
    points = (laid[near] * weight[..., None]).sum(axis=1) / weight.sum(axis=1, keepdims=True)
    points[landmarks] = laid
    return Layout(points.astype(np.float32), len(landmarks))


def principal_components(values: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Return the scores, (n, at most ``most``), of the leading principal components, their signs fixed.

    The largest loading of each is positive, so that a map is not mirrored from one machine to the next.
    """
    centred = (values - values.mean(axis=0)).astype(np.float64) if len(values) else values.astype(np.float64)
    spread, axes = np.linalg.eigh(centred.T @ centred)
    leading = axes[:, np.argsort(-spread, kind="stable")[:most]]
    signs = np.sign(np.take_along_axis(leading, np.abs(leading).argmax(axis=0)[None], axis=0))
    scores: NDArray[np.float32] = (centred @ (leading * np.where(signs == 0, 1, signs))).astype(np.float32)
    return scores


def inside(polygon: ArrayLike, points: ArrayLike) -> NDArray[np.bool_]:
    """Tell which points (n, 2) lie in a lasso, (m, 2) vertices; where it crosses itself, even and odd turns alternate.

    A lasso of fewer than three vertices holds nothing.
    """
    corners = np.asarray(polygon, dtype=np.float64).reshape(-1, 2)
    x, y = np.asarray(points, dtype=np.float64).reshape(-1, 2).T
    within = np.zeros(len(x), np.bool_)
    if len(corners) < 3:
        return within
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        rows = np.flatnonzero((y1 > y) != (y2 > y))
        if len(rows):
            within[rows] ^= x[rows] < x1 + (y[rows] - y1) * (x2 - x1) / (y2 - y1)
    return within


Watch = tuple["Callable[[int, int], None] | None", "Callable[[], None] | None"]


def _map_of(
    values: NDArray[np.float32], settings: MapSettings, rng: np.random.Generator, watch: Watch
) -> NDArray[np.float32]:
    on_progress, stop = watch
    units = _unit_rows(values)
    near, cosine = _all_neighbours(
        units, units, min(settings.neighbours, len(values) - 1), (None, stop), same=True
    )
    chance = _edge_chances(1 - cosine)
    heads = np.repeat(np.arange(len(values)), near.shape[1])
    tails, chances = near.ravel(), chance.ravel()
    points = _first_two(values)
    points *= SPREAD / np.maximum(np.abs(points).max(), 1e-9)
    points += rng.normal(scale=1e-3, size=points.shape).astype(np.float32)
    for epoch in range(settings.epochs):
        if stop is not None:
            stop()
        if on_progress is not None:
            on_progress(epoch, settings.epochs)
        drawn = rng.random(len(chances), dtype=np.float32) < chances
        _pull(points, heads[drawn], tails[drawn], 1 - epoch / settings.epochs)
        _push(points, rng, 1 - epoch / settings.epochs)
    if on_progress is not None:
        on_progress(settings.epochs, settings.epochs)
    return points


def _edge_chances(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how often each edge pulls: always to the nearest neighbour, less the farther a neighbour is beyond it."""
    beyond = np.maximum(distance - distance[:, :1], 0)
    scale = np.maximum(beyond.mean(axis=1, keepdims=True), 1e-6)
    chances: NDArray[np.float32] = np.exp(-beyond / scale)
    return chances


def _pull(points: NDArray[np.float32], heads: NDArray[np.intp], tails: NDArray[np.intp], rate: float) -> None:
    apart = points[heads] - points[tails]
    squared = np.maximum((apart**2).sum(axis=1), 1e-6)
    force = (-2 * A * B * squared ** (B - 1)) / (1 + A * squared**B)
    step = np.clip(force[:, None] * apart, -MOST_STEP, MOST_STEP)
    # all edges of an epoch act at once: each point moves by the mean of its pulls, so that it does not overshoot
    _move(points, np.concatenate([heads, tails]), np.concatenate([step, -step]), rate)


def _push(points: NDArray[np.float32], rng: np.random.Generator, rate: float) -> None:
    n = len(points)
    heads = np.tile(np.arange(n), 5)
    apart = points[heads] - points[rng.integers(0, n, len(heads))]
    squared = (apart**2).sum(axis=1)
    force = 2 * B / ((0.001 + squared) * (1 + A * squared**B))
    step = np.clip(force[:, None] * apart, -MOST_STEP, MOST_STEP)
    _move(points, heads, step, rate)


def _move(
    points: NDArray[np.float32], rows: NDArray[np.intp], steps: NDArray[np.float32], rate: float
) -> None:
    n = len(points)
    counts = np.maximum(np.bincount(rows, minlength=n), 1)
    shifts = [rate * np.bincount(rows, steps[:, axis], minlength=n) / counts for axis in range(2)]
    np.add(points, np.stack(shifts, axis=1), out=points, casting="same_kind")


def _first_two(values: NDArray[np.float32]) -> NDArray[np.float32]:
    points = np.zeros((len(values), 2), np.float32)
    points[:, : min(2, values.shape[1])] = values[:, :2]
    return points


def _unit_rows(values: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(values, axis=1, keepdims=True)
    length[length == 0] = 1
    units: NDArray[np.float32] = (values / length).astype(np.float32, copy=False)
    return units


def _best(cosines: NDArray[np.float32], count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the columns of the largest values of each row, largest first, and the values."""
    count = min(count, cosines.shape[1])
    if 0 < count < cosines.shape[1]:
        columns = np.argpartition(cosines, -count, axis=1)[:, -count:]
    else:
        columns = np.broadcast_to(np.arange(count), (len(cosines), count))
    values = np.take_along_axis(cosines, columns, axis=1)
    order = np.lexsort((columns, -values), axis=1)
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)


def _all_neighbours(
    units: NDArray[np.float32], among: NDArray[np.float32], count: int, watch: Watch, *, same: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the neighbours of each row among other rows; with ``same`` both are one array, and nobody is his own."""
    on_progress, stop = watch
    rows = np.empty((len(units), count), np.intp)
    cosines = np.empty((len(units), count), np.float32)
    height = max(1, BLOCK_VALUES // max(len(among), 1))
    for at in range(0, len(units), height):
        if stop is not None:
            stop()
        block = units[at : at + height] @ among.T
        if same:
            block[np.arange(len(block)), at + np.arange(len(block))] = -np.inf
        rows[at : at + height], cosines[at : at + height] = _best(block, count)
        if on_progress is not None:
            on_progress(min(at + height, len(units)), len(units))
    return rows, cosines
