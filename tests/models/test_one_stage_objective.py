from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from one_stage_samples import bright_box, detector, images_of, train

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.anchor_free import ASSIGNERS
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.detection.losses import BOX_LOSSES
from napari_medlab.models.detection.matchers import MATCHERS
from napari_medlab.models.detection.one_stage_objective import OneStageObjective
from napari_medlab.models.training.objectives import build_objective
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from napari_medlab.models.detection.one_stage import OneStageDetector

SAMPLES = [bright_box((8, 8), (20, 22)), Sample.without_boxes(np.zeros((1, 32, 32), np.float32))]
ANCHORS = {"anchors": {"sizes": [8, 16, 32], "ratios": [0.5, 1.0, 2.0]}}
FREE: dict[str, Any] = {"anchor_free": {}}
BOTH = {**ANCHORS, **FREE}
CENTRE: dict[str, Any] = {"centreness": {}}


def gradients(network: OneStageDetector, part: str) -> float:
    """Return the greatest gradient of the parameters whose names hold a part; 0 where there is none."""
    every = [
        p.grad.abs().max().item()
        for name, p in network.named_parameters()
        if part in name and p.grad is not None
    ]
    return max(every, default=0.0)


def backward(
    network: OneStageDetector, term: str = "total", samples: list[Sample] | None = None,
    **objective: Any,  # noqa: ANN401 - plain settings
) -> None:  # fmt: skip
    given = SAMPLES if samples is None else samples
    network.train()
    OneStageObjective(**objective).losses(network, images_of(given), given)[term].backward()


CONFIGURATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"matcher {name}": (ANCHORS, {"matcher": {"name": name}}) for name in MATCHERS},
    "low thresholds": (
        ANCHORS,
        {"matcher": {"name": "iou", "positive": 0.3, "negative": 0.2, "low_quality": False}},
    ),
    **{f"anchor box {name}": (ANCHORS, {"box": {"name": name}}) for name in BOX_LOSSES},
    **{f"free box {name}": (FREE, {"anchor_free_box": {"name": name}}) for name in BOX_LOSSES},
    **{f"{name} alone": (FREE, {"anchor_free": {"name": name}}) for name in ASSIGNERS},
    **{f"{name} beside anchors": (BOTH, {"anchor_free": {"name": name}}) for name in ASSIGNERS},
    "cross-entropy": (ANCHORS, {"classification": {"name": "bce"}, "hard_negatives": {}}),
    "focal of the logs": (BOTH, {"classification": {"name": "focal", "gamma": 2.0, "alpha": 0.5}}),
    **{
        f"centre-ness {place} {multiplied}": (
            {**BOTH, "centreness": {"place": place, "multiplied": multiplied}},
            {"anchor_free": {"name": "fsaf"}},
        )
        for place in ("classification", "regression", "both")
        for multiplied in ("score", "loss")
    },
    **{
        f"centre-ness {loss} {negatives}": (
            {**FREE, **CENTRE},
            {"centreness": {"name": loss, "negatives": negatives}},
        )
        for loss in ("bce", "huber")
        for negatives in (True, False)
    },
    "centre-ness of anchors": ({**ANCHORS, **CENTRE}, {"matcher": {"name": "atss"}}),
    "P6 from P5": ({**ANCHORS, "anchors": {}, "levels": (2, 3, 4, 5), "p6_from": "p5"}, {}),
    "P6 from C5": ({**ANCHORS, "anchors": {}, "levels": (2, 3, 4, 5), "p6_from": "c5"}, {}),
}


@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_every_configuration_learns_in_three_steps(name: str) -> None:
    network_settings, objective_settings = CONFIGURATIONS[name]
    network = detector(**network_settings)
    history = train(network, OneStageObjective(**objective_settings), SAMPLES, steps=3)
    assert np.isfinite([value for step in history for value in step.values()]).all()
    assert history[-1]["total"] < history[0]["total"]
    for branch, _ in network.named_branches():
        assert gradients(network, f"branches.{branch}.classification") > 0
        assert gradients(network, f"branches.{branch}.box") > 0
    assert gradients(network, "pyramid.backbone.stem") > 0
    assert (gradients(network, "centre.") > 0) == ("centreness" in network_settings)


