from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.centreness import (
    CentrenessLoss,
    CentrenessSettings,
    centreness_of,
    joined_logits,
)
from napari_medlab.models.detection.coding import decode, encode
from napari_medlab.models.detection.losses import (
    BOX_LOSSES,
    BoxGuess,
    HardNegatives,
    build_box_loss,
    build_classification_loss,
)

LOGITS = torch.tensor([(0.0,), (2.0,), (-1.0,)])
WANTED = torch.tensor([(1.0,), (0.0,), (0.0,)])


def guess_of(codes: torch.Tensor) -> BoxGuess:
    """Return a guess at a box of 8 from an anchor of 4 at its corner."""
    anchor, box = torch.tensor([(0.0, 0.0, 4.0, 4.0)]), torch.tensor([(0.0, 0.0, 8.0, 8.0)])
    return BoxGuess(codes, encode(anchor, box), decode(anchor, codes), box)


def test_the_focal_loss_worked_by_hand() -> None:
    """alpha (1 - p)^gamma · -ln p at the positive, (1 - alpha) p^gamma · -ln (1 - p) elsewhere."""
    losses = build_classification_loss({"name": "focal", "gamma": 2.0, "alpha": 0.5}).losses(LOGITS, WANTED)
    p = LOGITS.sigmoid()
    expected = torch.stack(
        [
            0.5 * (1 - p[0]) ** 2 * -p[0].log(),
            0.5 * p[1] ** 2 * -(1 - p[1]).log(),
            0.5 * p[2] ** 2 * -(1 - p[2]).log(),
        ]
    )
    torch.testing.assert_close(losses, expected)


def test_the_focal_loss_without_its_exponent_is_cross_entropy() -> None:
    focal = build_classification_loss({"name": "focal", "gamma": 0.0, "alpha": None}).losses(LOGITS, WANTED)
    plain = build_classification_loss({"name": "bce"}).losses(LOGITS, WANTED)
    torch.testing.assert_close(focal, plain)
    torch.testing.assert_close(plain, F.binary_cross_entropy_with_logits(LOGITS, WANTED, reduction="none"))


def test_positives_may_weigh_more_in_cross_entropy() -> None:
    twice = build_classification_loss({"name": "bce", "positive_weight": 2.0}).losses(LOGITS, WANTED)
    once = build_classification_loss({"name": "bce"}).losses(LOGITS, WANTED)
    torch.testing.assert_close(twice / once, torch.tensor([(2.0,), (1.0,), (1.0,)]))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("iou", 1 - 16 / 64),
        ("log-iou", 1.386294),
        ("giou", 1 - 16 / 64),
        ("diou", 1 - 16 / 64 + 8 / 128),
        ("huber", 2 * (0.5 - 0.05) + 2 * (0.693147 - 0.05)),
    ],
)
def test_box_losses_worked_by_hand(name: str, expected: float) -> None:
    """The guess is the anchor itself: a square of 16 within one of 64, half an anchor and a factor of two off."""
    settings = {"beta": 0.1} if name == "huber" else {}
    loss = build_box_loss({"name": name, **settings}).losses(guess_of(torch.zeros(1, 4)))
    assert loss.tolist() == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize("name", sorted(BOX_LOSSES))
def test_box_losses_fall_on_the_way_to_the_box(name: str) -> None:
    codes = torch.zeros(1, 4, requires_grad=True)
    optimiser = torch.optim.SGD([codes], lr=0.05)
    losses = []
    for _ in range(3):
        loss = build_box_loss({"name": name}).losses(guess_of(codes)).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", sorted(BOX_LOSSES))
def test_no_boxes_cost_nothing(name: str) -> None:
    none = torch.zeros(0, 4)
    assert build_box_loss({"name": name}).losses(BoxGuess(none, none, none, none)).sum() == 0


@pytest.mark.parametrize("given", [{"name": "hinge"}, {"name": "focal", "delta": 1.0}])
def test_losses_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="classification loss"):
        build_classification_loss(given)


