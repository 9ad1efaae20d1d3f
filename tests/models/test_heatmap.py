from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.detection.heatmap import (
    HeatmapObjective,
    Targets,
    _reduced,
    heatmap_loss,
    make_targets,
)
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet
from napari_medlab.models.networks.scaled_heatmap import ScaledHeatmapNet
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHAPE = (24, 32, 40)
CENTRES = np.array([(5.3, 8.1, 30.9), (18.0, 21.5, 11.25), (12.49, 28.2, 6.6)], np.float32)
DIAMETERS = np.array([4.2, 11.0, 1.7], np.float32)
NONE_IGNORED = np.zeros(3, np.bool_)


def sample_of(
    centres: NDArray[np.float32], diameters: NDArray[np.float32], ignored: NDArray[np.bool_], shape: Sequence[int],
    labels: Sequence[int] | None = None,
) -> Sample:  # fmt: skip
    reach = diameters[:, None] / 2
    boxes = np.concatenate([centres - reach, centres + reach], axis=1)
    return Sample(
        np.zeros((1, *shape), np.float32), boxes, np.asarray(labels or [0] * len(boxes), np.int64), ignored
    )


def targets_of(
    centres: NDArray[np.float32],
    diameters: NDArray[np.float32],
    ignored: NDArray[np.bool_],
    shape: Sequence[int],
) -> Targets:
    return make_targets([sample_of(centres, diameters, ignored, shape)], 1)


def maps_of(targets: Targets) -> torch.Tensor:
    """Return the maps of a network that is always right."""
    heat = torch.logit(targets.heat.clamp(1e-4, 1 - 1e-4))
    return torch.cat([heat, targets.log_diameter[:, None], targets.offset], dim=1)


def decoded(maps: torch.Tensor, threshold: float, most: int = 10, classes: int = 1) -> Detections:
    network = CentreHeatmapNet(maps.ndim - 2, (4, 4), classes)
    return network.decode(maps, [2 * n for n in maps.shape[2:]], DecodeSettings(threshold, most))[0]


@pytest.mark.parametrize("dims", [2, 3])
def test_centres_and_diameters_come_back(dims: int) -> None:
    centres, shape = CENTRES[:, :dims], SHAPE[:dims]
    maps = maps_of(targets_of(centres, DIAMETERS, NONE_IGNORED, shape))
    peaks = decoded(maps, 0.9)
    order = np.argsort(peaks.centres[:, 0])
    expected = np.argsort(centres[:, 0])
    np.testing.assert_allclose(peaks.centres[order], centres[expected], atol=1e-4)
    np.testing.assert_allclose(peaks.diameters[order], DIAMETERS[expected], rtol=1e-4)
    np.testing.assert_allclose(peaks.scores, 1, atol=1e-3)


def test_peaks_come_best_first_and_no_more_than_asked_for() -> None:
    maps = maps_of(targets_of(CENTRES, DIAMETERS, NONE_IGNORED, SHAPE))
    maps[0, 0, 9, 10, 5] = 2.0  # the cell of the second centre
    maps[0, 0, 2, 4, 15] = 1.0
    scores = decoded(maps, 0.5).scores.tolist()
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert len(decoded(maps, 0.5, 2).scores) == 2
    assert len(decoded(maps, 0.99995).scores) == 0


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
    losses = heatmap_loss(maps, targets)
    torch.stack(list(losses.values())).sum().backward()
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
    best = float(sum(heatmap_loss(right, targets).values()))
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        worse = right + torch.randn(right.shape, generator=generator)
        assert float(sum(heatmap_loss(worse, targets).values())) > best
    losses = heatmap_loss(right, targets)
    assert float(losses["size"]) == float(losses["offset"]) == 0


def test_a_patch_without_lesions_has_a_loss_too() -> None:
    empty = targets_of(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, np.bool_), SHAPE)
    losses, gradient = loss_and_gradient(torch.zeros(1, 5, 12, 16, 20), empty)
    assert torch.isfinite(losses["heat"])
    assert (gradient[:, 0] > 0).all()
    assert (gradient[:, 1:] == 0).all()


def test_each_class_has_a_heatmap_of_its_own() -> None:
    sample = sample_of(CENTRES, DIAMETERS, NONE_IGNORED, SHAPE, labels=[1, 0, 1])
    targets = make_targets([sample], 2)
    assert targets.centre.sum(dim=(0, 2, 3, 4)).tolist() == [1, 2]
    found = decoded(maps_of(targets), 0.9, classes=2)
    assert sorted(found.classes.tolist()) == [0, 1, 1]
    np.testing.assert_allclose(found.centres[found.classes == 0], CENTRES[1:2], atol=1e-4)


