from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn
from training_pieces import RECIPE, MaskObjective, SmallNet, bright_sample, same_weights, small_net, trained

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.training.modes import lesion_scores, loss_of_each
from napari_medlab.models.training.recipe import ValidationSettings
from napari_medlab.models.training.samplers import HardMiningSampler, OhemSampler
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.training.validation import HeldOut, best_dice, mean_cpm, ranking_quality

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def samples() -> list[Sample]:
    rng = np.random.default_rng(3)
    return [bright_sample(rng) for _ in range(4)]


class Thresholds(nn.Module):
    """Is sure of what is bright: its mask is right at any threshold, and one wrong voxel at a low one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = (images > 1).float() * 20 - 10
        logits[..., 0, 0] = -0.9  # a probability of 0.29
        return logits * self.weight


def test_a_segmenter_is_judged_at_its_best_threshold() -> None:
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 2:5, 2:5] = 2
    sample = Sample.without_boxes(image, mask=(image > 1).astype(np.uint8))
    figures = HeldOut("segmentation", [sample], MaskObjective())(Thresholds())
    assert figures["dice"] == 1.0
    assert figures["threshold"] == pytest.approx(0.3)
    assert figures["loss"] > 0


def test_the_worst_case_is_told_beside_the_mean() -> None:
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 2:5, 2:5] = 2
    found = Sample.without_boxes(image, mask=(image > 1).astype(np.uint8), group="a")
    half = np.zeros((1, 8, 8), np.uint8)
    half[0, 2:5, 2:8] = 1
    missed = Sample.without_boxes(image, mask=half, group="b")
    figures = HeldOut("segmentation", [found, missed, found], MaskObjective())(Thresholds())
    # of the second case 9 of 18 voxels are found: 2 · 9 / (9 + 18)
    assert figures["dice_worst"] == pytest.approx(2 / 3)
    assert figures["dice_mean"] == pytest.approx((1 + 2 / 3) / 2)
    assert figures["dice"] == pytest.approx(2 * 27 / (27 + 36))


def test_the_best_dice_is_pooled_over_voxels() -> None:
    counts = np.zeros((19, 2, 3))
    counts[4, 0] = (6, 8, 10)
    counts[5, 0] = (6, 7, 10)
    counts[:, 0, 2] = 10
    # the second class is nowhere: 1
    dice, threshold = best_dice(counts)
    assert dice == pytest.approx((12 / 17 + 1) / 2)
    assert threshold == pytest.approx(0.3)


def test_ranking_quality_counts_pairs() -> None:
    scores = np.array([0.9, 0.4, 0.4, 0.1])
    is_positive = np.array([True, True, False, False])
    # of four pairs three are in order, and one is equal
    assert ranking_quality(scores, is_positive) == pytest.approx(3.5 / 4)
    assert np.isnan(ranking_quality(scores, np.ones(4, np.bool_)))


def boxed(*centres: tuple[float, float], ignored: Sequence[bool] = (), labels: Sequence[int] = ()) -> Sample:
    boxes = np.asarray([[y - 2, x - 2, y + 2, x + 2] for y, x in centres], np.float32).reshape(-1, 4)
    flags = np.asarray(ignored or [False] * len(boxes), np.bool_)
    kinds = np.asarray(labels or [0] * len(boxes), np.int64)
    return Sample(np.zeros((1, 32, 32), np.float32), boxes, kinds, flags)


def found(*rows: tuple[float, float, float], classes: Sequence[int] = ()) -> Detections:
    centres = np.asarray([row[:2] for row in rows]).reshape(-1, 2)
    scores = np.asarray([row[2] for row in rows])
    return Detections.of_centres(
        centres, np.full(len(rows), 4.0), scores, np.asarray(classes or [0] * len(rows), np.int64)
    )


def test_detections_are_judged_by_the_rules_of_luna16() -> None:
    samples = [boxed((8, 8), (20, 20)), boxed((10, 10), ignored=[True])]
    perfect = [found((8, 9, 0.9), (20, 20, 0.8)), found((10, 10, 0.7))]
    assert mean_cpm(samples, perfect) == {"cpm": 1.0, "recall": 1.0}
    half = [found((8, 8, 0.9)), found((28, 28, 0.95))]
    # one of two is found, behind a false positive, half a one per image: at 1/8 and 1/4 a share of it, from 1/2 on all
    figures = mean_cpm(samples, half)
    assert figures["recall"] == 0.5
    assert 0 < figures["cpm"] < 0.5


def test_every_class_with_objects_counts_the_same() -> None:
    samples = [boxed((8, 8), (20, 20), labels=[0, 1])]
    only_first = [found((8, 8, 0.9), (20, 20, 0.9), classes=[0, 0])]
    assert mean_cpm(samples, only_first)["recall"] == 0.5
    assert np.isnan(mean_cpm([boxed()], [found()])["cpm"])


@dataclass
class Classes:
    """An objective of samples' classes."""

    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        labels = torch.tensor([float(sample.label) for sample in samples])
        return {"total": nn.functional.binary_cross_entropy_with_logits(network(images), labels)}