@pytest.mark.parametrize("settings", [ANCHORS, {**FREE, **CENTRE}, {**BOTH, **CENTRE}])
@pytest.mark.parametrize("assigner", sorted(ASSIGNERS))
def test_volumes_learn_as_images_do(settings: dict[str, Any], assigner: str) -> None:
    samples = [bright_box((4, 4, 4), (10, 12, 14), (16, 16, 16))] * 2
    objective = OneStageObjective(anchor_free={"name": assigner})
    history = train(detector(spatial_dims=3, **settings), objective, samples, steps=3)
    assert history[-1]["total"] < history[0]["total"]


@pytest.mark.parametrize("alone", ["anchors", "anchor_free"])
def test_a_branch_alone_moves_nothing_of_the_other(alone: str) -> None:
    other = {"anchors": "anchor_free", "anchor_free": "anchors"}[alone]
    network = detector(**ANCHORS, anchor_free={"own_towers": True})
    backward(network, weights={other: 0.0})
    for part in ("branches", "towers"):
        assert gradients(network, f"{part}.{alone}") > 0
        assert gradients(network, f"{part}.{other}") == 0


@pytest.mark.parametrize(
    ("term", "moved"),
    [("classification", "classification"), ("box", "box"), ("centreness", "centre.")],
)
def test_a_term_moves_its_own_output_only(term: str, moved: str) -> None:
    network = detector(**FREE, **CENTRE)
    backward(network, f"anchor_free.{term}")
    parts = ("classification", "box", "centre.")
    reached = [part for part in parts if gradients(network, f"branches.anchor_free.{part}") > 0]
    assert reached == [moved]


@pytest.mark.parametrize(("multiplied", "reaches"), [("loss", True), ("score", False)])
def test_the_class_moves_centreness_only_where_it_is_multiplied_before_the_loss(
    multiplied: str, reaches: bool
) -> None:
    network = detector(**FREE, centreness={"multiplied": multiplied})
    backward(network, "anchor_free.classification")
    assert (gradients(network, "centre.") > 0) == reaches


def test_the_weights_of_the_notes_can_be_said() -> None:
    """2.5 : 2 : 2 : 0.02 for the classes and boxes of the anchors, the other branch, and its centre-ness."""
    weights = {
        "anchors.classification": 2.5,
        "anchors.box": 2,
        "anchor_free": 2,
        "anchor_free.centreness": 0.01,
    }
    objective = OneStageObjective(weights=weights)
    assert objective.weight("anchor_free.centreness") == pytest.approx(0.02)
    assert objective.weight("anchor_free.box") == 2
    losses = objective.losses(detector(**BOTH, **CENTRE), images_of(SAMPLES), SAMPLES)
    expected = (
        2.5 * losses["anchors.classification"]
        + 2 * losses["anchors.box"]
        + 2 * losses["anchor_free.classification"]
        + 2 * losses["anchor_free.box"]
        + 0.02 * losses["anchor_free.centreness"]
    )
    torch.testing.assert_close(losses["total"], expected)


def test_the_loss_of_one_output_worked_by_hand() -> None:
    """Of an image with one box all logits are 0, so each counted entry costs ln 2; the positives are the four inner cells."""
    network = detector(**FREE, levels=(2,))
    branch = dict(network.named_branches())["anchor_free"]
    for parameter in branch.parameters():
        torch.nn.init.zeros_(parameter)
    sample = bright_box((8, 8), (16, 16))
    objective = OneStageObjective(classification={"name": "bce"}, anchor_free_box={"name": "iou"})
    losses = objective.losses(network, images_of([sample]), [sample])
    assert losses["anchor_free.classification"].item() == pytest.approx(64 * 0.693147 / 4)
    assert losses["anchor_free.box"].item() == pytest.approx(1 - 36 / (2 * 64 - 36))


