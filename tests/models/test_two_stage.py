from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from two_stage_samples import BACKBONE, PAIR, SMALL, batch_of, detector, square_image

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.detection.stages import HeadSettings, Pyramid, RegionStages, Rois, RoiSettings
from napari_medlab.models.detection.two_stage import TwoStageDetector
from napari_medlab.models.networks import build_network
from napari_medlab.models.networks.deformable import DeformableConvolution

EVERYTHING = DecodeSettings(threshold=0.0, most=1000, overlap="none")


def outputs_of(network: TwoStageDetector, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        boxes, scores = network.eval()(images)
    return boxes, scores


def say_always(layer: nn.Linear, values: list[float]) -> None:
    """Let a layer say the same of every region."""
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor(values))


@pytest.mark.parametrize(
    ("head", "boxes_of_region"),
    [({"name": "faster"}, 2), ({"name": "faster", "class_agnostic": True}, 1), ({"name": "cascade"}, 1)],
)
def test_every_region_gets_a_score_for_each_class_and_boxes_of_each_or_one_for_all(
    head: dict[str, Any], boxes_of_region: int
) -> None:
    boxes, scores = outputs_of(detector(head={**head, "hidden": 16}), batch_of(PAIR))
    assert boxes.shape == (2, 30, boxes_of_region, 4)
    assert scores.shape == (2, 30, 2)
    assert 0 <= scores.min() <= scores.max() <= 1


@pytest.mark.parametrize("head", ["faster", "cascade", "proposals"])
def test_detections_lie_within_the_image_and_are_all_above_the_threshold(head: str) -> None:
    network = detector(head={"name": head, "hidden": 16})
    outputs = outputs_of(network, batch_of(PAIR))
    middle = float(outputs[1].median())
    for found in network.decode(outputs, (32, 30), DecodeSettings(threshold=middle, iou=0.5)):
        assert 0 < len(found) < 60
        assert found.scores.min() >= middle
        assert found.boxes.min() >= -0.5
        assert found.boxes[:, 2].max() <= 31.5
        assert found.boxes[:, 3].max() <= 29.5


def test_the_first_stage_alone_gives_proposals_without_a_class() -> None:
    network = detector(classes=4, head={"name": "proposals"})
    assert network.stages is None
    found = network.decode(outputs_of(network, batch_of(PAIR)), (32, 32), EVERYTHING)
    assert [len(of_image) for of_image in found] == [30, 30]
    assert {int(kind) for of_image in found for kind in of_image.classes} == {0}
    assert (np.diff(found[0].scores) <= 0).all()


def test_images_with_fewer_regions_are_filled_up_by_what_never_becomes_a_detection() -> None:
    network = detector(rpn={"iou": 0.05, "after": 100})
    alone = [outputs_of(network, batch_of([sample]))[1].shape[1] for sample in PAIR]
    assert alone[0] != alone[1]
    outputs = outputs_of(network, batch_of(PAIR))
    assert outputs[0].shape[1] == outputs[1].shape[1] == max(alone)
    found = network.decode(outputs, (32, 32), EVERYTHING)
    assert [len(of_image) for of_image in found] == [
        2 * count for count in alone
    ]  # each region as either class


def test_boxes_of_which_the_border_leaves_nothing_are_no_detections() -> None:
    outputs = torch.tensor([[[[2.0, 2, 9, 9]], [[2.0, 20, 9, 28]]]]), torch.full((1, 2, 1), 0.9)
    (found,) = detector(head={"name": "proposals"}).decode(outputs, (16, 16), EVERYTHING)
    assert found.boxes.tolist() == [[2, 2, 9, 9]]


def test_without_a_proposal_nothing_is_found() -> None:
    network = detector(rpn={"least_size": 1000.0})
    found = network.decode(outputs_of(network, batch_of(PAIR)), (32, 32), EVERYTHING)
    assert [len(of_image) for of_image in found] == [0, 0]


def test_a_batch_says_of_each_image_what_it_says_of_it_alone() -> None:
    network = detector()
    boxes, scores = outputs_of(network, batch_of(PAIR))
    for row, sample in enumerate(PAIR):
        alone_boxes, alone_scores = outputs_of(network, batch_of([sample]))
        torch.testing.assert_close(boxes[row], alone_boxes[0], atol=1e-3, rtol=0)
        torch.testing.assert_close(scores[row], alone_scores[0], atol=1e-5, rtol=0)


def two_regions() -> tuple[Pyramid, Rois]:
    pyramid = Pyramid([torch.zeros(1, 3, 16, 16)], (64, 64))
    boxes = torch.tensor([[8.0, 8.0, 18.0, 28.0], [30.0, 30.0, 50.0, 40.0]])
    return pyramid, Rois(boxes, torch.zeros(2, dtype=torch.int64))


def test_a_cascade_averages_scores_and_each_stage_refines_the_boxes_of_the_one_before() -> None:
    """Every stage moves boxes down by a tenth of their height: weights of 10, 20 and 30 turn 1, 2 and 3 into that."""
    stages = RegionStages(2, 3, 1, RoiSettings(bins=2), HeadSettings("cascade", hidden=4))
    for stage, logit, shift in zip(stages.each(), [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], strict=True):
        say_always(stage.logits, [logit, 0.0])
        say_always(stage.deltas, [shift, 0, 0, 0])
    pyramid, rois = two_regions()
    boxes, scores = stages(pyramid, rois)
    torch.testing.assert_close(scores, torch.sigmoid(torch.tensor([0.0, 1.0, 2.0])).mean().expand(2, 1))
    torch.testing.assert_close(boxes[:, 0], rois.boxes + torch.tensor([[3.0, 0, 3.0, 0], [6.0, 0, 6.0, 0]]))


