"""Dice of outlines against the same by counting pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable, Region
from napari_medlab.evaluation import match
from napari_medlab.geometry.outlines import mask_to_rings
from napari_medlab.geometry.polygons import box
from napari_medlab.hardcases.errors.outline_overlap import box_around, dice_of_hits, dice_of_regions

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


def hit(candidate: Region, finding: Region) -> float:
    """Return the Dice of one hit with these outlines."""
    found, marked = Finding("case", (0.0, 0.0), 4.0), Candidate("case", (0.0, 0.0), 0.5)
    table = match(FindingTable.from_objects([found]), CandidateTable.from_objects([marked]), ["case"])
    (dice,) = dice_of_hits(table, {found.finding_id: finding, marked.candidate_id: candidate})[1]
    return float(dice)


def square(low: tuple[float, float], high: tuple[float, float]) -> np.ndarray:
    """Return the ring of the box that holds the pixels from one to another, both included."""
    return box(np.subtract(low, 0.5).tolist(), np.add(high, 0.5).tolist())


@given(masks.filter(np.any), st.integers(-2, 2))
def test_a_box_is_held_against_the_box_around_the_other(star: np.ndarray, shift: int) -> None:
    rows, columns = np.flatnonzero(star.any(1)) + 3, np.flatnonzero(star.any(0)) + 3
    star = np.pad(star, 3)
    around, moved = np.zeros_like(star), np.zeros_like(star)
    around[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    moved[rows[0] : rows[-1] + 1, columns[0] + shift : columns[-1] + 1 + shift] = True
    ring = square((rows[0], columns[0] + shift), (rows[-1], columns[-1] + shift))
    for candidate, finding in (
        (Region("case", (ring,)), planar(star)),
        (planar(star), Region("case", (ring,))),
    ):
        assert hit(candidate, finding) == pytest.approx(expected(moved, around))


def test_outlines_that_are_no_boxes_are_held_against_each_other_as_they_are() -> None:
    cross, corner = np.zeros((5, 5), bool), np.zeros((5, 5), bool)
    cross[2], cross[:, 2], corner[0], corner[:, 0] = True, True, True, True
    assert hit(planar(corner), planar(cross)) == pytest.approx(expected(corner, cross))


def test_a_box_through_slices_is_one_too() -> None:
    cross, ring = np.zeros((5, 5), bool), square((0, 0), (4, 4))
    cross[2], cross[:, 2] = True, True
    cuboid = Region.on_slices("case", {z: [ring] for z in (3, 4, 5)})
    lesion = Region.on_slices("case", {z: mask_to_rings(cross) for z in (4, 5)})
    assert hit(cuboid, lesion) == pytest.approx(2 * 2 / (3 + 2))
    assert hit(Region.on_slices("case", {4: [ring]}), lesion) == pytest.approx(2 / 3)
    steps = Region.on_slices("case", {4: [ring], 5: [square((0, 0), (1, 4))]})
    assert hit(steps, lesion) == pytest.approx(2 * (9 + 2) / (25 + 10 + 18))


def test_an_empty_outline_is_no_box() -> None:
    empty = Region("case", ())
    assert box_around(empty) is empty
    assert hit(empty, planar(np.ones((2, 2), bool))) == 0
