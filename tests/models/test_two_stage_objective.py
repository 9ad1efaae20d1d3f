from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.nn import functional as F
from two_stage_samples import PAIR, batch_of, detector, square_image

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.boxes import pairwise_iou
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.detection.proposals import Guesses
from napari_medlab.models.detection.stage_training import Aims, StageBatch, Truth
from napari_medlab.models.detection.stages import HeadSettings, Pyramid, RegionStages, RoiSettings
from napari_medlab.models.detection.two_stage_objective import TwoStageObjective
from napari_medlab.models.training.objectives import build_objective

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from napari_medlab.models.detection.two_stage import TwoStageDetector
    from napari_medlab.models.training.samples import Sample

ALL = {"name": "random", "count": 1000, "positive": 1.0}
"""Every region there is."""

SQUARE = [0.0, 0.0, 20.0, 20.0]

AT_OVERLAPS = torch.tensor([[0.0, 0, 20 * share, 20] for share in (0.55, 0.65, 0.75, 0.95, 0.3)])
"""Proposals that overlap the square by these shares."""


def truth_of(
    boxes: Sequence[Sequence[float]], labels: Sequence[int], ignored: Sequence[bool] | None = None
) -> Truth:
    is_ignored = torch.tensor(ignored or [False] * len(boxes), dtype=torch.bool)
    return Truth(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        is_ignored,
    )


def blank(images: int = 1) -> Pyramid:
    generator = torch.Generator().manual_seed(0)
    return Pyramid([torch.randn(images, 3, 16, 16, generator=generator)], (64, 64))


def stages_of(name: str, classes: int = 2) -> RegionStages:
    torch.manual_seed(1)
    return RegionStages(2, 3, classes, RoiSettings(bins=2), HeadSettings(name, hidden=8))


def step_of(network: nn.Module, objective: TwoStageObjective, samples: Sequence[Sample]) -> dict[str, float]:
    """Train one step, and return what the losses were."""
    optimiser = torch.optim.SGD(network.parameters(), lr=0.02)
    losses = objective.losses(network, batch_of(samples), samples)
    optimiser.zero_grad()
    losses["total"].backward()
    optimiser.step()
    return {name: float(value.detach()) for name, value in losses.items()}


def gradient_of(module: nn.Module) -> float:
    """Return the largest gradient of any parameter, 0 where none has come."""
    return max((float(p.grad.abs().max()) for p in module.parameters() if p.grad is not None), default=0.0)


@pytest.mark.parametrize("sampler", ["random", "hard-negative", "ohem"])
@pytest.mark.parametrize("head", ["faster", "cascade"])
@pytest.mark.parametrize("deformable", [None, {"stages": ["c4"]}])
def test_every_configuration_trains_and_the_gradient_reaches_every_part(
    sampler: str, head: str, deformable: dict[str, Any] | None
) -> None:
    network = detector(head={"name": head, "hidden": 16}, deformable=deformable)
    objective = TwoStageObjective(
        sampler={"name": sampler, "count": 16}, first_sampler={"name": sampler, "count": 32}
    )
    losses = [step_of(network, objective, PAIR) for _ in range(3)]
    assert all(math.isfinite(value) for step in losses for value in step.values())
    assert network.stages is not None
    parts: list[nn.Module] = [
        network.proposals.objectness,
        network.proposals.deltas,
        network.pyramid.backbone.stem,
    ]
    parts += [layer for stage in network.stages.each() for layer in (stage.hidden, stage.logits)]
    assert min(map(gradient_of, parts)) > 0
    if deformable:
        offsets = [part for name, part in network.named_modules() if name.endswith(".offsets")]
        assert offsets
        assert min(map(gradient_of, offsets)) > 0


@pytest.mark.parametrize("sampler", ["random", "ohem"])
def test_losses_are_told_in_single_precision_where_the_network_computes_in_half(sampler: str) -> None:
    network = detector(head={"name": "cascade", "hidden": 8}, deformable={"stages": ["c4"]})
    with torch.autocast("cpu", torch.bfloat16):
        losses = TwoStageObjective(sampler={"name": sampler, "count": 16}).losses(
            network, batch_of(PAIR), PAIR
        )
    losses["total"].backward()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert math.isfinite(gradient_of(network.pyramid))


