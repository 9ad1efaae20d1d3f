from __future__ import annotations

import pytest

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import match, match_at
from napari_medlab.hardcases.errors.disagreements import (
    MarkedRun,
    disagreements_of_runs,
    disagreements_of_verdicts,
)

FINDINGS = FindingTable.from_objects(
    [Finding("one", (100.0 * n, 0.0, 0.0), 10.0, finding_id=f"f{n}") for n in range(4)]
)


def run(name: str, *marks: tuple[str, float, float], threshold: float = 0.5) -> MarkedRun:
    """Return a run that marked (id, x, score)."""
    candidates = CandidateTable.from_objects(
        [Candidate("one", (x, 0.0, 0.0), s, 6.0, "nodule", i) for i, x, s in marks]
    )
    return MarkedRun(name, match_at(match(FINDINGS, candidates, ["one"]), threshold), candidates)


def test_runs_that_agree_have_no_disagreement() -> None:
    a = run("a", ("a0", 0, 0.9), ("a1", 50, 0.8))
    b = run("b", ("b0", 1, 0.7), ("b1", 52, 0.6))
    assert len(disagreements_of_runs(a, b, FINDINGS)) == 0


def test_what_one_run_found_or_marked_alone_largest_difference_first() -> None:
    a = run("unet", ("a0", 0, 0.9), ("a1", 100, 0.25), ("a2", 350, 0.6))
    b = run(
        "retina", ("b0", 0, 0.8), ("b1", 100, 0.7), ("b2", 200, 0.95), ("b3", 450, 0.55), ("b4", 460, 0.2)
    )
    table = disagreements_of_runs(a, b, FINDINGS)
    assert {item.kind for item in table} == {"disagreement"}
    # 0.95, 0.6 and 0.55 against the lowest score of all, 0.2; 0.7 against 0.25
    assert [(item.object_id, item.other, item.score) for item in table] == [
        ("f2", "found by retina, missed by unet", 0.95),
        ("f1", "found by retina, missed by unet", 0.7),
        ("a2", "marked by unet alone", 0.6),
        ("b3", "marked by retina alone", 0.55),
    ]


@pytest.mark.parametrize(("radius", "expected"), [(5.0, 2), (15.0, 0)])
def test_how_far_apart_two_false_positives_may_be(radius: float, expected: int) -> None:
    a, b = run("a", ("a0", 50, 0.9)), run("b", ("b0", 60, 0.9))
    assert len(disagreements_of_runs(a, b, FINDINGS, radius)) == expected


def test_readers_who_differ_those_most_divided_first() -> None:
    candidates = CandidateTable.from_objects([Candidate("two", (5.0, 0.0, 0.0), 0.4, candidate_id="c")])
    by_reader = {
        "ann": {"f0": "agreed", "f1": "agreed", "c": "model wrong", "f3": "agreed", "gone": "agreed"},
        "bob": {"f0": "agreed", "f1": "ambiguous", "c": "agreed", "gone": "ambiguous"},
        "cyd": {"f1": "ambiguous", "c": "reference wrong"},
    }
    table = disagreements_of_verdicts(by_reader, FINDINGS, candidates)
    assert [(item.object_id, item.case_id, item.other) for item in table] == [
        ("c", "two", "ann: model wrong; bob: agreed; cyd: reference wrong"),
        ("f1", "one", "ann: agreed; bob: ambiguous; cyd: ambiguous"),
    ]
    assert table[0].score == 0.4
    assert len(disagreements_of_verdicts({}, FINDINGS, candidates)) == 0