ROWS = torch.tensor([0, -1, -1, -1, -1, -2])
SCORES = torch.tensor([0.5, 0.1, 0.9, 0.3, 0.8, 1.0])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"ratio": 2.0, "least": 1}, [True, False, True, False, True, False]),
        ({"ratio": 1.0, "least": 1}, [True, False, True, False, False, False]),
        ({"ratio": 1.0, "least": 3}, [True, False, True, True, True, False]),
        ({"ratio": 9.0, "least": 1}, [True, True, True, True, True, False]),
    ],
)
def test_the_hardest_negatives_count(settings: dict[str, Any], expected: list[bool]) -> None:
    assert HardNegatives(**settings).counted(ROWS, SCORES).tolist() == expected


def test_a_pool_draws_from_more_of_the_hardest() -> None:
    """One negative out of the two hardest: over many draws both occur, and no other."""
    torch.manual_seed(0)
    drawn = torch.stack([HardNegatives(1.0, 1, pool=2.0).counted(ROWS, SCORES) for _ in range(30)])
    assert (drawn.sum(dim=1) == 2).all()
    assert drawn.any(dim=0).tolist() == [True, False, True, False, True, False]


@pytest.mark.parametrize("settings", [{"ratio": 0.0}, {"least": 0}, {"pool": 0.5}])
def test_pools_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="ratio"):
        HardNegatives(**settings)


@pytest.mark.parametrize(
    ("point", "expected"),
    [((5, 5), 1.0), ((2, 5), 0.5), ((2, 2), 0.25), ((0, 5), 0.0), ((11, 5), 0.0)],
)
def test_centreness_worked_by_hand(point: tuple[float, float], expected: float) -> None:
    """In a square of 10, 2 from one side and 8 from the other is 1/4 along that axis; in 2D its square root counts."""
    box = torch.tensor([(0.0, 0.0, 10.0, 10.0)])
    assert centreness_of(torch.tensor([point]).float(), box).tolist() == pytest.approx([expected])


def test_centreness_in_3d_is_the_cube_root() -> None:
    box = torch.tensor([(0.0, 0.0, 0.0, 9.0, 9.0, 9.0)])
    assert centreness_of(torch.tensor([(1.0, 4.5, 4.5)]), box).tolist() == pytest.approx([0.5])


def test_joined_logits_are_those_of_the_product() -> None:
    a, b = torch.tensor([0.3, -2.0, 4.0]), torch.tensor([1.0, 0.5, 3.0])
    torch.testing.assert_close(joined_logits(a, b).sigmoid(), a.sigmoid() * b.sigmoid())


def test_joined_logits_stay_finite() -> None:
    extreme = torch.tensor([-80.0, 80.0])
    assert joined_logits(extreme, extreme).isfinite().all()


@pytest.mark.parametrize("name", ["bce", "huber"])
@pytest.mark.parametrize("negatives", [True, False])
def test_background_moves_centreness_only_where_it_counts(name: str, negatives: bool) -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    targets, rows = torch.tensor([(0.9, 0.7, 0.7)]), torch.tensor([(0, -1, -2)])
    CentrenessLoss(name, negatives).mean(logits, targets, rows).backward()
    assert logits.grad is not None
    assert (logits.grad[0] != 0).tolist() == [True, negatives, False]
    assert logits.grad[0, 0] < 0
    assert logits.grad[0, 1] >= 0


def test_the_losses_of_centreness_worked_by_hand() -> None:
    logits, targets, rows = torch.zeros(1, 2), torch.tensor([(0.9, 0.0)]), torch.tensor([(0, -1)])
    assert CentrenessLoss("bce").mean(logits, targets, rows).item() == pytest.approx(0.693147)
    huber = CentrenessLoss("huber", negatives=True, beta=0.1).mean(logits, targets, rows)
    assert huber.item() == pytest.approx((0.35 + 0.45) / 2)


def test_without_positives_centreness_costs_nothing() -> None:
    logits = torch.zeros(1, 2, requires_grad=True)
    assert CentrenessLoss().mean(logits, torch.zeros(1, 2), torch.tensor([(-1, -2)])) == 0


@pytest.mark.parametrize("given", [{"place": "neck"}, {"multiplied": "never"}, {"branches": ["cells"]}])
def test_centreness_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="centre-ness"):
        CentrenessSettings.from_json(given)
    with pytest.raises(ValueError, match="no loss of centre-ness"):
        CentrenessLoss("focal")
