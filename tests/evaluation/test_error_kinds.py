from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation_examples import CASES, candidate_table, finding_table, plain_candidates, plain_findings
from hypothesis import given

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import MatchTable, error_causes, match, match_at
from napari_medlab.evaluation.error_kinds import CentreReach, NearPairs, cause_effects
from napari_medlab.evaluation.froc import froc

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from plain_luna16 import PlainCandidate, PlainFinding

    from napari_medlab.evaluation.error_kinds import CauseEffects

MASS, CALC = "mass", "calcification"


def finding(
    name: str, x: float, label: str = MASS, diameter: float = 10.0, *, excluded: bool = False
) -> Finding:
    return Finding("one", (x, 0.0), diameter, label, is_excluded=excluded, finding_id=name)


def candidate(name: str, x: float, score: float, label: str = MASS, case: str = "one") -> Candidate:
    return Candidate(case, (x, 0.0), score, 8.0, label, name)


@dataclass
class Study:
    findings: FindingTable
    candidates: CandidateTable
    cases: tuple[str, ...] = ("one", "two")

    @classmethod
    def of(cls, findings: list[Finding], candidates: list[Candidate]) -> Study:
        return cls(FindingTable.from_objects(findings, 2), CandidateTable.from_objects(candidates, 2))

    @property
    def match(self) -> MatchTable:
        return match(self.findings, self.candidates, self.cases)

    def causes(self, threshold: float = -np.inf, reach: CentreReach | None = None) -> dict[str, str]:
        """Return the cause of each row, by the candidate, or by the finding where it was missed."""
        at = match_at(self.match, threshold)
        names = np.where(at.kind == "fn", at.finding_id, at.candidate_id)
        causes = error_causes(at, self.findings, self.candidates, reach).cause
        return dict(zip(names.tolist(), causes.tolist(), strict=True))

    def effects(self) -> CauseEffects:
        return cause_effects(self.match, self.findings, self.candidates)


def test_each_cause_by_place() -> None:
    study = Study.of(
        [
            finding("found", 0),
            finding("brushed", 100),
            finding("lost", 200),
            finding("left out", 300, excluded=True),
        ],
        [
            candidate("hit", 1, 0.9),
            candidate("again", 2, 0.8),
            candidate("beside", 107, 0.7),
            candidate("nowhere", 50, 0.6),
            candidate("at twice the radius", 210, 0.5),
            candidate("near what is left out", 307, 0.4),
            candidate("in another case", 107, 0.3, case="two"),
        ],
    )
    assert study.causes() == {
        "hit": "",
        "again": "duplicate",
        "beside": "localisation",
        "brushed": "localisation",
        "nowhere": "background",
        "at twice the radius": "background",
        "lost": "missed",
        "near what is left out": "background",
        "in another case": "background",
    }


def test_a_miss_is_explained_only_by_what_counts_at_the_operating_point() -> None:
    study = Study.of([finding("f", 0)], [candidate("beside", 6, 0.4), candidate("further", -8, 0.6)])
    assert study.causes() == {"beside": "localisation", "further": "localisation", "f": "localisation"}
    assert study.causes(0.7) == {"f": "missed"}
    at = match_at(study.match, 0.0)
    causes = error_causes(at, study.findings, study.candidates)
    (miss,) = np.flatnonzero(at.kind == "fn")
    assert at.candidate_id[causes.explained_by[miss]] == "further"
    assert set(causes.explained_by[at.kind == "fp"].tolist()) == {-1}


def test_classes_where_labels_are_several() -> None:
    study = Study.of(
        [
            finding("m", 0, MASS),
            finding("c", 100, CALC),
            finding("both here", 200, CALC),
            finding("more", 206, MASS),
        ],
        [
            candidate("right", 0, 0.9, MASS),
            candidate("wrong", 100, 0.8, MASS),
            candidate("beside another class", 108, 0.7, MASS),
            candidate("of a class that nobody drew", 0.5, 0.6, "lesion"),
            candidate("right about one of two", 203, 0.5, CALC),
        ],
    )
    causes = study.causes()
    assert causes["right"] == ""
    assert causes["wrong"] == "class"
    assert causes["beside another class"] == "both"
    assert causes["of a class that nobody drew"] == "duplicate"
    assert causes["right about one of two"] == ""


def test_labels_do_not_matter_where_the_reference_has_one() -> None:
    assert Study.of([finding("f", 0, "nodule")], [candidate("c", 0, 0.9, "lesion")]).causes() == {"c": ""}


