from __future__ import annotations

import numpy as np
import pytest
from phantom_objects import Truth, dice_of_rings, masses, nodules

from napari_medlab.correcting.snapping import SnapLimits, snap
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import mask_to_rings, polygons


def sloppy(truth: Truth, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The true outline, scaled, moved and bent as a hurried reader draws it."""
    rng = np.random.default_rng(seed)
    ring = max(mask_to_rings(truth.mask), key=len)
    centre = np.argwhere(truth.mask).mean(axis=0)
    away = ring - centre
    angle = np.arctan2(*away.T)
    bend = sum(rng.normal(0, 0.12) / np.sqrt(n) * np.cos(n * angle + rng.uniform(0, 6.28)) for n in (2, 3, 5))
    radius = np.sqrt(truth.mask.sum() / np.pi)
    drawn: np.ndarray[tuple[int, int], np.dtype[np.float64]] = (
        centre + away * (rng.uniform(0.8, 1.25) * (1 + bend))[:, None] + rng.normal(0, 0.1 * radius, 2)
    )
    return drawn


def before_and_after(truths: list[Truth]) -> tuple[float, float]:
    pairs = []
    for truth in truths:
        for seed in range(3):
            drawn = sloppy(truth, seed)
            pairs.append(
                (dice_of_rings([drawn], truth.mask), dice_of_rings(snap(truth.pixels, [drawn]), truth.mask))
            )
    before, after = np.mean(pairs, axis=0)
    return float(before), float(after)


def test_outlines_of_masses_come_nearer_to_the_truth() -> None:
    before, after = before_and_after(masses())
    assert before < 0.89
    assert after > before + 0.03


def test_outlines_of_nodules_come_nearer_to_the_truth() -> None:
    large = [truth.largest_slice() for truth in nodules()]
    before, after = before_and_after([truth for truth in large if truth.mask.sum() >= 20])
    assert after > before + 0.015


def test_an_edge_is_met_to_a_fraction_of_a_pixel() -> None:
    y, x = np.mgrid[:80, :80]
    away = np.hypot(y - 40.3, x - 39.6)
    image = np.clip(20.25 - away + 0.5, 0, 1) * 100
    (ring,) = snap(image, [polygons.circle((42, 38), 46)])
    radius = np.hypot(*(ring - [40.3, 39.6]).T)
    assert np.abs(radius - 20.25).mean() < 0.15


def test_a_hole_is_snapped_as_its_outline_is() -> None:
    y, x = np.mgrid[:120, :120]
    away = np.hypot(y - 60, x - 60)
    image = 100.0 * ((away < 40) & (away > 15))
    rings = snap(image, [polygons.circle((60, 60), 86), polygons.circle((60, 60), 26)])
    assert [np.sqrt(polygons.area([ring]) / np.pi) for ring in rings] == pytest.approx([40, 15], abs=0.6)


def test_nothing_moves_far_where_there_is_nothing() -> None:
    circle = polygons.circle((40, 40), 40)
    (ring,) = snap(np.zeros((80, 80)), [circle], SnapLimits(reach=0.5))
    assert np.hypot(*(ring - 40).T) == pytest.approx(np.full(len(ring), 20.0), abs=0.3)


def test_a_part_that_is_too_large_is_refused() -> None:
    with pytest.raises(InputRefusedError):
        snap(np.zeros((8193, 8193), np.uint8), [polygons.circle((40, 40), 40)])
