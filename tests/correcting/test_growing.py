from __future__ import annotations

import numpy as np
import pytest
from phantom_objects import Truth, dice, masses, nodules

from napari_medlab.correcting.growing import GrowLimits, grow
from napari_medlab.errors import InputRefusedError


def grown(truth: Truth, limits: GrowLimits) -> float:
    patch = grow(truth.pixels, truth.middle, truth.spacing, limits)
    mask = np.zeros(truth.mask.shape, bool)
    mask[patch.box] = patch.mask
    return dice(mask, truth.mask)


def test_nodules_grow_from_their_middle_about_as_large_as_they_are() -> None:
    scores = [grown(truth, GrowLimits.around(1.1 * truth.diameter)) for truth in nodules()]
    assert len(scores) >= 5
    assert np.mean(scores) > 0.65


def test_masses_grow_from_their_middle() -> None:
    scores = [grown(truth, GrowLimits(15.0)) for truth in masses()]
    assert len(scores) >= 4
    assert np.mean(scores) > 0.75


@pytest.mark.parametrize("contrast", [100.0, -100.0])
def test_a_ball_is_found_from_a_seed_off_its_middle_however_thick_the_slices(contrast: float) -> None:
    z, y, x = np.mgrid[:24, :60, :60]
    ball = ((z - 12) * 2.0) ** 2 + (y - 30) ** 2 + (x - 28) ** 2 <= 10**2
    noisy = contrast * ball + np.random.default_rng(1).normal(0, 10, ball.shape)
    patch = grow(noisy, (13, 34, 25), (2.0, 1.0, 1.0), GrowLimits(20.0))
    mask = np.zeros(ball.shape, bool)
    mask[patch.box] = patch.mask
    assert dice(mask, ball) > 0.93


def test_what_touches_a_wall_does_not_leak_into_it() -> None:
    z, y, x = np.mgrid[:40, :60, :60]
    ball = (z - 20) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 <= 8**2
    image = 100.0 * (ball | (x > 37))
    patch = grow(image, (20, 30, 30), (1.0, 1.0, 1.0), GrowLimits(16.0))
    mask = np.zeros(ball.shape, bool)
    mask[patch.box] = patch.mask
    assert dice(mask, ball) > 0.85
    assert patch.mask.sum() < 1.35 * ball.sum()


def test_large_colour_objects_are_worked_on_smaller() -> None:
    y, x = np.mgrid[:700, :800]
    disc = (y - 340) ** 2 + (x - 420) ** 2 <= 200**2
    colour = np.stack([np.where(disc, 200, 120)] * 3, axis=-1).astype(np.uint8)
    patch = grow(colour, (300, 450), (0.5, 0.5), GrowLimits(160.0))
    mask = np.zeros(disc.shape, bool)
    mask[patch.box] = patch.mask
    assert dice(mask, disc) > 0.97


def test_nothing_grows_beyond_the_limit_where_there_is_no_edge() -> None:
    flat = np.random.default_rng(2).normal(0, 1, (80, 80))
    patch = grow(flat, (40, 40), (1.0, 1.0), GrowLimits(10.0))
    inside = np.argwhere(patch.mask)
    assert np.ptp(inside, axis=0).max() <= 31


@pytest.mark.parametrize(
    ("seed", "limits", "code"),
    [
        ((90, 5), GrowLimits(5), "outside"),
        ((5, 5, 5), GrowLimits(5), "outside"),
        ((5, 5), GrowLimits(3, 4), "limits"),
    ],
)
def test_what_cannot_grow_is_refused(seed: tuple[int, ...], limits: GrowLimits, code: str) -> None:
    with pytest.raises(InputRefusedError) as refused:
        grow(np.zeros((20, 20)), seed, (1.0, 1.0), limits)
    assert refused.value.code == code
