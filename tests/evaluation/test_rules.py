"""What every matching rule promises, whatever it goes by."""

from __future__ import annotations

from collections import Counter

import numpy as np
import plain_luna16
import pytest
from evaluation_examples import CASES, candidate_table, finding_table, plain_candidates, plain_findings
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import (
    RULES,
    CamelyonRule,
    Luna16Rule,
    MatchRule,
    MatchTable,
    OverlapRule,
    Shapes,
    match,
    match_at,
    rule_by_name,
)

ALL_RULES: list[MatchRule] = [
    Luna16Rule(),
    Luna16Rule(max_marks=3),
    OverlapRule(iou=0.1, unknown_diameter=10.0),
    OverlapRule(iou=0.3, duplicates_count=False, unknown_diameter=10.0, max_marks=4),
    OverlapRule(iou=0.1, assignment="overlap", duplicates_count=False, unknown_diameter=10.0),
    CamelyonRule(unknown_diameter=10.0),
    CamelyonRule(unknown_diameter=10.0, margin=1.0, smallest=2.5),
]
RULE_IDS = ["luna16", "luna16 of 3", "iou", "iou of 4", "picai", "camelyon", "camelyon wide"]
dimensions = st.integers(2, 3)


def sized(table: CandidateTable) -> CandidateTable:
    """Return candidates of different sizes."""
    diameters = np.array([2.0, 3.0, 6.0, -1.0])[np.arange(len(table)) % 4]
    return CandidateTable(table.ids, table.case_ids, table.labels, table.centres, diameters, table.scores)


def studies(ndim: int) -> st.SearchStrategy[tuple[FindingTable, CandidateTable]]:
    return st.tuples(
        plain_findings(ndim).map(lambda each: finding_table(each, ndim)),
        plain_candidates(ndim).map(lambda each: sized(candidate_table(each, ndim))),
    )