def test_each_class_has_a_box_of_its_own_save_where_one_is_told_for_all() -> None:
    pyramid, rois = two_regions()
    stages = RegionStages(2, 3, 2, RoiSettings(bins=2), HeadSettings("faster", hidden=4))
    say_always(stages.each()[0].deltas, [1.0, 0, 0, 0, -1.0, 0, 0, 0])
    boxes, _ = stages(pyramid, rois)
    torch.testing.assert_close(boxes[0, :, 0], torch.tensor([9.0, 7.0]))
    agnostic = RegionStages(
        2, 3, 2, RoiSettings(bins=2), HeadSettings("faster", hidden=4, class_agnostic=True)
    )
    assert agnostic(pyramid, rois)[0].shape == (2, 1, 4)


def test_between_stages_the_likeliest_class_says_where_to_go_on() -> None:
    pyramid, rois = two_regions()
    head = HeadSettings("cascade", hidden=4, class_agnostic=False)
    stage = RegionStages(2, 3, 2, RoiSettings(bins=2), head).each()[0]
    say_always(stage.logits, [0.0, 1.0, 5.0])
    say_always(stage.deltas, [0.0, 0, 0, 0, 0, 2.0, 0, 0])
    said = stage(torch.zeros(2, 3, 2, 2))
    expected = rois.boxes + torch.tensor([[0, 4.0, 0, 4.0], [0, 2.0, 0, 2.0]])
    torch.testing.assert_close(stage.refined(rois.boxes, said, pyramid.image_shape), expected)


def test_small_regions_are_cut_from_fine_levels() -> None:
    stages = RegionStages(2, 1, 1, RoiSettings(bins=1, canonical_size=16, canonical_level=3), HeadSettings())
    pyramid = Pyramid([torch.full((1, 1, 16, 16), 2.0), torch.full((1, 1, 8, 8), 3.0)], (32, 32), finest=2)
    rois = Rois(
        torch.tensor([[4.0, 4.0, 12.0, 12.0], [4.0, 4.0, 20.0, 20.0]]), torch.zeros(2, dtype=torch.int64)
    )
    assert stages.pool(pyramid, rois).flatten().tolist() == [2.0, 3.0]


def test_anchors_come_in_the_ratios_and_on_the_levels_that_are_asked_for_up_to_p6() -> None:
    ratios = [0.2, 0.5, 1.0, 2.0, 5.0]
    network = detector(levels=[2, 3, 4, 5, 6], anchors={"ratios": ratios})
    assert network.multiple == 32
    pyramid = network.pyramid_of(torch.zeros(1, 1, 64, 96))
    assert [tuple(level.shape[2:]) for level in pyramid.maps] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    guesses = network.proposals(pyramid.maps, pyramid.image_shape)
    assert guesses.per_level == [5 * cells for cells in (32 * 48, 16 * 24, 8 * 12, 4 * 6, 2 * 3)]
    height, width = (guesses.anchors[-5:, 2:] - guesses.anchors[-5:, :2]).T
    torch.testing.assert_close(height / width, torch.tensor(ratios))
    torch.testing.assert_close((height * width).sqrt(), torch.full((5,), 8.0 * 32))


@pytest.mark.parametrize("modulated", [False, True])
def test_deformable_stages_are_those_asked_for_and_begin_as_plain_ones(modulated: bool) -> None:
    plain = detector().eval()
    network = detector(deformable={"stages": ["c3", "c4"], "modulated": modulated}).eval()
    replaced = [name for name, part in network.named_modules() if isinstance(part, DeformableConvolution)]
    assert {name.split(".")[3] for name in replaced} == {"1", "2"}
    assert len(replaced) == 4
    missing, unexpected = network.load_state_dict(plain.state_dict(), strict=False)
    assert all(".offsets." in name for name in missing)
    assert not unexpected
    images = batch_of(PAIR)
    for maps, expected in zip(network.pyramid_of(images).maps, plain.pyramid_of(images).maps, strict=True):
        torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)


def test_volumes_are_looked_at_by_the_same_code() -> None:
    sample = square_image([[3.5, 4.5, 4.5, 9.5, 10.5, 11.5]], shape=(16, 16, 16))
    network = detector(spatial_dims=3, classes=1, deformable={"stages": ["c4"]})
    boxes, scores = outputs_of(network, batch_of([sample]))
    assert boxes.shape == (1, 30, 1, 6)
    found = network.decode((boxes, scores), (16, 16, 16), EVERYTHING)[0]
    assert found.dims == 3
    assert len(found) == 30


def test_a_bundle_calls_it_by_name() -> None:
    network = build_network(
        "two-stage", {"in_channels": 3, "backbone": BACKBONE, "channels": 8, "levels": [2, 3, 4, 5]}
    )
    assert isinstance(network, TwoStageDetector)
    assert network.multiple == 16


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"head": {"name": "mask"}}, "no head called 'mask'"),
        ({"head": {"name": "faster", "coding": [[10, 5], [20, 10]]}}, "one stage"),
        ({"levels": [2, 4]}, "consecutive levels"),
        ({"classes": 0}, "at least one class"),
        ({"anchors": {"sizes": [8, 16]}}, "3 levels, but anchors of 2 sizes"),
        ({"deformable": {"stages": ["c9"]}}, "deformable stages are c2, c3, c4, c5"),
        ({"deformable": {"stages": ["c5"]}}, "no part called 'backbone.stages.3'"),
        ({"rpn": {"after": 0}}, "at least one proposal"),
        ({"roi": {"bins": 0}}, "at least one bin"),
        ({"rpn": {"luck": 1}}, "luck"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_reason(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputRefusedError, match=says):
        build_network("two-stage", {**SMALL, **changed})
