"""Dice of outlines against the same by counting pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable, Region
from napari_medlab.evaluation import match
from napari_medlab.geometry.outlines import mask_to_rings
from napari_medlab.hardcases.errors.outline_overlap import dice_of_hits, dice_of_regions

masks = st.integers(0, 2**24 - 1).map(
    lambda bits: np.array([bits >> n & 1 for n in range(24)], bool).reshape(4, 6)
)


def planar(mask: np.ndarray, owner: str = "") -> Region:
    return Region("case", tuple(mask_to_rings(mask)), owner)


def expected(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else 1.0


@given(masks, masks)
def test_dice_is_that_of_the_masks(a: np.ndarray, b: np.ndarray) -> None:
    assert dice_of_regions(planar(a), planar(b)) == pytest.approx(expected(a, b))


@given(masks, masks, masks)
def test_slices_of_a_volume_count_together(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
    one = Region.on_slices("case", {3: mask_to_rings(a), 4: mask_to_rings(b)})
    other = Region.on_slices("case", {4: mask_to_rings(c)})
    stacked = np.stack([a, b]), np.stack([np.zeros_like(c), c])
    assert dice_of_regions(one, other) == pytest.approx(expected(*stacked))


def test_only_hits_of_which_both_are_outlined_have_a_figure() -> None:
    findings = [Finding("case", (10.0 * n, 0.0), 4.0) for n in range(3)]
    candidates = [Candidate("case", (10.0 * n, 0.0), 0.5) for n in (0, 1, 7)]
    table = match(FindingTable.from_objects(findings), CandidateTable.from_objects(candidates), ["case"])
    square, half = np.ones((4, 4), bool), np.ones((4, 4), bool)
    half[2:] = False
    regions = {
        findings[0].finding_id: planar(square),
        candidates[0].candidate_id: planar(half),
        findings[1].finding_id: planar(square),
        candidates[2].candidate_id: planar(square),
    }
    rows, dice = dice_of_hits(table, regions)
    assert table.candidate_id[rows].tolist() == [candidates[0].candidate_id]
    assert dice.tolist() == [pytest.approx(2 / 3)]
