from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.anchor_free import ASSIGNERS, Cells, build_assigner
from napari_medlab.models.detection.heads import cell_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    Cost = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

SHAPE = (32, 32)
STRIDES = [(4, 4), (8, 8), (16, 16)]
PER_LEVEL = [64, 16, 4]
SQUARE = torch.tensor([(7.5, 7.5, 23.5, 23.5)])
"""16 voxels wide: 4 × 4 cells of the first level, 2 × 2 of the second; the middles of the third lie on its corners."""


def cells() -> Cells:
    shapes = [tuple(32 // step for step in stride) for stride in STRIDES]
    return Cells.of(cell_grid(STRIDES).anchors(shapes, SHAPE), PER_LEVEL)


def nothing(of_box: torch.Tensor, of_cell: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(of_box))


def level_costs(*costs: float) -> Cost:
    """Return a cost that depends on the level alone."""
    return lambda of_box, of_cell: torch.tensor(costs)[cells().levels[of_cell]]


def counts(rows: torch.Tensor, value: int) -> list[int]:
    return [int((part == value).sum()) for part in rows.split(PER_LEVEL)]


def assign(
    given: dict[str, Any], boxes: torch.Tensor, ignored: list[bool] | None = None, cost: Cost = nothing
) -> torch.Tensor:
    is_ignored = torch.tensor(ignored or [False] * len(boxes), dtype=torch.bool)
    return build_assigner(given).assign(cells(), boxes, is_ignored, cost)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [16, 0, 0]),
        ({"per_stride": 3.0}, [4, 0, 0]),
        ({"per_stride": 2.9}, [4, 4, 0]),
        ({"limits": [9, 12]}, [0, 4, 0]),
        ({"limits": [1, 2]}, [0, 0, 0]),
        ({"limits": [64, 128], "radius": 1.0}, [4, 0, 0]),
    ],
)
def test_fcos_gives_a_box_to_the_level_of_its_size(settings: dict[str, Any], expected: list[int]) -> None:
    """It is 10 voxels to the furthest side from the inner cells of stride 4, 14 from the others, 12 from those of 8.

    Eight strides of the first level are 32, more than all of these; three are 12, which the second level is for from
    beyond that on.
    """
    assert counts(assign({"name": "fcos", **settings}, SQUARE), 0) == expected


def test_fcos_gives_a_cell_to_the_smallest_box_around_it() -> None:
    inner = torch.tensor([(11.5, 11.5, 19.5, 19.5)])
    rows = assign({"name": "fcos"}, torch.cat([SQUARE, inner]))
    assert (counts(rows, 0), counts(rows, 1)) == ([12, 0, 0], [4, 0, 0])


@pytest.mark.parametrize("name", sorted(ASSIGNERS))
def test_cells_within_an_ignored_box_are_ignored(name: str) -> None:
    rows = assign({"name": name}, SQUARE, [True])
    assert counts(rows, -2) == [16, 4, 0 if name == "fcos" else 4]
    assert counts(rows, 0) == [0, 0, 0]


@pytest.mark.parametrize("name", sorted(ASSIGNERS))
def test_without_boxes_all_is_background(name: str) -> None:
    assert counts(assign({"name": name}, SQUARE[:0]), -1) == PER_LEVEL


@pytest.mark.parametrize("best", [0, 1, 2])
def test_fsaf_picks_the_level_with_the_least_loss(best: int) -> None:
    costs = [3.0, 2.5, 2.0]
    costs[best] = 1.0
    rows = assign({"name": "fsaf", "effective": 0.5, "ignoring": 0.5}, SQUARE, cost=level_costs(*costs))
    found = counts(rows, 0)
    assert found[best] > 0
    assert sum(found) == found[best]


@pytest.mark.parametrize(
    ("effective", "ignoring", "positive", "ignored"),
    [(0.2, 0.5, 1, 3), (0.5, 0.5, 4, 0), (0.5, 1.0, 4, 12), (1.0, 1.0, 16, 0)],
)
def test_fsaf_regions_worked_by_hand(effective: float, ignoring: float, positive: int, ignored: int) -> None:
    """At stride 4 the middles lie 2 and 6 from the box's, whose half side is 8: they need shares of 1/4 and 3/4.

    A share of 0.2 reaches none, so one of the four nearest stands in.
    """
    given = {"name": "fsaf", "effective": effective, "ignoring": ignoring}
    rows = assign(given, SQUARE, cost=level_costs(0, 1, 1))
    assert counts(rows, 0) == [positive, 0, 0]
    assert counts(rows, -2)[0] == ignored


def test_fsaf_ignores_the_region_on_the_next_levels_only() -> None:
    """At stride 8 the middles lie 4 from the box's, half its half side; stride 16 is two levels away."""
    rows = assign({"name": "fsaf", "effective": 0.5, "ignoring": 0.5}, SQUARE, cost=level_costs(0, 1, 1))
    assert counts(rows, -2) == [0, 4, 0]
    rows = assign({"name": "fsaf", "effective": 0.5, "ignoring": 1.0}, SQUARE, cost=level_costs(1, 0, 1))
    assert counts(rows, -2) == [16, 0, 4]


def test_fsaf_finds_even_a_box_smaller_than_a_cell() -> None:
    speck = torch.tensor([(0.5, 0.5, 1.5, 1.5)])
    rows = assign({"name": "fsaf"}, speck, cost=level_costs(1, 1, 0))
    assert counts(rows, 0) == [0, 0, 1]


def test_fsaf_averages_over_the_cells_of_a_level() -> None:
    """Sixteen cells at 1 beat four at 1.1, though their sum is greater."""
    rows = assign({"name": "fsaf", "effective": 1.0, "ignoring": 1.0}, SQUARE, cost=level_costs(1, 1.1, 9))
    assert counts(rows, 0) == [16, 0, 0]


@pytest.mark.parametrize(
    "given",
    [
        {"name": "fsaf", "effective": 0.6, "ignoring": 0.5},
        {"name": "fsaf", "effective": 0.0},
        {"name": "fcos", "radius": -1.0},
        {"name": "fcos", "limits": [128, 64]},
        {"name": "yolo"},
    ],
)
def test_assignments_that_make_no_sense_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="anchor-free assignment"):
        build_assigner(given)


def test_fcos_needs_a_limit_for_each_level_but_the_last() -> None:
    with pytest.raises(ValueError, match="3 levels need one limit less"):
        assign({"name": "fcos", "limits": [64]}, SQUARE)