def test_hard_negatives_leave_out_the_easy_ones() -> None:
    network = detector(**FREE, levels=(2,))
    sample = bright_box((8, 8), (16, 16))
    settings: dict[str, Any] = {"classification": {"name": "bce"}}
    every = OneStageObjective(**settings).losses(network, images_of([sample]), [sample])
    hard = {"ratio": 1.0, "least": 1}
    few = OneStageObjective(**settings, hard_negatives=hard).losses(network, images_of([sample]), [sample])
    assert 0 < few["anchor_free.classification"] < every["anchor_free.classification"]
    torch.testing.assert_close(few["anchor_free.box"], every["anchor_free.box"])


@pytest.mark.parametrize("settings", [ANCHORS, FREE, {**BOTH, **CENTRE}])
def test_nothing_is_lost_on_an_ignored_object(settings: dict[str, Any]) -> None:
    """An object over the whole image that is ignored leaves no loss; were it background, there would be some."""
    ignored = [bright_box((0, 0), (32, 32), ignored=True)]
    network = detector(**settings, levels=(2,)) if "anchors" not in settings else detector(**settings)
    some = OneStageObjective().losses(network, images_of(ignored), ignored)
    healthy = [Sample.without_boxes(ignored[0].image)]
    more = OneStageObjective().losses(network, images_of(healthy), healthy)
    assert more["total"] > 0
    assert some["total"] < more["total"] / 4


@pytest.mark.parametrize("settings", [ANCHORS, {**FREE, **CENTRE}])
def test_healthy_images_alone_teach_classes_and_no_boxes(settings: dict[str, Any]) -> None:
    network = detector(**settings)
    backward(network, samples=SAMPLES[1:])
    assert gradients(network, "classification") > 0
    assert gradients(network, ".box.") == 0
    assert gradients(network, "centre.") == 0


def test_classes_are_learnt_apart() -> None:
    samples = [bright_box((8, 8), (20, 22), label=1)]
    network = detector(classes=2, **FREE)
    backward(network, samples=samples)
    gradient = dict(network.named_branches())["anchor_free"].classification.get_parameter("bias").grad
    assert gradient is not None
    assert gradient[0] > 0  # background everywhere: its score is to fall
    assert gradient[1] < gradient[0]


def test_half_precision_is_compared_in_full() -> None:
    network = detector(**BOTH, **CENTRE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = OneStageObjective().losses(network, images_of(SAMPLES), SAMPLES)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert all(value.isfinite() for value in losses.values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("name", sorted(CONFIGURATIONS))
def test_every_configuration_runs_on_a_gpu(name: str) -> None:
    network_settings, objective_settings = CONFIGURATIONS[name]
    network = detector(**network_settings).cuda()
    images = images_of(SAMPLES).cuda()
    losses = OneStageObjective(**objective_settings).losses(network, images, SAMPLES)
    assert losses["total"].device.type == "cuda"
    found = network.decode(network.eval()(images), (32, 32), DecodeSettings(threshold=0.0))
    assert all(len(of_image) > 0 for of_image in found)


def test_samples_that_were_flipped_without_a_copy_are_understood() -> None:
    sample = bright_box((8, 8), (20, 22))
    flipped = Sample(sample.image, sample.boxes[::-1], sample.labels[::-1], sample.is_ignored[::-1])
    network, images = detector(**FREE), images_of([sample])
    first, second = (OneStageObjective().losses(network, images, [one])["total"] for one in (sample, flipped))
    torch.testing.assert_close(first, second)


def test_a_class_that_the_network_does_not_have_is_refused() -> None:
    samples = [bright_box((8, 8), (20, 22), label=3)]
    with pytest.raises(InputRefusedError, match=r"classes \[3\], but the network has only 1"):
        OneStageObjective().losses(detector(**FREE), images_of(samples), samples)


@pytest.mark.parametrize(
    "given",
    [
        {"weights": {"anchor.box": 1.0}},
        {"matcher": {"name": "iou", "high": 1}},
        {"box": {"name": "l2"}},
        {"centreness": {"name": "focal"}},
        {"hard_negatives": {"ratio": -1}},
        {"lambda": 1.0},
    ],
)
def test_objectives_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError):
        build_objective("one-stage", given)