def test_the_total_is_the_weighted_sum_of_the_terms() -> None:
    torch.manual_seed(0)
    weights = {
        "objectness": 2.0,
        "proposal": 3.0,
        "classification": 0.5,
        "box": 4.0,
        "stages": [1.0, 0.5, 0.25],
    }
    losses = TwoStageObjective(weights=weights).losses(
        detector(head={"name": "cascade", "hidden": 8}), batch_of(PAIR), PAIR
    )
    expected = 2 * losses["objectness"] + 3 * losses["proposal"]
    for number, share in enumerate([1.0, 0.5, 0.25], start=1):
        expected = expected + share * (0.5 * losses[f"class {number}"] + 4 * losses[f"box {number}"])
    torch.testing.assert_close(losses["total"], expected)


def test_the_first_stage_can_be_trained_alone() -> None:
    network = detector(head={"name": "proposals"})
    assert set(step_of(network, TwoStageObjective(), PAIR)) == {"objectness", "proposal", "total"}


def test_each_stage_of_a_cascade_asks_for_more_overlap() -> None:
    """Boxes stay where they are here, so that of the five proposals and the square itself ever fewer count."""
    stages = stages_of("cascade")
    for stage in stages.each():
        torch.nn.init.zeros_(stage.deltas.weight)
    objective = TwoStageObjective(sampler=ALL)
    batches = objective.stage_batches(stages, blank(), [AT_OVERLAPS], [truth_of([SQUARE], [1])])
    assert [int(batch.aims.is_object.sum()) for batch in batches] == [4 + 1, 3 + 1, 2 + 1]
    assert [len(batch.aims.regions) for batch in batches] == [6, 6, 6]
    for batch in batches:
        assert set(batch.aims.classes[batch.aims.is_object].tolist()) == {1}
        assert set(batch.aims.classes[~batch.aims.is_object].tolist()) <= {2}  # one past the two classes


def test_each_stage_is_shown_what_the_one_before_refined_and_the_truth_once() -> None:
    """The first stage lets boxes grow by a fifth in height, so that the one with 0.55 overlaps by 0.66."""
    stages = stages_of("cascade")
    for stage, weight in zip(stages.each(), [5.0, 0.0, 0.0], strict=True):
        torch.nn.init.zeros_(stage.deltas.weight)
        torch.nn.init.constant_(stage.deltas.bias[2], weight * math.log(1.2))
    objective = TwoStageObjective(sampler=ALL)
    proposals = torch.tensor([[4.0, 0, 15, 20]])
    batches = objective.stage_batches(stages, blank(), [proposals], [truth_of([SQUARE], [0])])
    seen = [batch.aims.regions[~batch.aims.is_truth] for batch in batches]
    torch.testing.assert_close(seen[0], proposals)
    torch.testing.assert_close(seen[1], torch.tensor([[2.9, 0, 16.1, 20]]))
    torch.testing.assert_close(seen[2], seen[1])
    assert [int(batch.aims.is_truth.sum()) for batch in batches] == [1, 1, 1]
    assert [int(batch.aims.is_object.sum()) for batch in batches] == [2, 2, 1]
    assert not seen[1].requires_grad


def losses_by_region(batch: StageBatch, stage_coding: Sequence[float]) -> torch.Tensor:
    """Return what each region costs, told anew: cross-entropy, and Huber's loss of the four shifts on objects."""
    from monai.apps.detection.utils.box_coder import BoxCoder

    aims, said = batch.aims, batch.said
    losses = F.cross_entropy(said.logits, aims.classes, reduction="none")
    for row in aims.is_object.nonzero()[:, 0].tolist():
        wanted = BoxCoder(tuple(stage_coding)).encode_single(
            aims.boxes[row : row + 1], aims.regions[row : row + 1]
        )
        deltas = said.deltas[row, int(aims.classes[row])]
        losses[row] = losses[row] + F.smooth_l1_loss(deltas, wanted[0], beta=1 / 9, reduction="sum")
    return losses


def test_ohem_shows_the_head_exactly_the_regions_with_the_largest_losses_of_each_image() -> None:
    stages = stages_of("faster")
    torch.nn.init.normal_(stages.each()[0].logits.weight)
    generator = torch.Generator().manual_seed(2)
    starts = torch.rand(2, 20, 2, generator=generator) * 40
    proposals = list(torch.cat([starts, starts + 5 + torch.rand(2, 20, 2, generator=generator) * 20], dim=2))
    proposals[0][:4] = AT_OVERLAPS[:4]
    truths = [truth_of([SQUARE], [1]), truth_of([], [])]
    (everything,) = TwoStageObjective(sampler=ALL).stage_batches(stages, blank(2), proposals, truths)
    (hard,) = TwoStageObjective(sampler={"name": "ohem", "count": 7}).stage_batches(
        stages, blank(2), proposals, truths
    )
    losses = losses_by_region(everything, stages.each()[0].coding)
    for image in (0, 1):
        of_image = everything.images == image
        largest = losses[of_image].topk(7).indices
        expected = everything.aims.regions[of_image][largest]
        shown = hard.aims.regions[hard.images == image]
        assert sorted(shown.tolist()) == sorted(expected.tolist())
    assert losses[everything.images == 0].topk(7).values.min() > losses[everything.images == 0].median()


