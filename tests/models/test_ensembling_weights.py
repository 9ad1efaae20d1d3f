from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.models.classification.fusion import fuse
from napari_medlab.models.ensembling.candidates import fuse_candidates
from napari_medlab.models.ensembling.validation_only import require_validation
from napari_medlab.models.ensembling.weights import (
    area_under_roc,
    cpm_by_scores,
    search_fusion,
    search_weights,
    simplex,
)
from napari_medlab.project import CaseRecord

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Case:
    """A case as a search sees it."""

    case_id: str = "a"
    split: str = "train"
    frozen: bool = False

    @property
    def name(self) -> str:
        """The id."""
        return self.case_id


VALIDATION = [Case("a"), Case("b", "fold 2")]


@pytest.mark.parametrize(("members", "count"), [(1, 1), (2, 11), (3, 66), (4, 286)])
def test_the_grid_holds_every_tenth(members: int, count: int) -> None:
    points = [tuple(np.round(10 * point).astype(int)) for point in simplex(members)]
    assert len(points) == len({*points}) == count
    assert all(sum(point) == 10 for point in points)


@pytest.mark.parametrize("best", [(0.3, 0.7), (0.1, 0.2, 0.7), (0.0, 0.6, 0.4), (0.2, 0.2, 0.5, 0.1)])
def test_the_search_finds_the_known_best(best: tuple[float, ...]) -> None:
    found = search_weights(lambda weights: -float(np.abs(weights - best).sum()), len(best), VALIDATION)
    assert found.weights == pytest.approx(best)
    assert found.value == pytest.approx(0)
    assert found.value > found.equal_value


def test_more_members_are_searched_one_by_one() -> None:
    best = np.array([0.4, 0.0, 0.0, 0.6, 0.0, 0.0])
    found = search_weights(lambda weights: -float(((weights - best) ** 2).sum()), 6, VALIDATION)
    np.testing.assert_allclose(found.weights, best, atol=0.1)
    assert sum(found.weights) == pytest.approx(1)
    assert found.tried < 1000


def test_of_equally_good_weights_equal_shares_are_taken() -> None:
    found = search_weights(lambda _: 0.5, 3, VALIDATION)
    assert found.weights == pytest.approx((1 / 3,) * 3)
    nan = search_weights(lambda weights: 1.0 if weights[0] > 0.75 else float("nan"), 2, VALIDATION)
    assert nan.weights == pytest.approx((0.8, 0.2))


@pytest.mark.parametrize(
    "cases",
    [
        [Case("a"), Case("b", "test")], [Case("a", "TEST")], [Case("a", "train", frozen=True)],
        [CaseRecord("a", "a.dcm", "patient a", split="test", frozen=True)],
    ],
)  # fmt: skip
def test_a_search_on_test_cases_is_refused_before_anything_is_looked_at(cases: list[Case]) -> None:
    looked: list[object] = []

    def value_of(weights: object) -> float:
        looked.append(weights)
        return 0.0

    searches: list[Callable[[], object]] = [
        lambda: search_weights(value_of, 2, cases),
        lambda: search_fusion(value_of, [0.5], [0.5], cases),
    ]
    for search in searches:
        with pytest.raises(InputRefusedError, match="for testing") as caught:
            search()
        assert caught.value.code == "test-cases"
        assert "validation cases" in caught.value.hint
    assert looked == []


def test_a_search_without_cases_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="without cases"):
        search_weights(lambda _: 0.0, 2, [])


def test_the_message_names_a_few_of_many_cases() -> None:
    with pytest.raises(InputRefusedError, match=r"9 of 9 cases that are for testing: 0, 1, 2 …"):
        require_validation([Case(str(number), "test") for number in range(9)], "The threshold")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=30))
