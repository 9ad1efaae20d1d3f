from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.segmentation.objective import SegmentationObjective
from napari_medlab.models.training.objectives import build_objective
from napari_medlab.models.training.samples import Sample

LOG3 = math.log(3)


class Says(nn.Module):
    """A network that always says the same logits, (batch, class, y, x)."""

    def __init__(self, logits: list[object]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits * 1.0


def sample(mask: list[object]) -> Sample:
    array = np.asarray(mask, np.uint8)
    return Sample.without_boxes(np.zeros((1, *array.shape[1:]), np.float32), mask=array)


def losses(objective: SegmentationObjective, network: Says, samples: list[Sample]) -> dict[str, float]:
    terms = objective.losses(network, torch.zeros(len(samples), 1, 1, 4), samples)
    network.zero_grad()
    terms["total"].backward()
    return {name: float(term.detach()) for name, term in terms.items()}


# probabilities 3/4, 3/4, 1/4, 1/2 against 1, 0, 1, 0: 1 in common of 9/4 and 2
LOGITS: list[object] = [[[[LOG3, LOG3, -LOG3, 0.0]]]]
MASK: list[object] = [[[1, 0, 1, 0]]]
BCE = (math.log(4 / 3) + math.log(4) * 2 + math.log(2)) / 4
DICE = 1 - 2 * 1 / (9 / 4 + 2)
JACCARD = 1 - 1 / (9 / 4 + 2 - 1)


def test_each_loss_by_hand() -> None:
    network = Says(LOGITS)
    assert losses(SegmentationObjective("bce"), network, [sample(MASK)])["total"] == pytest.approx(BCE)
    assert losses(SegmentationObjective("dice"), network, [sample(MASK)])["total"] == pytest.approx(
        DICE, abs=1e-5
    )
    assert losses(SegmentationObjective("jaccard"), network, [sample(MASK)])["total"] == pytest.approx(
        JACCARD, abs=1e-5
    )
    focal = (math.log(4 / 3) / 16 + 2 * math.log(4) * 9 / 16 + math.log(2) / 4) / 4
    assert losses(SegmentationObjective("focal"), network, [sample(MASK)])["total"] == pytest.approx(focal)


def test_sums_carry_their_weights_and_name_their_terms() -> None:
    found = losses(SegmentationObjective("bce+jaccard", [0.5, 2]), Says(LOGITS), [sample(MASK)])
    assert found.keys() == {"bce", "jaccard", "total"}
    assert found["bce"] == pytest.approx(BCE)
    assert found["total"] == pytest.approx(0.5 * BCE + 2 * JACCARD, abs=1e-5)


def test_voxels_of_objects_may_count_more() -> None:
    expected = (3 * math.log(4 / 3) + math.log(4) + 3 * math.log(4) + math.log(2)) / 4
    found = losses(SegmentationObjective("bce", positive_weight=3), Says(LOGITS), [sample(MASK)])
    assert found["total"] == pytest.approx(expected)


def test_dice_of_the_batch_forgives_an_empty_tile_and_dice_of_each_tile_does_not() -> None:
    network = Says([[[[9.0, 9.0, -9.0, -9.0]]], [[[-9.0, -9.0, -9.0, -5.0]]]])
    samples = [sample([[[1, 1, 0, 0]]]), sample([[[0, 0, 0, 0]]])]
    assert losses(SegmentationObjective("dice"), network, samples)["total"] < 0.01
    assert losses(SegmentationObjective("dice", over_batch=False), network, samples)["total"] > 0.45


def test_each_class_has_its_own_mask() -> None:
    network = Says([[[[LOG3, LOG3]], [[-LOG3, -LOG3]]]])
    found = losses(SegmentationObjective("bce"), network, [sample([[[1, 1]], [[0, 0]]])])
    assert found["total"] == pytest.approx(math.log(4 / 3))


@pytest.mark.parametrize("loss", ["bce", "dice", "jaccard", "focal"])
def test_what_is_to_be_ignored_carries_no_loss(loss: str) -> None:
    network = Says(LOGITS)
    boxes = np.array([[-0.5, 0.5, 0.5, 2.5]], np.float32)  # the voxels in the middle
    ignoring = replace(
        sample(MASK), boxes=boxes, labels=np.zeros(1, np.int64), is_ignored=np.ones(1, np.bool_)
    )
    found = losses(SegmentationObjective(loss), network, [ignoring])
    assert network.logits.grad is not None
    assert (network.logits.grad[0, 0, 0] != 0).tolist() == [True, False, False, True]
    others = replace(ignoring, mask=np.asarray([[[1, 1, 0, 0]]], np.uint8))
    assert losses(SegmentationObjective(loss), network, [others])["total"] == found["total"]
    counted = replace(ignoring, is_ignored=np.zeros(1, np.bool_))
    assert losses(SegmentationObjective(loss), network, [counted])["total"] != found["total"]


@pytest.mark.parametrize("mask", [None, np.zeros((2, 1, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)])
def test_a_sample_whose_mask_does_not_fit_is_refused(
    mask: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None,
) -> None:
    with pytest.raises(InputRefusedError, match="A sample's mask is"):
        losses(SegmentationObjective(), Says(LOGITS), [replace(sample(MASK), mask=mask)])


@pytest.mark.parametrize(
    "arguments", [{"loss": "l2"}, {"loss": "bce+bce"}, {"loss": ""}, {"loss": "bce+dice", "weights": [1]}]
)
def test_what_does_not_fit_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError, match="do not fit the objective"):
        build_objective("segmentation", arguments)


def test_everything_stays_on_the_networks_device() -> None:
    network = Says(LOGITS).to("meta")
    ignoring = replace(
        sample(MASK),
        boxes=np.zeros((1, 4), np.float32),
        labels=np.zeros(1, np.int64),
        is_ignored=np.ones(1, np.bool_),
    )
    objective = SegmentationObjective("bce+dice+jaccard+focal", positive_weight=2)
    assert objective.losses(network, torch.zeros(1, 1, 1, 4, device="meta"), [ignoring])["total"].is_meta
