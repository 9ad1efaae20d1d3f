from __future__ import annotations

import numpy as np
import plain_luna16
import pytest
from evaluation_examples import CASES, candidate_table, finding_table, plain_candidates, plain_findings
from hypothesis import given
from hypothesis import strategies as st
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import RULES, Luna16Rule, MatchTable, match, register_rule

ORIGIN = (0.0, 0.0, 0.0)


def at(x: float, score: float, case: str = "one") -> PlainCandidate:
    return PlainCandidate(case, (x, 0.0, 0.0), score)


def rows(table: MatchTable) -> list[tuple[str, str, str]]:
    return sorted(
        zip(table.kind.tolist(), table.finding_id.tolist(), table.candidate_id.tolist(), strict=True)
    )


def matched(findings: list[PlainFinding], candidates: list[PlainCandidate]) -> MatchTable:
    return match(finding_table(findings), candidate_table(candidates), ["one"])


def test_a_candidate_inside_the_radius_hits() -> None:
    table = matched([PlainFinding("one", ORIGIN, 8.0)], [at(3.999, 0.5)])
    assert rows(table) == [("tp", "f0", "c0")]
    assert table.distance.tolist() == [3.999]
    assert table.score.tolist() == [0.5]


def test_a_candidate_exactly_on_the_radius_does_not_hit() -> None:
    table = matched([PlainFinding("one", ORIGIN, 8.0)], [at(4.0, 0.5)])
    assert rows(table) == [("fn", "f0", ""), ("fp", "", "c0")]


@pytest.mark.parametrize(("x", "kind"), [(4.9, "tp"), (5.0, "fn")])
def test_an_unknown_diameter_counts_as_10_mm(x: float, kind: str) -> None:
    assert matched([PlainFinding("one", ORIGIN, -1.0)], [at(x, 0.5)]).counts[kind] == 1  # type: ignore[index]


def test_a_finding_without_extent_is_never_hit() -> None:
    assert matched([PlainFinding("one", ORIGIN, 0.0)], [at(0.0, 0.5)]).counts["fn"] == 1


def test_the_highest_score_is_taken_and_the_others_are_duplicates() -> None:
    table = matched([PlainFinding("one", ORIGIN, 8.0)], [at(0, 0.5), at(2, 0.9), at(1, 0.7)])
    assert rows(table) == [("duplicate", "f0", "c0"), ("duplicate", "f0", "c2"), ("tp", "f0", "c1")]
    assert table.score[table.kind == "tp"].tolist() == [0.9]


def test_among_equal_scores_the_first_in_order_is_taken() -> None:
    table = matched([PlainFinding("one", ORIGIN, 8.0)], [at(2, 0.5), at(0, 0.5)])
    assert rows(table) == [("duplicate", "f0", "c1"), ("tp", "f0", "c0")]


def test_a_candidate_inside_two_findings_serves_both() -> None:
    findings = [PlainFinding("one", ORIGIN, 8.0), PlainFinding("one", (2.0, 0.0, 0.0), 8.0)]
    assert rows(matched(findings, [at(1, 0.5)])) == [("tp", "f0", "c0"), ("tp", "f1", "c0")]


def test_a_candidate_can_be_best_for_one_finding_and_a_duplicate_for_another() -> None:
    findings = [PlainFinding("one", ORIGIN, 8.0), PlainFinding("one", (5.0, 0.0, 0.0), 8.0)]
    table = matched(findings, [at(2, 0.5), at(6, 0.9)])
    assert rows(table) == [("duplicate", "f1", "c0"), ("tp", "f0", "c0"), ("tp", "f1", "c1")]
    assert table.n_candidates == 2


def test_a_candidate_on_an_excluded_finding_is_ignored() -> None:
    table = matched([PlainFinding("one", ORIGIN, 8.0, excluded=True)], [at(1, 0.5), at(9, 0.4)])
    assert rows(table) == [("fp", "", "c1"), ("ignored", "f0", "c0")]
    assert table.n_findings == 0


def test_an_excluded_finding_that_nothing_hits_has_no_row() -> None:
    assert len(matched([PlainFinding("one", ORIGIN, 8.0, excluded=True)], [])) == 0


def test_included_findings_come_before_excluded_ones_in_whatever_order() -> None:
    findings = [PlainFinding("one", ORIGIN, 8.0, excluded=True), PlainFinding("one", ORIGIN, 8.0)]
    assert rows(matched(findings, [at(1, 0.5)])) == [("tp", "f1", "c0")]


def test_an_ignored_candidate_is_ignored_once_and_by_the_nearest_that_it_hits() -> None:
    findings = [
        PlainFinding("one", ORIGIN, 20.0, excluded=True),
        PlainFinding("one", (3.0, 0.0, 0.0), 1.0, excluded=True),
        PlainFinding("one", (1.0, 0.0, 0.0), 20.0, excluded=True),
    ]
    table = matched(findings, [at(2, 0.5)])
    assert rows(table) == [("ignored", "f2", "c0")]
    assert table.distance.tolist() == [1.0]


def test_a_miss_tells_how_far_the_nearest_candidate_was() -> None:
    table = matched([PlainFinding("one", ORIGIN, 2.0)], [at(7, 0.5), at(-3, 0.1)])
    assert table.distance[table.kind == "fn"].tolist() == [3.0]
    assert table.score[table.kind == "fn"].tolist() == [-np.inf]
    assert np.isnan(table.candidate_centre[table.kind == "fn"]).all()