def test_hard_negatives_are_the_background_most_like_an_object() -> None:
    stages = stages_of("faster")
    torch.nn.init.normal_(stages.each()[0].logits.weight)
    starts = torch.rand(30, 2, generator=torch.Generator().manual_seed(2)) * 40 + 22
    proposals, truths = [torch.cat([starts, starts + 8], dim=1)], [truth_of([SQUARE], [1])]
    (everything,) = TwoStageObjective(sampler=ALL).stage_batches(stages, blank(), proposals, truths)
    sampler = {"name": "hard-negative", "count": 9, "positive": 0.25, "pool": 1.0}
    (hard,) = TwoStageObjective(sampler=sampler).stage_batches(stages, blank(), proposals, truths)
    likeness = 1 - everything.said.logits.softmax(dim=1)[:, -1]
    likeness[everything.aims.is_object] = -1
    expected = everything.aims.regions[likeness.topk(8).indices]
    assert sorted(hard.aims.regions[1:].tolist()) == sorted(expected.tolist())


def test_samplers_keep_their_share_in_every_image() -> None:
    stages = stages_of("faster")
    proposals = [AT_OVERLAPS.repeat(6, 1), AT_OVERLAPS.repeat(6, 1)]
    truths = [truth_of([SQUARE], [1]), truth_of([[40.0, 40, 60, 60]], [0])]
    sampler = {"name": "random", "count": 8, "positive": 0.5}
    (batch,) = TwoStageObjective(sampler=sampler).stage_batches(stages, blank(2), proposals, truths)
    on_object = [int(batch.aims.is_object[batch.images == image].sum()) for image in (0, 1)]
    assert batch.images.bincount().tolist() == [8, 8]
    assert on_object == [4, 1]  # in the second image the truth alone


def test_the_same_seed_gives_the_same_losses() -> None:
    network, objective = detector(), TwoStageObjective(sampler={"name": "random", "count": 8})
    totals = []
    for _ in range(2):
        torch.manual_seed(7)
        totals.append(float(objective.losses(network, batch_of(PAIR), PAIR)["total"].detach()))
    assert totals[0] == totals[1]


def grid_guesses() -> Guesses:
    """Return guesses at anchors that tile an image of 60 × 60 in squares of 20."""
    starts = torch.cartesian_prod(torch.arange(3) * 20.0, torch.arange(3) * 20.0)
    anchors = torch.cat([starts, starts + 20], dim=1)
    return Guesses(
        anchors, torch.zeros(1, 9, requires_grad=True), torch.zeros(1, 9, 4, requires_grad=True), [9]
    )


def test_nothing_is_learnt_from_anchors_on_ignored_boxes() -> None:
    guesses = grid_guesses()
    truth = truth_of([SQUARE, [20.0, 20, 40, 40]], [0, 0], [False, True])
    losses = TwoStageObjective(first_sampler=ALL).first_losses(guesses, [truth])
    (losses["objectness"] + losses["proposal"]).backward()
    assert guesses.logits.grad is not None
    assert guesses.logits.grad.sign().tolist() == [[-1, 1, 1, 1, 0, 1, 1, 1, 1]]


def test_nothing_is_learnt_from_regions_on_ignored_boxes_not_even_that_they_are_objects() -> None:
    stages = stages_of("cascade")
    ignored = [30.0, 30.0, 50.0, 50.0]
    proposals = [torch.cat([AT_OVERLAPS, torch.tensor([ignored, [32.0, 30, 50, 50], [35.0, 35, 40, 40]])])]
    truths = [truth_of([SQUARE, ignored], [0, 1], [False, True])]
    for batch in TwoStageObjective(sampler=ALL).stage_batches(stages, blank(), proposals, truths):
        assert len(batch.aims.regions) == len(AT_OVERLAPS) + 1
        assert pairwise_iou(batch.aims.regions, torch.tensor([ignored])).max() == 0


def test_shifts_of_anchors_are_learnt_from_objects_alone() -> None:
    guesses = grid_guesses()
    losses = TwoStageObjective(first_sampler=ALL).first_losses(
        guesses, [truth_of([[0.0, 2.0, 20.0, 22.0]], [0])]
    )
    losses["proposal"].backward()
    assert guesses.deltas.grad is not None
    assert guesses.deltas.grad.abs().sum(dim=2).nonzero().tolist() == [[0, 0]]
    expected = (0.1**2) / 2 * 9  # Huber's loss of a shift by a tenth, where it is quadratic below 1/9
    assert float(losses["proposal"].detach()) == pytest.approx(expected / 9)  # nine anchors count


