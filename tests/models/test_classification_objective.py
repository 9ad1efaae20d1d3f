from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.classification.fusion import fuse
from napari_medlab.models.classification.objective import ClassificationObjective
from napari_medlab.models.training.objectives import build_objective
from napari_medlab.models.training.samples import Sample


class Says(nn.Module):
    """A network that always says the same."""

    def __init__(self, logits: list[float] | list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits * 1.0


def loss_of(objective: ClassificationObjective, network: Says, labels: list[int]) -> float:
    samples = [Sample.without_boxes(np.zeros((1, 2, 2), np.float32), label=label) for label in labels]
    terms = objective.losses(network, torch.zeros(len(labels), 1, 2, 2), samples)
    network.zero_grad()
    terms["total"].backward()
    return float(terms["total"].detach())


LOG2, LOG3 = math.log(2), math.log(3)


def test_cross_entropy_by_hand() -> None:
    # probabilities 1/2 and 3/4, both lesions
    assert loss_of(ClassificationObjective(), Says([0.0, LOG3]), [1, 1]) == pytest.approx(
        (LOG2 + math.log(4 / 3)) / 2
    )
    assert loss_of(ClassificationObjective(positive_weight=3), Says([0.0]), [1]) == pytest.approx(3 * LOG2)
    assert loss_of(ClassificationObjective(positive_weight=3), Says([0.0]), [0]) == pytest.approx(LOG2)


def test_smoothing_draws_targets_to_the_middle() -> None:
    # probability 3/4; the target is 0.9
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert loss_of(ClassificationObjective(label_smoothing=0.2), Says([LOG3]), [1]) == pytest.approx(expected)


def test_the_focal_loss_by_hand() -> None:
    focal = ClassificationObjective("focal", gamma=2)
    # a lesion at 3/4: what is missing is 1/4
    assert loss_of(focal, Says([LOG3]), [1]) == pytest.approx(math.log(4 / 3) / 16)
    weighted = ClassificationObjective("focal", gamma=2, alpha=0.25)
    assert loss_of(weighted, Says([LOG3]), [1]) == pytest.approx(0.25 * math.log(4 / 3) / 16)
    assert loss_of(weighted, Says([-LOG3]), [0]) == pytest.approx(0.75 * math.log(4 / 3) / 16)


def test_several_classes_by_hand() -> None:
    network = Says([[0.0, LOG2, 0.0]])
    # probabilities 1/4, 1/2, 1/4
    assert loss_of(ClassificationObjective(), network, [1]) == pytest.approx(LOG2)
    assert loss_of(ClassificationObjective(), network, [2]) == pytest.approx(2 * LOG2)
    assert loss_of(ClassificationObjective("focal"), network, [1]) == pytest.approx(LOG2 / 4)
    assert loss_of(ClassificationObjective(positive_weight=2), network, [1]) == pytest.approx(2 * LOG2)
    assert loss_of(ClassificationObjective(positive_weight=2), network, [0]) == pytest.approx(2 * LOG2)
    smooth = -(0.8 * math.log(1 / 2) + 0.1 * math.log(1 / 4) * 2)
    assert loss_of(ClassificationObjective(label_smoothing=0.3), network, [1]) == pytest.approx(smooth)


def test_a_sample_without_a_class_carries_no_loss() -> None:
    network = Says([0.0, 5.0])
    assert loss_of(ClassificationObjective(), network, [1, -1]) == pytest.approx(LOG2)
    assert network.logits.grad is not None
    assert network.logits.grad[1] == 0
    assert loss_of(ClassificationObjective(), network, [-1, -1]) == 0


def test_a_class_that_the_network_does_not_know_is_refused() -> None:
    with pytest.raises(InputRefusedError, match=r"class 2; the network knows 0 … 1"):
        loss_of(ClassificationObjective(), Says([0.0]), [2])


@pytest.mark.parametrize("arguments", [{"loss": "hinge"}, {"label_smoothing": 1.5}, {"nonsense": 1}])
def test_what_does_not_fit_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError, match="do not fit the objective"):
        build_objective("classification", arguments)


def test_fusion_by_hand() -> None:
    detector, classifier = [0.9, 0.4, 0.0], [0.1, 0.9, 1.0]
    np.testing.assert_allclose(fuse(detector, classifier), [0.3, 0.6, 0.0])
    np.testing.assert_allclose(fuse(detector, classifier, "arithmetic mean", 0.25), [0.7, 0.525, 0.25])
    np.testing.assert_allclose(fuse(detector, classifier, "product"), [0.09, 0.36, 0.0])
    np.testing.assert_allclose(fuse(detector, classifier, weight=0.0), detector)
    np.testing.assert_allclose(fuse(detector, classifier, weight=1.0), classifier)


@pytest.mark.parametrize(("rule", "weight"), [("maximum", 0.5), ("product", 1.5), ("product", float("nan"))])
def test_fusion_that_is_not_known_is_refused(rule: str, weight: float) -> None:
    with pytest.raises(InputRefusedError, match=r"fusion|weight"):
        fuse([0.5], [0.5], rule, weight)


@pytest.mark.parametrize("loss", ["bce", "focal"])
@pytest.mark.parametrize("classes", [1, 3])
def test_everything_stays_on_the_networks_device(loss: str, classes: int) -> None:
    network = Says([0.0, 1.0] if classes == 1 else [[0.0] * classes] * 2).to("meta")
    samples = [Sample.without_boxes(np.zeros((1, 2, 2), np.float32), label=label) for label in (1, -1)]
    objective = ClassificationObjective(loss, 0.1, 2.0, alpha=0.25)
    assert objective.losses(network, torch.zeros(2, 1, 2, 2, device="meta"), samples)["total"].is_meta