def test_a_miss_in_a_case_without_candidates_is_infinitely_far() -> None:
    assert matched([PlainFinding("one", ORIGIN, 2.0)], [at(0, 0.5, "two")]).distance.tolist() == [np.inf]


def test_a_false_positive_tells_how_far_the_nearest_included_finding_is() -> None:
    findings = [PlainFinding("one", ORIGIN, 2.0), PlainFinding("one", (6.0, 0.0, 0.0), 2.0, excluded=True)]
    table = matched(findings, [at(5, 0.5)])
    assert table.distance[table.kind == "fp"].tolist() == [5.0]


def test_only_the_100_highest_scored_marks_of_a_case_count() -> None:
    candidates = [at(100.0 + i, i / 1000) for i in range(150)]
    table = matched([], candidates)
    assert table.n_candidates == 100
    assert set(table.candidate_id.tolist()) == {f"c{i}" for i in range(50, 150)}


def test_among_equal_marks_the_first_in_order_are_kept() -> None:
    table = matched([], [at(100.0 + i, 0.5) for i in range(101)])
    assert set(table.candidate_id.tolist()) == {f"c{i}" for i in range(100)}


def test_the_challenge_script_drops_all_marks_tied_at_the_limit() -> None:
    candidates = candidate_table([at(0, 0.9), at(1, 0.5), at(2, 0.5), at(3, 0.1)])
    rule = Luna16Rule(max_marks=2, drop_tied_marks=True)
    assert match(finding_table([]), candidates, ["one"], rule).candidate_id.tolist() == ["c0"]


def test_the_limit_holds_for_each_case_by_itself() -> None:
    candidates = [at(i, 0.5, case) for i in range(3) for case in ("one", "two")]
    table = match(finding_table([]), candidate_table(candidates), ["one", "two"], Luna16Rule(max_marks=2))
    assert table.case_id.tolist() == ["one", "one", "two", "two"]


def test_all_of_the_many_objects_of_a_slide_can_be_found() -> None:
    places = [(float(10 * n), 0.0, 0.0) for n in range(150)]
    findings = FindingTable.from_objects([Finding("slide", place, 8.0) for place in places])
    candidates = CandidateTable.from_objects([Candidate("slide", place, 0.5, 8.0) for place in places])
    assert match(findings, candidates).counts["tp"] == 150
    assert match(findings, candidates, rule=Luna16Rule()).counts["tp"] == 100


def test_rows_of_other_cases_are_left_out_and_cases_without_rows_are_kept() -> None:
    findings = finding_table([PlainFinding("two", ORIGIN, 8.0)])
    table = match(findings, candidate_table([at(0, 0.5, "three")]), ["one", "one"])
    assert len(table) == 0
    assert table.cases == ("one",)


def test_without_a_list_all_cases_that_occur_are_evaluated() -> None:
    table = match(finding_table([PlainFinding("two", ORIGIN, 8.0)]), candidate_table([at(0, 0.5, "three")]))
    assert table.cases == ("two", "three")


def test_different_dimensions_are_refused() -> None:
    findings = finding_table([PlainFinding("one", (0.0, 0.0), 8.0)])
    with pytest.raises(ValueError, match="2 coordinates and candidates 3"):
        match(findings, candidate_table([at(0, 0.5)]))


def test_an_empty_table_matches_any_dimension() -> None:
    table = match(finding_table([], 3), candidate_table([PlainCandidate("one", (1.0, 2.0), 0.5)], 2))
    assert table.candidate_centre.tolist() == [[1.0, 2.0]]


def test_a_rule_can_be_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_medlab.evaluation.matching.RULES", dict(RULES))
    rule = Luna16Rule(unknown_diameter=4)
    register_rule("narrow", rule)
    findings = finding_table([PlainFinding("one", ORIGIN, -1)])
    assert match(findings, candidate_table([at(3, 0.5)]), rule="narrow").counts["tp"] == 0
    with pytest.raises(ValueError, match="'narrow'"):
        register_rule("narrow", rule)


@given(
    st.integers(2, 3).flatmap(lambda n: st.tuples(st.just(n), plain_findings(n), plain_candidates(n))),
    st.integers(1, 8),
)
def test_counts_agree_with_the_plain_rules(
    study: tuple[int, list[PlainFinding], list[PlainCandidate]], max_marks: int
) -> None:
    ndim, findings, candidates = study
    cases = CASES[:3]  # rows of the fourth are left out
    table = match(
        finding_table(findings, ndim),
        candidate_table(candidates, ndim),
        cases,
        Luna16Rule(max_marks=max_marks),
    )
    plain = plain_luna16.evaluate_cases(findings, candidates, cases, max_marks)
    assert table.counts == plain_luna16.counts(plain)
    assert table.n_candidates == sum(each.candidates for each in plain)
    assert table.n_findings == sum(each.findings for each in plain)
    assert sorted(table.score[table.kind == "tp"]) == sorted(s for each in plain for s in each.hits)
    assert sorted(table.score[table.kind == "fp"]) == sorted(s for each in plain for s in each.alarms)