@pytest.mark.parametrize("name", ["huber", "iou", "giou", "diou"])
def test_boxes_can_be_compared_in_several_ways(name: str) -> None:
    network = detector()
    losses = step_of(network, TwoStageObjective(box_loss={"name": name}), PAIR)
    assert losses["box 1"] > 0
    assert network.stages is not None
    assert gradient_of(network.stages.each()[0].deltas) > 0


def test_images_without_an_object_are_background_throughout() -> None:
    losses = step_of(detector(), TwoStageObjective(), [square_image([]), square_image([])])
    assert losses["proposal"] == losses["box 1"] == 0
    assert losses["objectness"] > 0
    assert losses["class 1"] > 0


@pytest.mark.parametrize("shape", [(24, 24), (32, 48), (64, 40)])
def test_one_network_trains_on_images_of_any_size_divisible_by_its_multiple(shape: tuple[int, int]) -> None:
    network = detector()
    assert all(length % network.multiple == 0 for length in shape)
    samples = [
        square_image([[3.5, 4.5, 15.5, 15.5]], shape=shape),
        square_image([[8.5, 9.5, 20.5, 21.5]], shape=shape),
    ]
    losses = step_of(network, TwoStageObjective(), samples)
    assert math.isfinite(losses["total"])
    assert losses["box 1"] > 0
    guesses = network.proposals(network.pyramid_of(batch_of(samples)).maps, shape)
    assert guesses.cells == [math.prod(shape) // step**2 for step in (2, 4, 8)]


def test_volumes_train_by_the_same_code() -> None:
    samples = [
        square_image([[3.5, 4.5, 4.5, 11.5, 12.5, 12.5]], shape=(16, 16, 16)),
        square_image([], shape=(16, 16, 16)),
    ]
    network = detector(spatial_dims=3, head={"name": "cascade", "hidden": 8})
    losses = step_of(network, TwoStageObjective(sampler={"name": "ohem", "count": 16}), samples)
    assert math.isfinite(losses["total"])
    assert network.stages is not None
    assert min(gradient_of(stage) for stage in network.stages.each()) > 0


def trained(steps: int) -> TwoStageDetector:
    network = detector(classes=1, head={"name": "faster", "hidden": 32})
    objective = TwoStageObjective(
        sampler={"name": "random", "count": 32, "positive": 0.5},
        first_sampler={"name": "random", "count": 64},
    )
    optimiser = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    samples = [square_image(sample.boxes.tolist()) for sample in PAIR]
    for _ in range(steps):
        optimiser.zero_grad()
        objective.losses(network, batch_of(samples), samples)["total"].backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def test_a_tiny_detector_learns_to_find_bright_squares() -> None:
    network = trained(steps=100)
    images = batch_of(PAIR)
    with torch.inference_mode():
        found = network.decode(network(images), (32, 32), DecodeSettings(threshold=0.5, iou=0.3))
    for sample, of_image in zip(PAIR, found, strict=True):
        overlaps = pairwise_iou(torch.from_numpy(sample.boxes).double(), torch.from_numpy(of_image.boxes))
        assert len(of_image) == len(sample.boxes)
        assert overlaps.amax(dim=1).min() > 0.5


def test_aims_of_several_images_lie_one_after_the_other() -> None:
    one = Aims(*(torch.full((2, *shape), 1) for shape in ((4,), (), (), (4,), ())))
    assert Aims.joined([one, one.where(torch.tensor([0]))]).regions.shape == (3, 4)


def test_a_network_with_more_stages_than_the_objective_knows_is_refused() -> None:
    network = detector(head={"name": "cascade", "hidden": 8})
    with pytest.raises(InputRefusedError, match="3 stages"):
        TwoStageObjective(ious=[0.5]).losses(network, batch_of(PAIR), PAIR)


@pytest.mark.parametrize(
    "arguments",
    [
        {"sampler": {"name": "luck"}},
        {"matcher": {"name": "luck"}},
        {"box_loss": {"name": "luck"}},
        {"weights": {"luck": 1}},
    ],
)
def test_a_configuration_names_the_parts_and_unknown_ones_are_refused(arguments: dict[str, Any]) -> None:
    assert isinstance(build_objective("two-stage", {"sampler": {"name": "ohem"}}), TwoStageObjective)
    with pytest.raises(InputRefusedError):
        build_objective("two-stage", arguments)
