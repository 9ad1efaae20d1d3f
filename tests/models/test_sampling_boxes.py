from __future__ import annotations

import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.sampling import (
    HardNegativeSampler,
    OnlineHardExampleSampler,
    RandomSampler,
    Regions,
    RegionSampler,
    build_region_sampler,
    with_truth,
)  # fmt: skip

IGNORED = -2


def regions_of(positives: int, negatives: int, ignored: int = 0) -> Regions:
    """Return regions far from each other, shuffled, with hardness that differs from row to row."""
    generator = torch.Generator().manual_seed(5)
    matched = torch.cat(
        [torch.arange(positives), torch.full((negatives,), -1), torch.full((ignored,), IGNORED)]
    )
    matched = matched[torch.randperm(len(matched), generator=generator)]
    starts = torch.arange(len(matched), dtype=torch.float32)[:, None] * torch.tensor([10.0, 0])
    hardness = torch.randperm(len(matched), generator=generator).float()
    return Regions(torch.cat([starts, starts + 8], dim=1), matched, hardness)


def counts(regions: Regions, rows: torch.Tensor) -> tuple[int, int]:
    chosen = regions.matched[rows]
    assert len(set(rows.tolist())) == len(rows)
    return int((chosen >= 0).sum()), int((chosen == -1).sum())


SHARING: list[RegionSampler] = [
    RandomSampler(16, 0.25), HardNegativeSampler(16, 0.25), OnlineHardExampleSampler(16, positive=0.25),
]  # fmt: skip


@pytest.mark.parametrize("sampler", SHARING)
@pytest.mark.parametrize(
    ("there", "taken"), [((9, 40), (4, 12)), ((2, 40), (2, 14)), ((9, 5), (4, 5)), ((0, 3), (0, 3))]
)
def test_a_quarter_is_matched_and_the_rest_fills_up(
    sampler: RegionSampler, there: tuple[int, int], taken: tuple[int, int]
) -> None:
    regions = regions_of(*there, ignored=30)
    rows = sampler.choose(regions)
    assert counts(regions, rows) == taken
    assert len(rows) == sum(taken)


@pytest.mark.parametrize("sampler", [*SHARING, OnlineHardExampleSampler(16)])
def test_those_matched_to_a_box_come_first(sampler: RegionSampler) -> None:
    regions = regions_of(9, 40, ignored=5)
    is_positive = (regions.matched[sampler.choose(regions)] >= 0).tolist()
    assert is_positive == sorted(is_positive, reverse=True)


@pytest.mark.parametrize("sampler", SHARING)
def test_the_same_generator_chooses_the_same(sampler: RegionSampler) -> None:
    regions = regions_of(20, 200)
    first, again = (sampler.choose(regions, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.tolist() == again.tolist()


def test_another_generator_chooses_others_at_random() -> None:
    regions = regions_of(20, 200)
    first, other = (
        RandomSampler(16).choose(regions, torch.Generator().manual_seed(seed)).tolist() for seed in (1, 2)
    )
    assert first != other


def test_at_random_every_region_has_the_same_chance() -> None:
    regions = regions_of(4, 8)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.zeros(12)
    for _ in range(600):
        drawn[RandomSampler(6, 0.5).choose(regions, generator)] += 1
    assert (drawn[regions.matched >= 0] - 450).abs().max() < 60  # 3 of 4 each time
    assert (drawn[regions.matched == -1] - 225).abs().max() < 60  # 3 of 8


def test_hard_negatives_come_from_the_pool_of_those_with_the_highest_scores() -> None:
    regions = regions_of(4, 100)
    assert regions.hardness is not None
    order = regions.hardness.argsort(descending=True)
    negatives = order[regions.matched[order] == -1].tolist()
    hardest = HardNegativeSampler(16, 0.25, pool=1).choose(regions)
    assert set(hardest[4:].tolist()) == set(negatives[:12])
    drawn = HardNegativeSampler(16, 0.25, pool=3).choose(regions, torch.Generator().manual_seed(0))
    assert set(drawn[4:].tolist()) < set(negatives[:36])
    assert set(drawn[4:].tolist()) != set(negatives[:12])


def test_ohem_takes_exactly_those_with_the_largest_losses_whatever_they_are() -> None:
    regions = regions_of(6, 30, ignored=10)
    assert regions.hardness is not None
    eligible = (regions.matched > IGNORED).nonzero()[:, 0]
    expected = eligible[regions.hardness[eligible].argsort(descending=True)[:12]]
    assert set(OnlineHardExampleSampler(12).choose(regions).tolist()) == set(expected.tolist())


def test_ohem_with_a_share_takes_the_largest_losses_of_each_kind() -> None:
    losses = torch.tensor([5.0, 1.0, 3.0, 9.0, 8.0, 7.0])
    regions = Regions(torch.zeros(6, 4), torch.tensor([0, 1, 2, -1, -1, -1]), losses)
    assert OnlineHardExampleSampler(4, positive=0.5).choose(regions).tolist() == [0, 2, 3, 4]


def test_ohem_counts_a_spot_once_where_overlap_is_limited() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40], [60, 60, 70, 70]])
    regions = Regions(boxes, torch.full((4,), -1), torch.tensor([3.0, 4.0, 2.0, 1.0]))
    assert OnlineHardExampleSampler(2, iou=0.7).choose(regions).tolist() == [1, 2]
    assert OnlineHardExampleSampler(2).choose(regions).tolist() == [1, 0]


def test_what_goes_by_hardness_says_so_and_refuses_to_go_without() -> None:
    assert [sampler.hardness for sampler in (*SHARING, OnlineHardExampleSampler())] == [
        "none",
        "score",
        "loss",
        "loss",
    ]
    regions = Regions(torch.zeros(2, 4), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="not given"):
        OnlineHardExampleSampler().choose(regions)


def test_samplers_are_built_by_name() -> None:
    assert build_region_sampler({"name": "ohem", "count": 64, "iou": 0.7}) == OnlineHardExampleSampler(
        64, iou=0.7
    )
    assert build_region_sampler({"name": "random"}) == RandomSampler()


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "luck"},
        {"name": "random", "count": 0},
        {"name": "ohem", "positive": 1.5},
        {"name": "hard-negative", "pool": 0.5},
        {"name": "random", "hardness": "loss"},
    ],
)
def test_samplers_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError, match="sampler of regions"):
        build_region_sampler(settings)


def test_the_true_boxes_are_appended_save_the_ignored_ones() -> None:
    proposals = torch.tensor([[0.0, 0, 2, 2]])
    boxes = torch.tensor([[1.0, 1, 3, 3], [5, 5, 9, 9]])
    assert with_truth(proposals, boxes, torch.tensor([False, True])).tolist() == [[0, 0, 2, 2], [1, 1, 3, 3]]
