from __future__ import annotations

import numpy as np
import pytest
from evaluation_examples import (
    CASES,
    candidate_table,
    finding_table,
    plain_candidates,
    plain_findings,
    random_study,
)
from hypothesis import given, settings
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import Luna16Rule, Resampling, match
from napari_medlab.evaluation.strata import (
    UNKNOWN,
    by_case,
    by_class,
    by_finding,
    match_of_cases,
    size_classes,
    size_names,
)

RULE = Luna16Rule(max_marks=None)


@settings(max_examples=40, deadline=None)
@given(plain_findings(), plain_candidates())
def test_a_stratum_of_cases_is_the_evaluation_of_these_cases(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    tables = finding_table(findings), candidate_table(candidates)
    reports = by_case(match(*tables, CASES, RULE), {"one": "A", "two": "B", "three": "A"})
    assert list(reports) == ["A", "B", UNKNOWN]
    for name, cases in (("A", ["one", "three"]), ("B", ["two"]), (UNKNOWN, ["four"])):
        assert reports[name].match.counts == match(*tables, cases, RULE).counts
        assert reports[name].match.cases == tuple(cases)


@settings(max_examples=60, deadline=None)
@given(plain_findings(), plain_candidates())
def test_findings_outside_a_stratum_count_as_excluded_ones(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    tables = finding_table(findings), candidate_table(candidates)
    names = ["odd" if row % 2 else "even" for row in range(len(findings))]
    reports = by_finding(match(*tables, CASES, RULE), tables[0], names)
    for name, report in reports.items():
        outside = np.array([each != name for each in names], dtype=bool)
        again = FindingTable(
            tables[0].ids, tables[0].case_ids, tables[0].labels, tables[0].centres, tables[0].diameters,
            tables[0].is_excluded | outside,
        )  # fmt: skip
        expected = match(again, tables[1], CASES, RULE)
        assert report.match.counts == expected.counts
        assert sorted(report.match.score[report.match.kind == "tp"]) == sorted(
            expected.score[expected.kind == "tp"]
        )


def test_sizes() -> None:
    findings = finding_table([PlainFinding("one", (0.0, 0.0, 0.0), d) for d in (5.9, 6.0, 9.9, 30.0, -1.0)])
    assert size_classes(findings, (6.0, 10.0)) == ["below 6", "6 to 10", "6 to 10", "10 and above", UNKNOWN]
    assert size_names((6.0, 10.0)) == ("below 6", "6 to 10", "10 and above", UNKNOWN)
    assert set(size_classes(findings, ())) == {"all", UNKNOWN}
    with pytest.raises(InputRefusedError, match="10, 6"):
        size_classes(findings, (10.0, 6.0))


def test_strata_keep_their_order_and_have_intervals() -> None:
    findings, candidates, cases = random_study(2)
    tables = finding_table(findings), candidate_table(candidates)
    sizes = size_classes(tables[0], (8.0, 12.0))
    groups = {case: case[:-1] for case in cases}
    reports = by_finding(
        match(*tables, cases),
        tables[0],
        sizes,
        order=size_names((8.0, 12.0)),
        resampling=Resampling(40),
        groups=groups,
    )
    assert list(reports) == ["below 8", "8 to 12", "12 and above"]
    whole = match(*tables, cases).counts
    assert sum(each.match.n_findings for each in reports.values()) == whole["tp"] + whole["fn"]
    assert {each.match.counts["fp"] for each in reports.values()} == {whole["fp"]}
    for each in reports.values():
        assert each.intervals is not None
        low, high = each.intervals.cpm
        assert low <= each.curve.cpm <= high
    folds = by_case(match(*tables, cases), {case: str(n % 11) for n, case in enumerate(cases)})
    assert list(folds) == [str(n) for n in range(11)]


def test_every_finding_needs_a_stratum() -> None:
    findings = finding_table([PlainFinding("one", (0.0, 0.0, 0.0), 8.0)])
    with pytest.raises(ValueError, match="1 findings and 2"):
        by_finding(match(findings, candidate_table([])), findings, ["a", "b"])


def labelled(labels: tuple[str, ...], called: tuple[str, ...]) -> tuple[FindingTable, CandidateTable]:
    found = [
        Finding("one", (50.0 * n, 0.0), 8.0, label, finding_id=f"f{n}") for n, label in enumerate(labels)
    ]
    places = [Candidate("one", (50.0 * n, 0.0), 0.5, label=label) for n, label in enumerate(labels)]
    wrong = [Candidate("one", (-100.0, 9.0 * n), 0.4, label=label) for n, label in enumerate(called)]
    return FindingTable.from_objects(found, 2), CandidateTable.from_objects([*places, *wrong], 2)


def test_a_class_has_the_false_positives_that_were_called_so() -> None:
    tables = labelled(("mass", "calcification"), ("mass", "mass", "calcification", "lesion"))
    reports = by_class(match(*tables), *tables)
    assert list(reports) == ["calcification", "mass"]
    assert {name: each.match.counts["fp"] for name, each in reports.items()} == {
        "mass": 3,
        "calcification": 2,
    }
    assert {name: each.match.counts["tp"] for name, each in reports.items()} == {
        "mass": 1,
        "calcification": 1,
    }


def test_no_findings_make_no_strata() -> None:
    findings = finding_table([])
    table = match(findings, candidate_table([]), CASES)
    assert by_finding(table, findings, []) == {}
    assert match_of_cases(table, ["two"]).cases == ("two",)