def test_under_a_rule_that_asks_for_the_class_a_false_positive_is_a_class_error() -> None:
    study = Study.of([finding("c", 0, CALC), finding("m", 90, MASS)], [candidate("x", 1, 0.9, MASS)])
    table = study.match
    (row,) = np.flatnonzero(table.kind == "tp")
    # what such a rule gives: the candidate hits nothing, and the finding is missed
    apart = MatchTable(
        kind=np.array(["fp", "fn", "fn"]),
        case_id=np.array(["one"] * 3),
        candidate_id=np.array(["x", "", ""]),
        finding_id=np.array(["", "c", "m"]),
        score=np.array([0.9, -np.inf, -np.inf]),
        distance=np.array([89.0, 1.0, 89.0]),
        candidate_centre=np.array([table.candidate_centre[row], [np.nan] * 2, [np.nan] * 2]),
        finding_centre=np.array([[np.nan] * 2, [0.0, 0.0], [90.0, 0.0]]),
        cases=("one",),
    )
    causes = error_causes(apart, study.findings, study.candidates)
    assert causes.cause.tolist() == ["class", "class", "missed"]
    assert causes.finding_row.tolist() == [0, 0, 1]
    assert causes.explained_by.tolist() == [-1, 0, -1]
    assert causes.counts["class"] == 2


def test_the_reach_can_be_chosen() -> None:
    study = Study.of([finding("f", 0)], [candidate("c", 12, 0.9)])
    assert study.causes()["c"] == "background"
    assert study.causes(reach=CentreReach(factor=3.0))["c"] == "localisation"
    unknown = Study.of([finding("f", 0, diameter=-1.0)], [candidate("c", 12, 0.9)])
    assert unknown.causes(reach=CentreReach(unknown_diameter=14.0))["c"] == "localisation"


class IntervalReach:
    """Nearness by the overlap of intervals along x, as IoU does it for boxes: to hit from 0.5, near from 0.1."""

    def __init__(self, candidates: CandidateTable) -> None:
        self.candidates = candidates

    def pairs(self, match: MatchTable, rows: NDArray[np.intp], findings: FindingTable) -> NearPairs:
        at = match.candidate_rows(self.candidates)[rows]
        ends = [
            np.stack([t.centres[:, 0] - t.diameters / 2, t.centres[:, 0] + t.diameters / 2])
            for t in (self.candidates.where(at), findings)
        ]
        low = np.maximum(ends[0][0][:, None], ends[1][0])
        high = np.minimum(ends[0][1][:, None], ends[1][1])
        shared = np.maximum(high - low, 0)
        iou = shared / (np.diff(ends[0], axis=0)[0][:, None] + np.diff(ends[1], axis=0)[0] - shared)
        here, there = np.nonzero(iou >= 0.1)
        return NearPairs(rows[here], there, iou[here, there] >= 0.5, 1 - iou[here, there])


def test_another_measure_of_nearness() -> None:
    study = Study.of([finding("f", 0)], [candidate("c", 6, 0.9)])
    at = study.match
    assert (
        error_causes(at, study.findings, study.candidates, IntervalReach(study.candidates)).counts[
            "localisation"
        ]
        == 2
    )


@pytest.mark.parametrize("ndim", [2, 3])
def test_empty_tables(ndim: int) -> None:
    nothing = FindingTable.from_objects([], ndim), CandidateTable.from_objects([], ndim)
    assert len(error_causes(match(*nothing, ["one"]), *nothing)) == 0
    alone = CandidateTable.from_objects([Candidate("one", (0.0,) * ndim, 0.5)])
    causes = error_causes(match(nothing[0], alone), nothing[0], alone)
    assert causes.cause.tolist() == ["background"]


