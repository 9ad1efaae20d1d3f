from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from one_stage_samples import bright_box, detector, images_of, train

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.boxes import aligned_iou
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.detection.heads import DistanceCoding, cell_grid
from napari_medlab.models.detection.one_stage import ANCHOR_FREE, ANCHORS
from napari_medlab.models.detection.one_stage_objective import OneStageObjective
from napari_medlab.models.networks import build_network

SETTINGS = DecodeSettings(threshold=0.0, most=500, overlap="none")
SIZES = [8, 16, 32]


@pytest.mark.parametrize("dims", [2, 3])
def test_every_cell_has_its_outputs(dims: int) -> None:
    network = detector(
        spatial_dims=dims,
        classes=2,
        anchors={"sizes": SIZES, "ratios": [0.5, 1]},
        anchor_free={},
        centreness={},
    ).eval()
    shape = (32,) * dims
    cells = 8**dims + 4**dims + 2**dims
    outputs = network(torch.zeros(2, 1, *shape))
    assert {name: tuple(tensor.shape) for name, tensor in outputs.items()} == {
        "anchors.classification": (2, cells * 2, 2),
        "anchors.box": (2, cells * 2, 2 * dims),
        "anchor_free.classification": (2, cells, 2),
        "anchor_free.box": (2, cells, 2 * dims),
        "anchor_free.centreness": (2, cells),
    }
    assert network.multiple == 16
    found = network.decode(outputs, shape, SETTINGS)
    assert [len(one) for one in found] == [500, 500]
    assert found[0].boxes.min() >= -0.5
    assert found[0].boxes.max() <= 31.5


@pytest.mark.parametrize("given", [{"anchors": {}}, {"anchor_free": {}}])
def test_before_training_everything_scores_a_hundredth(given: dict[str, Any]) -> None:
    network = detector(**given).eval()
    scores = network.decode(network(torch.rand(1, 1, 32, 32)), (32, 32), SETTINGS)[0].scores
    assert scores.mean() == pytest.approx(0.01, abs=0.003)


def test_outputs_come_cell_by_cell_in_the_order_of_the_priors() -> None:
    """Where only the bias of one anchor's output differs, it is every second prior that does."""
    network = detector(anchors={"sizes": SIZES, "ratios": [0.5, 2.0]}).eval()
    branch = dict(network.named_branches())[ANCHORS]
    torch.nn.init.zeros_(branch.classification.get_parameter("weight"))
    branch.classification.get_parameter("bias").data = torch.tensor([-3.0, 3.0])
    logits = network(torch.rand(1, 1, 32, 32))["anchors.classification"][0, :, 0]
    assert (logits[1::2] > 0).all()
    assert (logits[::2] < 0).all()
    heights, widths = (branch.priors((32, 32))[:, 2:] - branch.priors((32, 32))[:, :2]).unbind(dim=1)
    assert (heights > widths).tolist() == (logits > 0).tolist()


def test_the_cells_of_an_anchor_free_branch_are_a_stride_long() -> None:
    cells = cell_grid([(1, 2, 2), (2, 4, 4)]).anchors([(2, 1, 1), (1, 1, 1)], (2, 2, 2))
    assert cells.tolist() == [
        [-0.5, -0.5, -0.5, 0.5, 1.5, 1.5], [0.5, -0.5, -0.5, 1.5, 1.5, 1.5], [-0.5, -0.5, -0.5, 1.5, 3.5, 3.5],
    ]  # fmt: skip


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", [ANCHORS, ANCHOR_FREE])
def test_what_is_encoded_is_decoded_through_the_whole_way(dims: int, name: str) -> None:
    """Outputs that say one box at one prior of each image come back as that box, with its class and score."""
    network = detector(spatial_dims=dims, classes=2, **{name: {}}).eval()
    shape = (32,) * dims
    branch = dict(network.named_branches())[name]
    priors = branch.priors(shape)
    box = torch.tensor([[3.5, *[5.5] * (dims - 1), 20.5, *[27.5] * (dims - 1)]])
    codes = torch.zeros(2, len(priors), 2 * dims)
    logits = torch.full((2, len(priors), 2), -20.0)
    middle = int(
        (priors.view(-1, 2, dims).mean(dim=1) - box.view(-1, 2, dims).mean(dim=1)).abs().sum(dim=1).argmin()
    )
    codes[1, middle] = branch.coding.encode(priors[middle : middle + 1], box)[0]
    logits[1, middle, 1] = 2.0
    outputs = {f"{name}.classification": logits, f"{name}.box": codes}
    nothing, something = network.decode(outputs, shape, DecodeSettings(threshold=0.5))
    assert len(nothing) == 0
    np.testing.assert_allclose(something.boxes, box.numpy(), atol=1e-4)
    assert something.classes.tolist() == [1]
    assert something.scores.tolist() == pytest.approx([torch.tensor(2.0).sigmoid().item()])


