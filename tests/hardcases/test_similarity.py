from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from napari_medlab.hardcases.failures.similarity import (
    MapSettings,
    Neighbours,
    inside,
    lay_out,
    principal_components,
)
from napari_medlab.jobs import CancelledError, CancelToken

if TYPE_CHECKING:
    from numpy.typing import NDArray


def clusters(n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 5, n)
    centres = rng.normal(size=(5, 20)) * 3
    return (centres[label] + rng.normal(size=(n, 20))).astype(np.float32), label


@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_neighbours_are_those_of_the_full_table_of_cosines(n: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(n, 6))
    units = values / np.linalg.norm(values, axis=1, keepdims=True)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    rows, found = Neighbours(values).of_row(0, count)
    expected = np.argsort(-cosines[0])[: min(count, n - 1)]
    assert rows.tolist() == expected.tolist()
    np.testing.assert_allclose(found, cosines[0][expected], atol=1e-5)


def test_twins_are_neighbours_though_a_row_is_none_of_itself() -> None:
    values, _ = clusters(30)
    values[4] = values[9]
    assert Neighbours(values).of_row(9, 1)[0].tolist() == [4]


def test_what_is_not_finite_is_refused_and_zeros_are_like_nothing() -> None:
    with pytest.raises(ValueError, match="finite"):
        Neighbours([[np.nan, 1.0]])
    _, cosines = Neighbours([[0.0, 0.0], [1.0, 0.0]]).of_row(0, 1)
    assert cosines.tolist() == [0.0]


def same_label_share(points: NDArray[np.float32], label: NDArray[np.intp]) -> float:
    _, near = cKDTree(points).query(points, 6)
    return float((label[near[:, 1:]] == label[:, None]).mean())


def test_a_map_keeps_clusters_together_and_is_the_same_each_time() -> None:
    values, label = clusters(400)
    settings_ = MapSettings(epochs=100)
    layout = lay_out(values, settings_)
    assert layout.points.shape == (400, 2)
    assert layout.landmarks == 400
    assert same_label_share(layout.points, label) > 0.97
    np.testing.assert_array_equal(lay_out(values, settings_).points, layout.points)


def test_many_points_are_placed_by_landmarks() -> None:
    values, label = clusters(900)
    layout = lay_out(values, MapSettings(epochs=60, most_points=400))
    assert layout.landmarks == 200
    assert same_label_share(layout.points, label) > 0.95


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 10])
def test_a_few_points_are_laid_out_too(n: int) -> None:
    points = lay_out(clusters(50)[0][:n], MapSettings(epochs=5)).points
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()


def test_equal_points_do_no_harm() -> None:
    assert np.isfinite(lay_out(np.ones((40, 3)), MapSettings(epochs=10)).points).all()


def test_progress_is_told_and_a_stop_is_obeyed() -> None:
    told: list[tuple[int, int]] = []
    lay_out(
        clusters(50)[0], MapSettings(epochs=4), on_progress=lambda done, total: told.append((done, total))
    )
    assert told[-1] == (4, 4)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        lay_out(clusters(50)[0], stop=token.check)


def test_principal_components_keep_distances_and_have_fixed_signs() -> None:
    values, _ = clusters(60)
    scores = principal_components(values, 20)
    there = np.linalg.norm(scores[:, None] - scores[None], axis=2)
    np.testing.assert_allclose(there, np.linalg.norm(values[:, None] - values[None], axis=2), atol=1e-2)
    spread = scores.std(axis=0)
    assert (np.diff(spread) <= 1e-4).all()


def test_a_lasso_holds_what_it_goes_around() -> None:
    square = [(0, 0), (4, 0), (4, 4), (0, 4)]
    assert inside(square, [(1, 1), (5, 1), (3.9, 3.9), (-1, 2)]).tolist() == [True, False, True, False]
    assert not inside(square[:2], [(1, 1)]).any()
    assert inside(square, np.zeros((0, 2))).shape == (0,)
    bow_tie = [(0, 0), (4, 4), (4, 0), (0, 4)]
    assert inside(bow_tie, [(0.5, 2), (3.5, 2), (2, 0.5)]).tolist() == [True, True, False]


@given(st.integers(3, 12), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_lasso_agrees_with_shapely(corners: int, seed: int) -> None:
    import shapely

    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * rng.uniform(0.3, 1, corners)[:, None]
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid:
        return
    points = rng.uniform(-1, 1, (50, 2))
    np.testing.assert_array_equal(inside(ring, points), shapely.contains_xy(polygon, points))