@given(plain_findings(), plain_candidates())
def test_every_error_has_one_cause_and_nothing_else_has_any(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    tables = finding_table(findings), candidate_table(candidates)
    at = match_at(match(*tables, CASES), 0.25)
    causes = error_causes(at, *tables)
    is_error = ~np.isin(at.kind, ["tp", "ignored"])
    assert ((causes.cause != "") == is_error).all()
    assert (causes.code[at.kind == "duplicate"] == causes.code[causes.cause == "duplicate"]).all()
    explained = causes.explained_by >= 0
    assert (at.kind[causes.explained_by[explained]] == "fp").all()
    assert (causes.finding_row[causes.explained_by[explained]] == causes.finding_row[explained]).all()
    assert (explained == ((at.kind == "fn") & (causes.cause != "missed"))).all()


@given(plain_findings(), plain_candidates())
def test_localisation_errors_are_those_near_a_finding_worked_out_plainly(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    tables = finding_table(findings), candidate_table(candidates)
    table = match(*tables, CASES)
    causes = error_causes(table, *tables)
    for row in np.flatnonzero(table.kind == "fp"):
        case, centre = str(table.case_id[row]), table.candidate_centre[row]
        near = any(
            np.linalg.norm(centre - f.centre) < (10.0 if f.diameter < 0 else f.diameter)
            for f in findings
            if f.case == case and not f.excluded
        )
        assert causes.cause[row] == ("localisation" if near else "background")


def test_what_each_cause_costs() -> None:
    study = Study.of(
        [finding("found", 0), finding("brushed", 100), finding("lost", 200)],
        [
            candidate("hit", 0, 0.5),
            candidate("beside", 107, 0.7),
            *(candidate(f"wrong {n}", 400 + n, 0.6) for n in range(20)),
        ],
    )
    effects = study.effects()
    assert effects.cpm == froc(study.match).cpm == 0.0
    assert effects.counts == {
        "background": 20,
        "localisation": 1,
        "duplicate": 0,
        "class": 0,
        "both": 0,
        "missed": 1,
    }
    # beside becomes a hit at once; the 20 others, ten a scan, still hide the first
    assert effects.gains["localisation"] == pytest.approx(1 / 3)
    # without them the first is found from half a false positive a scan on, and in part before that
    assert effects.gains["background"] == pytest.approx(froc(without(study, "wrong")).cpm)
    assert effects.gain_without_false_positives == pytest.approx(1 / 3)
    assert effects.gains["missed"] == 0.0
    assert effects.gains["class"] == effects.gains["both"] == effects.gains["duplicate"] == 0.0


def without(study: Study, name: str) -> MatchTable:
    kept = [not each.startswith(name) for each in study.candidates.ids.tolist()]
    return match(study.findings, study.candidates.where(kept), study.cases)


def test_a_wrong_label_costs_a_finding_and_a_false_positive() -> None:
    study = Study.of(
        [finding("c", 0, CALC), finding("m", 100, MASS)],
        [candidate("wrong", 0, 0.9, MASS), candidate("right", 100, 0.8, MASS)],
    )
    effects = study.effects()
    assert froc(study.match).cpm == 1.0
    assert effects.cpm < 0.5
    assert effects.cpm + effects.gains["class"] == pytest.approx(1.0)


def test_a_duplicate_of_the_right_label_finds_what_the_first_called_wrong() -> None:
    study = Study.of(
        [finding("c", 0, CALC), finding("m", 100, MASS)],
        [
            candidate("wrong", 0, 0.9, MASS),
            candidate("right after all", 1, 0.85, CALC),
            candidate("m", 100, 0.99),
        ],
    )
    effects = study.effects()
    # m at 0.99, a false positive at 0.9, c at 0.85: half the findings at no cost, and all from half a scan on
    assert effects.cpm == pytest.approx((2 * 0.5 + 5 * 1.0) / 7)
    assert effects.cpm + effects.gains["class"] == pytest.approx(1.0)
    assert effects.counts["class"] == 1


def test_leaving_out_what_was_missed_raises_the_rest() -> None:
    effects = Study.of([finding("a", 0), finding("b", 100)], [candidate("hit", 0, 0.9)]).effects()
    assert (effects.cpm, effects.gains["missed"], effects.gain_without_misses) == (0.5, 0.5, 0.5)


def test_without_findings_there_is_no_figure() -> None:
    assert np.isnan(Study.of([], [candidate("c", 0, 0.5)]).effects().cpm)


def test_a_candidate_of_the_wrong_class_on_two_findings_is_one_false_positive() -> None:
    findings = FindingTable.from_objects(
        [
            *(Finding("a", (float(n), 0.0, 0.0), 9.0, "mass", finding_id=f"m{n}") for n in range(2)),
            Finding("b", (0.0, 0.0, 0.0), 9.0, "calcification", finding_id="c"),
        ]
    )
    wrong = Candidate("a", (0.0, 0.0, 0.0), 0.9, label="calcification", candidate_id="wrong")
    right = Candidate("b", (0.0, 0.0, 0.0), 0.5, label="calcification", candidate_id="right")
    candidates = CandidateTable.from_objects([wrong, right])
    effects = cause_effects(match(findings, candidates), findings, candidates)
    assert effects.counts["class"] == 1
    # one false positive above the hit on two scans: found from half a false positive per scan on, at 5 of 7 points
    assert effects.cpm == pytest.approx(5 / 7 / 3)