def test_the_area_under_the_curve_counts_pairs(rows: list[tuple[bool, int]]) -> None:
    positive = [score for is_positive, score in rows if is_positive]
    negative = [score for is_positive, score in rows if not is_positive]
    found = area_under_roc([is_positive for is_positive, _ in rows], [score for _, score in rows])
    if not positive or not negative:
        assert np.isnan(found)
    else:
        wins = [(a > b) + 0.5 * (a == b) for a in positive for b in negative]
        assert found == pytest.approx(np.mean(wins))


def findings_and_candidates() -> tuple[FindingTable, CandidateTable]:
    findings = [Finding("a", (0.0, 0.0, 0.0), 10.0), Finding("b", (0.0, 0.0, 0.0), 10.0)]
    places = [("a", 1.0), ("a", 50.0), ("b", 1.0), ("b", 50.0)]
    candidates = [Candidate(case, (x, 0.0, 0.0), 0.5, 5.0) for case, x in places]
    return FindingTable.from_objects(findings), CandidateTable.from_objects(candidates)


def test_the_cpm_leads_to_the_member_that_is_right() -> None:
    findings, candidates = findings_and_candidates()
    right, wrong = np.array([0.9, 0.1, 0.8, 0.2]), np.array([0.2, 0.8, 0.1, 0.9])
    cpm = cpm_by_scores(findings, candidates, ["a", "b"])
    assert cpm(right) == pytest.approx(1)
    found = search_weights(lambda weights: cpm(weights @ np.asarray([wrong, right])), 2, VALIDATION)
    assert found.value == pytest.approx(1)
    assert found.weights[1] > 0.5


def test_the_cpm_counts_no_case_that_was_not_checked() -> None:
    findings, candidates = findings_and_candidates()
    with pytest.raises(InputRefusedError, match="1 cases have candidates or findings"):
        cpm_by_scores(findings, candidates, ["a"])


def test_the_weight_of_detector_and_classifier() -> None:
    is_lesion = [True, True, False, False]
    detector, classifier = [0.9, 0.5, 0.6, 0.2], [0.6, 0.9, 0.3, 0.7]
    found = search_fusion(lambda scores: area_under_roc(is_lesion, scores), detector, classifier, VALIDATION)
    assert found.value == 1
    assert area_under_roc(is_lesion, fuse(detector, classifier, weight=found.weights[1])) == 1
    assert area_under_roc(is_lesion, detector) < 1
    assert area_under_roc(is_lesion, classifier) < 1
    assert found.weights == pytest.approx((0.5, 0.5))


def table(*rows: tuple[str, float, float, str]) -> CandidateTable:
    return CandidateTable.from_objects(
        [Candidate(case, (x, 0.0, 0.0), score, 10.0, label) for case, x, score, label in rows]
    )


def test_candidates_of_several_detectors_become_one_list() -> None:
    first = table(("a", 0.0, 0.8, "nodule"), ("b", 0.0, 0.6, "nodule"))
    second = table(("a", 1.0, 0.4, "nodule"), ("a", 100.0, 0.9, "nodule"), ("a", 1.0, 0.9, "mass"))
    found = fuse_candidates([first, second])
    rows = {(str(case), str(label), round(float(x), 3)): float(score) for case, label, (x, *_), score in
            zip(found.case_ids, found.labels, found.centres, found.scores, strict=True)}  # fmt: skip
    assert rows == pytest.approx({
        ("a", "nodule", 0.333): 0.6, ("a", "nodule", 100.0): 0.45, ("a", "mass", 1.0): 0.45, ("b", "nodule", 0.0): 0.3,
    })  # fmt: skip
    np.testing.assert_allclose(found.diameters, 10)
    assert len({*found.ids.tolist()}) == 4


def test_a_detector_without_weight_adds_nothing() -> None:
    first, second = table(("a", 0.0, 0.8, "nodule")), table(("a", 90.0, 0.4, "nodule"))
    found = fuse_candidates([first, second], [1.0, 0.0])
    assert found.centres[:, 0].tolist() == [0.0]
    assert found.scores.tolist() == pytest.approx([0.8])
    assert len(fuse_candidates([first.where(slice(0)), second.where(slice(0))])) == 0
