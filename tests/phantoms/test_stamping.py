from __future__ import annotations

import numpy as np
import pytest

from napari_medlab.phantoms.stamping import stamp_balls
from napari_medlab.phantoms.trees import grow_tree

SPACING = np.array([2.0, 1.0, 1.0])


def test_a_ball_is_as_large_and_lies_where_it_is_asked_to() -> None:
    field = np.zeros((24, 40, 40), np.float32)
    centre = np.array([[23.0, 18.4, 21.7]])
    stamp_balls(field, SPACING, centre, np.array([9.0]), 1.0)
    assert field.max() == 1.0
    place = (np.indices(field.shape).reshape(3, -1).T * SPACING * field.reshape(-1, 1)).sum(
        axis=0
    ) / field.sum()
    np.testing.assert_allclose(place, centre[0], atol=0.1)
    assert field.sum() * SPACING.prod() == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.02)


def test_balls_never_lower_what_is_there() -> None:
    field = np.full((8, 8, 8), 0.6, np.float32)
    stamp_balls(field, SPACING, np.array([[8.0, 4.0, 4.0]]), np.array([2.0]), 1.0)
    assert field.min() == np.float32(0.6)


def test_a_ball_beyond_the_border_is_cut_off() -> None:
    field = np.zeros((8, 8, 8), np.float32)
    stamp_balls(field, SPACING, np.array([[-1.0, 4.0, 7.5], [99.0, 99.0, 99.0]]), np.array([3.0, 3.0]), 1.0)
    assert field[0, 4, 7] == 1.0
    assert field[4:].max() == 0.0


def test_a_tree_thins_and_ends() -> None:
    tree = grow_tree(np.random.default_rng(0), np.zeros(3), np.array([0.0, 0.0, 2.0]), 3.0, 1.0)
    assert len(tree.centres_mm) == len(tree.radii_mm)
    assert tree.radii_mm[0] == 3.0
    assert tree.radii_mm.min() >= 0.88
    assert tree.forks.max() == len(tree.radii_mm) - 1