def rows_of(table: MatchTable) -> Counter[tuple[str, ...]]:
    columns = (table.kind, table.case_id, table.candidate_id, table.finding_id)
    return Counter(zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.parametrize("rule", ALL_RULES, ids=RULE_IDS)
@settings(max_examples=30, deadline=None)
@given(dimensions.flatmap(studies))
def test_every_finding_and_every_candidate_is_accounted_for(
    rule: MatchRule, study: tuple[FindingTable, CandidateTable]
) -> None:
    findings, candidates = study
    table = rule.match(findings, candidates, CASES[:3])
    assert set(table.case_id.tolist()) <= set(CASES[:3])
    decided = Counter(table.finding_id[table.is_finding].tolist())
    assert set(decided.values()) <= {1}
    ignored_or_tp = Counter(table.candidate_id[(table.kind == "ignored") | (table.kind == "fp")].tolist())
    assert set(ignored_or_tp.values()) <= {1}
    excluded = set(findings.ids[findings.is_excluded].tolist())
    of_excluded = set(table.kind[np.isin(table.finding_id, list(excluded))].tolist())
    assert of_excluded <= {"ignored"}
    if not getattr(rule, "smallest", 0):
        included = findings.ids[~findings.is_excluded & np.isin(findings.case_ids, CASES[:3])]
        assert set(decided) == set(included.tolist())
    if getattr(rule, "max_marks", None) is None:
        seen = set(table.candidate_id.tolist()) - {""}
        assert seen == set(candidates.ids[np.isin(candidates.case_ids, CASES[:3])].tolist())
    # what a row says is what the tables say
    has = table.candidate_rows(candidates) >= 0
    np.testing.assert_array_equal(table.score[has], candidates.scores[table.candidate_rows(candidates)[has]])
    assert (table.score[~has] == -np.inf).all()
    assert np.isnan(table.finding_centre[table.kind == "fp"]).all()


@pytest.mark.parametrize("rule", ALL_RULES, ids=RULE_IDS)
@settings(max_examples=20, deadline=None)
@given(dimensions.flatmap(studies))
def test_the_order_of_rows_does_not_matter_where_scores_differ(
    rule: MatchRule, study: tuple[FindingTable, CandidateTable]
) -> None:
    findings, candidates = study
    # different scores, sizes and places: no ties of any kind
    rng = np.random.default_rng(len(findings) * 100 + len(candidates))
    candidates = CandidateTable(
        candidates.ids, candidates.case_ids, candidates.labels,
        candidates.centres + rng.uniform(-0.4, 0.4, candidates.centres.shape),
        candidates.diameters, rng.permutation(len(candidates)) / 100.0,
    )  # fmt: skip
    findings = FindingTable(
        findings.ids, findings.case_ids, findings.labels,
        findings.centres + rng.uniform(-0.4, 0.4, findings.centres.shape),
        # what lies wholly in two findings of one size would overlap them alike
        np.abs(findings.diameters) + rng.permutation(len(findings)) / 100.0, findings.is_excluded,
    )  # fmt: skip
    shuffled = (
        findings.where(rng.permutation(len(findings))),
        candidates.where(rng.permutation(len(candidates))),
    )
    here, there = rule.match(findings, candidates, CASES), rule.match(*shuffled, CASES[::-1])
    assert rows_of(here) == rows_of(there)


@pytest.mark.parametrize("first", [0, 1])
def test_of_findings_that_a_candidate_overlaps_alike_the_nearest_is_found(first: int) -> None:
    far, near = PlainFinding("one", (3.0, 0.0), 20.0), PlainFinding("one", (1.0, 0.0), 20.0)
    findings = finding_table([far, near][:: 1 - 2 * first], 2)
    candidates = sized(candidate_table([PlainCandidate("one", (0.0, 0.0), 0.9)], 2))
    table = OverlapRule(iou=0.001).match(findings, candidates, CASES)
    (found,) = table.finding_id[table.kind == "tp"].tolist()
    assert findings.centres[findings.row_of(found)].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("rule", ALL_RULES, ids=RULE_IDS)
@settings(max_examples=20, deadline=None)
@given(studies(3))
def test_matching_again_gives_the_same_table_and_changes_nothing(
    rule: MatchRule, study: tuple[FindingTable, CandidateTable]
) -> None:
    findings, candidates = study
    before = findings.centres.copy(), candidates.centres.copy(), findings.is_excluded.copy()
    tables = [rule.match(findings, candidates, CASES) for _ in range(2)]
    for column in ("kind", "candidate_id", "finding_id", "score", "distance"):
        np.testing.assert_array_equal(getattr(tables[0], column), getattr(tables[1], column))
    for was, now in zip(before, (findings.centres, candidates.centres, findings.is_excluded), strict=True):
        np.testing.assert_array_equal(was, now)


@pytest.mark.parametrize(
    "rule",
    [Luna16Rule(), OverlapRule(iou=0.1, unknown_diameter=10.0), CamelyonRule(unknown_diameter=10.0)],
    ids=["luna16", "iou", "camelyon"],
)
@settings(max_examples=30, deadline=None)
@given(plain_findings(), plain_candidates(), st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_an_operating_point_gives_the_counts_of_the_candidates_above_it(
    rule: MatchRule, findings: list[PlainFinding], candidates: list[PlainCandidate], threshold: float
) -> None:
    tables = finding_table(findings), sized(candidate_table(candidates))
    above = tables[1].where(tables[1].scores >= threshold)
    at_once = match_at(rule.match(*tables, CASES), threshold)
    assert at_once.counts == rule.match(tables[0], above, CASES).counts


@settings(max_examples=50, deadline=None)
@given(dimensions.flatmap(lambda n: st.tuples(st.just(n), plain_findings(n), plain_candidates(n))))
def test_with_balls_for_lesions_camelyon_counts_as_luna16_without_its_limit(
    study: tuple[int, list[PlainFinding], list[PlainCandidate]],
) -> None:
    ndim, findings, candidates = study
    table = CamelyonRule(unknown_diameter=10.0).match(
        finding_table(findings, ndim), candidate_table(candidates, ndim), CASES
    )
    plain = plain_luna16.evaluate_cases(findings, candidates, CASES, max_marks=1000)
    assert table.counts == plain_luna16.counts(plain)


def test_rules_have_names() -> None:
    assert {"luna16", "iou", "picai", "camelyon"} <= set(RULES)
    assert rule_by_name("luna16") == Luna16Rule(marks_per_finding=4)
    shapes = Shapes()
    chosen = rule_by_name("iou", shapes, iou=0.25)
    assert isinstance(chosen, OverlapRule)
    assert (chosen.iou, chosen.shapes) == (0.25, shapes)
    assert rule_by_name("picai").iou == 0.1  # type: ignore[attr-defined]
    assert rule_by_name("camelyon", shapes).shapes is shapes  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "iou", "what"), [("none", None, "'none'"), ("luna16", 0.5, "got 0.5"), ("iou", 0.0, "got 0")]
)
def test_what_is_no_rule_is_refused(name: str, iou: float | None, what: str) -> None:
    with pytest.raises(InputRefusedError, match=what) as refusal:
        rule_by_name(name, iou=iou)
    assert refusal.value.code == "rule"


def test_a_rule_by_overlap_refuses_objects_without_extent() -> None:
    findings = finding_table([PlainFinding("one", (0.0, 0.0, 0.0), 8.0)])
    candidates = candidate_table([PlainCandidate("one", (0.0, 0.0, 0.0), 0.5)])
    with pytest.raises(InputRefusedError, match="'c0' among them") as refusal:
        match(findings, candidates, rule="iou")
    assert refusal.value.code == "no-extent"
    assert "luna16" in refusal.value.hint
