from __future__ import annotations

import torch

from napari_medlab.models.detection.anchors import AnchorGrid
from napari_medlab.models.detection.proposals import Guesses, ProposalHead, ProposalSettings, propose

FAR_APART = torch.tensor(
    [[0.0, 0, 10, 10], [20, 20, 30, 30], [0, 20, 10, 30], [20, 0, 30, 10], [10, 10, 20, 20]]
)


def guesses_of(anchors: torch.Tensor, scores: list[float], cells: list[int]) -> Guesses:
    """Return guesses that leave the anchors where they are, for one image."""
    return Guesses(anchors, torch.logit(torch.tensor([scores])), torch.zeros(1, *anchors.shape), cells)


def test_the_best_come_out_best_first() -> None:
    guesses = guesses_of(FAR_APART, [0.3, 0.9, 0.1, 0.6, 0.5], [5])
    (found,) = propose(guesses, (40, 40), ProposalSettings(after=3))
    assert found.boxes.tolist() == FAR_APART[[1, 3, 4]].tolist()
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.6, 0.5]))


def test_each_level_sends_only_its_best_into_suppression() -> None:
    guesses = guesses_of(FAR_APART, [0.3, 0.9, 0.8, 0.2, 0.1], [3, 2])
    (found,) = propose(guesses, (40, 40), ProposalSettings(before=1))
    assert found.boxes.tolist() == FAR_APART[[1, 3]].tolist()


def test_overlapping_proposals_of_one_level_become_one_those_of_two_levels_stay() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]])
    (found,) = propose(guesses_of(anchors, [0.6, 0.9, 0.5], [2, 1]), (40, 40), ProposalSettings(iou=0.7))
    assert found.boxes.tolist() == anchors[1:].tolist()


def test_proposals_are_cut_at_the_border_and_dropped_where_little_is_left() -> None:
    anchors = torch.tensor([[-5.0, -5, 10, 10], [-9, 0, 0.4, 10], [50, 50, 60, 60]])
    (found,) = propose(guesses_of(anchors, [0.5, 0.9, 0.8], [3]), (20, 20), ProposalSettings(least_size=1.0))
    assert found.boxes.tolist() == [[-0.5, -0.5, 10, 10]]


def test_what_the_head_says_belongs_to_the_anchors_of_its_cell() -> None:
    """Weights that read one feature into the score of the second anchor, and one into its shift along x."""
    grid = AnchorGrid([8, 16], ratios=[1.0, 4.0], strides=[4, 8])
    head = ProposalHead(2, 2, grid)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        for feature in (0, 1):
            head.shared.weight[feature, feature, 1, 1] = 1
        head.objectness.weight[1, 0] = 5
        head.deltas.weight[4 + 1, 1] = 0.5
    maps = [torch.zeros(1, 2, 4, 6), torch.zeros(1, 2, 2, 3)]
    maps[0][0, :, 2, 3] = 1
    guesses = head(maps, (16, 24))
    assert guesses.cells == [24, 6]
    assert guesses.per_level == [48, 12]
    row = int(guesses.logits[0].argmax())
    assert row == 2 * (2 * 6 + 3) + 1
    assert guesses.deltas[0, row].tolist() == [0, 0.5, 0, 0]
    (found,) = propose(guesses, (16, 24), ProposalSettings())
    anchor = guesses.anchors[row].tolist()  # 16 high and 4 wide, around (9.5, 13.5)
    assert anchor == [1.5, 11.5, 17.5, 15.5]
    assert found.boxes[0].tolist() == [1.5, 13.5, 15.5, 17.5]


def test_no_gradient_flows_through_proposals() -> None:
    guesses = guesses_of(FAR_APART, [0.5] * 5, [5])
    guesses.deltas.requires_grad_()
    (found,) = propose(guesses, (40, 40), ProposalSettings())
    assert not found.boxes.requires_grad