def test_detections_of_both_branches_are_joined() -> None:
    """Each branch says one box; where both say the same, one is suppressed."""
    network = detector(anchors={"sizes": SIZES, "ratios": [1.0]}, anchor_free={}).eval()
    outputs = {}
    for (name, branch), corner in zip(network.named_branches(), (0.0, 15.0), strict=True):
        priors = branch.priors((32, 32))
        box = torch.tensor([(corner, corner, corner + 10, corner + 10)])
        logits = torch.full((1, len(priors), 1), -20.0)
        row = int(aligned_iou(priors, box.expand(len(priors), -1)).argmax())
        logits[0, row] = 3.0
        outputs[f"{name}.classification"] = logits
        outputs[f"{name}.box"] = branch.coding.encode(priors, box.expand(len(priors), -1))[None]
    (found,) = network.decode(outputs, (32, 32), DecodeSettings(threshold=0.5))
    np.testing.assert_allclose(sorted(found.boxes[:, 0]), [0, 15], atol=1e-4)


def test_only_the_best_candidates_are_decoded() -> None:
    network = detector(anchors={}, candidates=7).eval()
    assert len(network.decode(network(torch.rand(1, 1, 32, 32)), (32, 32), SETTINGS)[0]) == 7


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "anchors, an anchor-free branch, or both"),
        ({"anchors": {"shapes": [1]}}, "do not fit the network"),
        ({"anchors": {"sizes": [8]}}, "1 levels of sizes, but 5 strides|levels"),
        ({"anchor_free": {"own": True}}, "do not fit the network"),
        ({"anchors": {}, "centreness": {"branches": ["anchor_free"]}}, "asked of anchor_free"),
    ],
)
def test_detectors_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    small = {"backbone": {"name": "resnet10", "planes": [2, 2, 2, 2]}, "channels": 2}
    with pytest.raises(InputRefusedError, match=message):
        build_network("one-stage", {**small, **given})


@pytest.mark.parametrize("own", [True, False])
def test_branches_share_towers_unless_told_otherwise(own: bool) -> None:
    network = detector(anchors={}, anchor_free={"own_towers": own})
    assert sorted(network.towers) == (["anchor_free", "anchors"] if own else ["anchors"])


@pytest.mark.parametrize("place", ["classification", "regression", "both"])
def test_centreness_is_said_where_it_is_placed(place: str) -> None:
    """What is in the other tower does not change it; of both it is the mean of the two."""
    network = detector(anchor_free={}, centreness={"place": place}).eval()
    branch = dict(network.named_branches())[ANCHOR_FREE]
    features = torch.rand(2, 1, 8, 4, 4)
    said = branch([(features[0], features[1])])["centreness"]
    other_classes = branch([(features[0] + 1, features[1])])["centreness"]
    other_boxes = branch([(features[0], features[1] + 1)])["centreness"]
    assert torch.equal(said, other_classes) == (place == "regression")
    assert torch.equal(said, other_boxes) == (place == "classification")
    if place == "both":
        each = [output(part) for output, part in zip(branch.centre.values(), features, strict=True)]
        torch.testing.assert_close(said, torch.stack(each).mean(dim=0).flatten(1))


@pytest.mark.parametrize("multiplied", ["score", "loss"])
def test_centreness_is_multiplied_into_the_score(multiplied: str) -> None:
    network = detector(anchor_free={}, centreness={"multiplied": multiplied})
    branch = dict(network.named_branches())[ANCHOR_FREE]
    outputs = {"classification": torch.tensor([[[0.5]]]), "centreness": torch.tensor([[-0.3]])}
    product = torch.tensor(0.5).sigmoid() * torch.tensor(-0.3).sigmoid()
    assert branch.scores(outputs).item() == pytest.approx(product.item())
    trained = branch.trained_logits(outputs).sigmoid().item()
    assert trained == pytest.approx((product if multiplied == "loss" else torch.tensor(0.5).sigmoid()).item())


def test_a_branch_without_anchors_reaches_from_its_cells() -> None:
    coding = DistanceCoding()
    cell = torch.tensor([(-0.5, -0.5, 3.5, 3.5)])
    assert coding.decode(cell, torch.zeros(1, 4)).tolist() == [[-2.5, -2.5, 5.5, 5.5]]


ONE_BOX = bright_box((8, 8), (20, 22))
LEARN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "anchors": ({"anchors": {"sizes": SIZES, "ratios": [1.0]}}, {"matcher": {"name": "atss"}}),
    "fcos": ({"anchor_free": {}, "centreness": {}}, {"anchor_free": {"name": "fcos"}}),
}


@pytest.mark.parametrize("name", sorted(LEARN))
def test_a_bright_square_is_found_after_sixty_steps(name: str) -> None:
    network_settings, objective_settings = LEARN[name]
    samples = [ONE_BOX, bright_box((2, 12), (14, 24)), bright_box((14, 4), (28, 16))]
    network = detector(channels=16, convs=2, **network_settings)
    history = train(network, OneStageObjective(**objective_settings), samples, steps=60, rate=4e-3)
    assert history[-1]["total"] < history[0]["total"] / 2
    with torch.no_grad():
        outputs = network(images_of(samples))
    for found, sample in zip(
        network.decode(outputs, (32, 32), DecodeSettings(threshold=0.2)), samples, strict=True
    ):
        best = torch.from_numpy(found.boxes[:1]).float()
        assert aligned_iou(best, torch.from_numpy(sample.boxes)).item() > 0.5