def test_the_weight_of_a_class_scales_its_loss_alone() -> None:
    targets = make_targets([sample_of(CENTRES, DIAMETERS, NONE_IGNORED, SHAPE, labels=[1, 0, 1])], 2)
    maps = torch.zeros(1, 6, 12, 16, 20)
    plain, first, second = (
        float(heatmap_loss(maps, targets, w)["heat"]) for w in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0))
    )
    assert first + second == pytest.approx(plain)
    assert float(heatmap_loss(maps, targets, (2.0, 1.0))["heat"]) == pytest.approx(plain + first)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_few_steps_lower_the_loss_and_reach_every_weight(dims: int) -> None:
    torch.manual_seed(0)
    network = CentreHeatmapNet(dims, (4, 8, 8), classes=1, in_channels=2)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    image = torch.zeros(1, 2, *[32] * dims)
    image[:, :, 10:15, 10:15] = 1
    place = np.full((1, dims), 12, np.float32)
    sample = sample_of(place, np.array([5], np.float32), np.zeros(1, np.bool_), [32] * dims)
    objective = HeatmapObjective()
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        total = objective.losses(network, image, [sample])["total"]
        total.backward()
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < losses[0]
    assert all(
        p.grad is not None and float(p.grad.abs().sum()) > 0
        for n, p in network.named_parameters()
        if "out" in n
    )


def scaled_network() -> ScaledHeatmapNet:
    torch.manual_seed(0)
    scales = [
        {"factor": 1, "classes": [0], "channels": [4, 4]},
        {"factor": 4, "classes": [1, 2], "channels": [4, 8]},
    ]
    return ScaledHeatmapNet(scales, spatial_dims=2)


def test_parts_at_other_scales_speak_of_the_same_voxels() -> None:
    centres, diameters = np.array([(21.0, 30.5), (40.0, 12.0)], np.float32), np.array([3.0, 24.0], np.float32)
    sample = sample_of(centres, diameters, np.zeros(2, np.bool_), (64, 64), labels=[0, 2])
    network = scaled_network()
    maps = []
    for factor, known in zip(network.factors, network.class_numbers, strict=True):
        targets = make_targets([_reduced(sample, factor, known)], len(known))
        maps.append(maps_of(targets))
    found = network.decode(maps, (64, 64), DecodeSettings(0.9, 10))[0]
    assert found.classes.tolist() == [0, 2]
    np.testing.assert_allclose(found.centres, centres, atol=1e-4)
    np.testing.assert_allclose(found.diameters, diameters, rtol=1e-4)


def test_a_scaled_network_learns_each_class_in_its_own_part() -> None:
    network = scaled_network()
    assert network.multiple == 16
    place, small = np.array([(20, 20)], np.float32), np.array([3], np.float32)
    sample = sample_of(place, small, np.zeros(1, np.bool_), (32, 32), labels=[1])
    losses = HeatmapObjective().losses(network, torch.rand(1, 1, 32, 32), [sample])
    sizes = losses["size"]
    sizes.backward()
    touched = {
        name.split(".")[1]
        for name, p in network.named_parameters()
        if p.grad is not None and p.grad.abs().sum() > 0
    }
    assert touched == {"1"}


def test_what_no_part_of_a_scaled_network_finds_is_neither_lesion_nor_background() -> None:
    scales = [
        {"factor": 1, "classes": [0], "channels": [4, 4]},
        {"factor": 4, "classes": [1], "channels": [4, 8]},
    ]
    torch.manual_seed(0)
    network = ScaledHeatmapNet(scales, spatial_dims=2)
    place, size = np.array([(16, 16)], np.float32), np.array([60], np.float32)
    image = torch.rand(1, 1, 32, 32)
    nothing, no = np.zeros((0, 2), np.float32), np.zeros(0, np.bool_)
    healthy = sample_of(nothing, np.zeros(0, np.float32), no, (32, 32), labels=[])
    cluster = sample_of(place, size, np.zeros(1, np.bool_), (32, 32), labels=[2])
    assert HeatmapObjective().losses(network, image, [cluster])["total"].item() == 0
    assert HeatmapObjective().losses(network, image, [healthy])["total"].item() > 0
