from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_medlab.models.detection.heatmap import Targets, decode_peaks, heatmap_loss, make_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (24, 32, 40)
CENTRES = np.array([(5.3, 8.1, 30.9), (18.0, 21.5, 11.25), (12.49, 28.2, 6.6)], np.float32)
DIAMETERS = np.array([4.2, 11.0, 1.7], np.float32)
NONE_IGNORED = np.zeros(3, np.bool_)


def targets_of(
    centres: NDArray[np.float32], diameters: NDArray[np.float32], ignored: NDArray[np.bool_], shape: tuple[int, ...]
) -> Targets:
    return make_targets(shape, [centres], [diameters], [ignored])


def maps_of(targets: Targets) -> torch.Tensor:
    """Return the maps of a network that is always right."""
    heat = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))
    return torch.cat([heat[:, None], targets.log_diameter[:, None], targets.offset], dim=1)


@pytest.mark.parametrize("dims", [2, 3])
def test_centres_and_diameters_come_back(dims: int) -> None:
    centres, shape = CENTRES[:, :dims], SHAPE[:dims]
    maps = maps_of(targets_of(centres, DIAMETERS, NONE_IGNORED, shape))
    peaks = decode_peaks(maps[0], 0.9, 10)
    order = np.argsort(peaks.centres[:, 0])
    expected = np.argsort(centres[:, 0])
    np.testing.assert_allclose(peaks.centres[order], centres[expected], atol=1e-4)
    np.testing.assert_allclose(peaks.diameters[order], DIAMETERS[expected], rtol=1e-4)
    np.testing.assert_allclose(peaks.scores, 1, atol=1e-3)


def test_peaks_come_best_first_and_no_more_than_asked_for() -> None:
    maps = maps_of(targets_of(CENTRES, DIAMETERS, NONE_IGNORED, SHAPE))
    maps[0, 0, 9, 10, 5] = 2.0  # the cell of the second centre
    maps[0, 0, 2, 4, 15] = 1.0
    scores = decode_peaks(maps[0], 0.5, 10).scores.tolist()
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert len(decode_peaks(maps[0], 0.5, 2).scores) == 2
    assert len(decode_peaks(maps[0], 0.99995, 10).scores) == 0


def test_the_bump_falls_off_around_a_centre_and_large_ones_are_wider() -> None:
    targets = targets_of(CENTRES, DIAMETERS, NONE_IGNORED, SHAPE)
    assert int(targets.centre.sum()) == 3
    assert (targets.heat[targets.centre] == 1).all()
    assert float(targets.heat.min()) < 1e-6
    small = targets_of(CENTRES[1:2], np.array([4], np.float32), NONE_IGNORED[:1], SHAPE)
    large = targets_of(CENTRES[1:2], np.array([20], np.float32), NONE_IGNORED[:1], SHAPE)
    assert float(large.heat.sum()) > 2 * float(small.heat.sum())


def loss_and_gradient(maps: torch.Tensor, targets: Targets) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    maps = maps.detach().requires_grad_()
    losses = heatmap_loss(maps, targets, 0.5, 0.5)
    losses["total"].backward()
    assert maps.grad is not None
    return losses, maps.grad


def test_an_ignored_object_carries_no_loss() -> None:
    ignored = np.array([False, True, False])
    targets = targets_of(CENTRES, DIAMETERS, ignored, SHAPE)
    maps = torch.randn(1, 5, 12, 16, 20, generator=torch.Generator().manual_seed(0))
    _, gradient = loss_and_gradient(maps, targets)
    cell = tuple(np.rint((CENTRES[1] - 0.5) / 2).astype(int))
    assert (gradient[(0, slice(None), *cell)] == 0).all()
    # as far as the object reaches
    reach = round(float(DIAMETERS[1]) / 4)
    assert (gradient[0, 0, cell[0] - reach : cell[0] + reach + 1, cell[1], cell[2]] == 0).all()
    assert (gradient[0, 0] != 0).float().mean() > 0.9
    assert int(targets.centre.sum()) == 2


def test_a_lesion_inside_an_ignored_region_still_counts() -> None:
    both = np.array([CENTRES[1], CENTRES[1] + 1])
    targets = targets_of(both, np.array([5, 20], np.float32), np.array([False, True]), SHAPE)
    assert (targets.counted[targets.centre] == 1).all()


def test_a_network_that_is_right_has_the_least_loss() -> None:
    targets = targets_of(CENTRES, DIAMETERS, NONE_IGNORED, SHAPE)
    right = maps_of(targets)
    best = float(heatmap_loss(right, targets, 0.5, 0.5)["total"])
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        worse = right + torch.randn(right.shape, generator=generator)
        assert float(heatmap_loss(worse, targets, 0.5, 0.5)["total"]) > best
    losses = heatmap_loss(right, targets, 0.5, 0.5)
    assert float(losses["size"]) == float(losses["offset"]) == 0


def test_a_patch_without_lesions_has_a_loss_too() -> None:
    empty = targets_of(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.bool_), SHAPE)
    losses, gradient = loss_and_gradient(torch.zeros(1, 5, 12, 16, 20), empty)
    assert torch.isfinite(losses["total"])
    assert (gradient[:, 0] > 0).all()
    assert (gradient[:, 1:] == 0).all()