class Mean(nn.Module):
    """Says how bright a whole image is."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means: torch.Tensor = self.norm(images).mean(dim=(1, 2, 3))
        return self.scale * means


def classified(value: float, label: int) -> Sample:
    return Sample.without_boxes(np.full((1, 4, 4), value, np.float32), label=label)


def test_a_classifier_is_judged_by_ranks_and_guesses() -> None:
    samples = [classified(2, 1), classified(1, 0), classified(-1, 0), classified(-2, -1)]
    figures = HeldOut("classification", samples[:3], Classes())(Mean().eval())
    assert figures["auc"] == 1.0
    assert figures["accuracy"] == pytest.approx(2 / 3)
    with_unknown = HeldOut("classification", samples, Classes())(Mean().eval())
    assert with_unknown["auc"] == 1.0


class Finds(nn.Module):
    """A detector that finds the brightest voxel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * self.weight

    def decode(
        self, outputs: torch.Tensor, image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        places = [divmod(int(image.argmax()), image_shape[1]) for image in outputs]
        return [found((y, x, float(image.max()))) for (y, x), image in zip(places, outputs, strict=True)]


class Nothing:
    def losses(
        self, network: nn.Module, images: torch.Tensor, samples: Sequence[Sample]
    ) -> dict[str, torch.Tensor]:
        del samples
        return {"total": network(images).sum() * 0}


def test_a_detector_is_judged_on_whole_samples() -> None:
    sample = boxed((9, 21))
    image = sample.image.copy()
    image[0, 9, 21] = 0.8
    figures = HeldOut("detection", [replace(sample, image=image)], Nothing(), DecodeSettings())(Finds())
    assert (figures["cpm"], figures["recall"]) == (1.0, 1.0)


def test_looking_at_a_network_does_not_change_it(samples: list[Sample]) -> None:
    network = small_net()
    before = small_net()
    network.train()
    first, second = (loss_of_each(network, MaskObjective(), samples) for _ in range(2))
    assert first == second
    assert len(first) == 4
    assert same_weights(network, before)
    assert all(module.training for module in network.modules())


def test_scores_of_samples_are_probabilities_of_any_lesion(samples: list[Sample]) -> None:
    class Logits(nn.Module):
        def __init__(self, logits: Sequence[float]) -> None:
            super().__init__()
            self.logits = nn.Parameter(torch.tensor([list(logits)]))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return (
                self.logits.expand(len(images), -1).squeeze(1) if self.logits.shape[1] == 1 else self.logits
            )

    assert lesion_scores(Logits([0.0]), samples) == pytest.approx([0.5] * 4)
    assert lesion_scores(Logits([0.0, 0.0, 0.0]), samples) == pytest.approx([2 / 3] * 4)
    assert lesion_scores(Finds(), samples) == pytest.approx([float(s.image.max()) for s in samples])
    assert lesion_scores(small_net().eval(), samples).shape == (4,)


def labelled(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [replace(bright_sample(rng), label=int(k % 3 == 0)) for k in range(count)]


def with_sampler(
    kind: type[Any], stop: int | None, state: Path | None, mining_every: int | None = None
) -> tuple[SmallNet, Any]:
    sampler = kind(labelled(12))
    network, _ = trained(
        replace(RECIPE, mining_every=mining_every), sampler, cancel_after=stop, checkpoint=state
    )
    assert isinstance(network, SmallNet)
    return network, sampler


@pytest.mark.parametrize("stop", [3, 4, 7])
def test_rounds_of_hard_mining_are_remembered_over_a_stop(stop: int, tmp_path: Path) -> None:
    straight, sampler = with_sampler(HardMiningSampler, None, None, mining_every=4)
    assert sampler.round == 2
    with_sampler(HardMiningSampler, stop, tmp_path / "state", mining_every=4)
    resumed, again = with_sampler(HardMiningSampler, None, tmp_path / "state", mining_every=4)
    assert again.round == 2
    assert same_weights(straight, resumed)


def test_online_hard_examples_are_learnt_and_remembered_over_a_stop(tmp_path: Path) -> None:
    straight, sampler = with_sampler(OhemSampler, None, None)
    assert any(loss is not None for loss in sampler.state()["losses"])
    with_sampler(OhemSampler, 5, tmp_path / "state")
    resumed, _ = with_sampler(OhemSampler, None, tmp_path / "state")
    assert same_weights(straight, resumed)


def test_mining_needs_a_sampler_with_rounds() -> None:
    with pytest.raises(InputRefusedError, match="has no rounds"):
        trained(replace(RECIPE, mining_every=2))


def test_the_loop_validates_with_held_out_samples(samples: list[Sample]) -> None:
    settings = ValidationSettings(every=3, metric="dice", better="higher")
    validate = HeldOut("segmentation", samples, MaskObjective())
    network, steps = trained(replace(RECIPE, steps=30, validation=settings), validate=validate)
    looks = [step.metrics for step in steps if step.metrics is not None]
    assert [set(look) for look in looks] == [{"loss", "dice", "threshold", "dice_mean", "dice_worst"}] * 10
    assert max(look["dice"] for look in looks) == pytest.approx(validate(network)["dice"])


def test_a_look_and_a_round_end_within_a_sample_of_being_cancelled(samples: list[Sample]) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        HeldOut("segmentation", samples, MaskObjective(), cancel=cancel)(small_net())
    with pytest.raises(CancelledError):
        lesion_scores(small_net(), samples, cancel)
