from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import match, match_at
from napari_medlab.hardcases.errors.building import (
    OutlineScores,
    QueueItem,
    errors_at,
    low_confidence,
    poor_outlines,
)

if TYPE_CHECKING:
    from napari_medlab.hardcases.errors.table import ErrorTable

FINDINGS = FindingTable.from_objects(
    [
        Finding("one", (0.0, 0.0, 0.0), 8.0, finding_id="found"),
        Finding("one", (50.0, 0.0, 0.0), 8.0, finding_id="nearly found"),
        Finding("two", (0.0, 0.0, 0.0), 6.0, finding_id="unmarked, small"),
        Finding("two", (60.0, 0.0, 0.0), 20.0, finding_id="unmarked, large"),
        Finding("two", (0.0, 90.0, 0.0), 4.0, is_excluded=True, finding_id="excluded"),
    ]
)
CANDIDATES = CandidateTable.from_objects(
    [
        Candidate("one", (1.0, 0.0, 0.0), 0.9, 7.0, candidate_id="hit"),
        Candidate("one", (51.0, 0.0, 0.0), 0.3, 7.0, candidate_id="too faint"),
        Candidate("one", (0.0, 30.0, 0.0), 0.6, 5.0, "nodule", "wrong, less sure"),
        Candidate("two", (0.0, 0.0, 40.0), 0.8, 5.0, "nodule", "wrong, sure"),
        Candidate("two", (0.0, 90.0, 0.0), 0.95, 5.0, "nodule", "on an excluded one"),
        Candidate("two", (0.0, 0.0, 80.0), 0.4, 5.0, "nodule", "wrong, too faint"),
    ]
)


def queue(kinds: tuple[str, ...] = ("fp", "fn"), threshold: float = 0.5) -> ErrorTable:
    matched = match_at(match(FINDINGS, CANDIDATES, ["one", "two"]), threshold)
    return errors_at(matched, FINDINGS, CANDIDATES, kinds)  # type: ignore[arg-type]


def test_the_worst_comes_first_and_kinds_take_turns() -> None:
    assert [item.object_id for item in queue()] == [
        "wrong, sure",
        "nearly found",
        "wrong, less sure",
        "unmarked, large",
        "unmarked, small",
    ]


def test_a_row_says_where_and_how_far_off() -> None:
    by_id = {item.object_id: item for item in queue()}
    wrong = by_id["wrong, sure"]
    assert (wrong.kind, wrong.case_id, wrong.centre, wrong.diameter) == ("fp", "two", (0.0, 0.0, 40.0), 5.0)
    assert (wrong.score, wrong.distance) == (0.8, 40.0)
    near = by_id["nearly found"]
    assert (near.kind, near.score, near.distance) == ("fn", 0.3, 1.0)
    assert by_id["unmarked, large"].score == 0.0


def test_one_kind_alone() -> None:
    assert {item.kind for item in queue(("fp",))} == {"fp"}
    assert {item.kind for item in queue(("fn",))} == {"fn"}


def test_at_a_lower_threshold_there_are_fewer_misses_and_more_false_positives() -> None:
    kinds = [item.kind for item in queue(threshold=0.2)]
    assert (kinds.count("fp"), kinds.count("fn")) == (3, 2)


def test_an_infinite_distance_becomes_none_in_json() -> None:
    lonely = QueueItem("fn", "f", "c", (0.0, 0.0, 0.0), 5.0, 0.0, math.inf, "nodule")
    assert lonely.as_json()["distance"] is None
    assert lonely.as_json()["centre"] == [0.0, 0.0, 0.0]


def test_every_error_says_why() -> None:
    assert {item.object_id: item.cause for item in queue()} == {
        "wrong, sure": "background",
        "wrong, less sure": "background",
        "nearly found": "missed",
        "unmarked, large": "missed",
        "unmarked, small": "missed",
    }


def test_duplicates_take_turns_where_they_are_wanted() -> None:
    again = Candidate("one", (2.0, 0.0, 0.0), 0.7, 7.0, candidate_id="again")
    candidates = CandidateTable.from_objects([*objects(CANDIDATES), again])
    at = match_at(match(FINDINGS, candidates, ["one", "two"]), 0.5)
    table = errors_at(at, FINDINGS, candidates, ("fp", "fn", "duplicate"))
    assert [item.kind for item in table[:4]] == ["fp", "fn", "duplicate", "fp"]
    (duplicate,) = (item for item in table if item.kind == "duplicate")
    assert (duplicate.object_id, duplicate.cause, duplicate.distance) == ("again", "duplicate", 2.0)
    assert len(errors_at(at, FINDINGS, candidates, ())) == 0


def objects(table: CandidateTable) -> list[Candidate]:
    return [
        Candidate(str(table.case_ids[n]), tuple(table.centres[n].tolist()), float(table.scores[n]),
                  float(table.diameters[n]), str(table.labels[n]), str(table.ids[n]))
        for n in range(len(table))
    ]  # fmt: skip


def test_one_class_taken_for_another_says_for_which() -> None:
    findings = FindingTable.from_objects(
        [
            Finding("one", (0.0, 0.0), 10.0, "mass", finding_id="m"),
            Finding("one", (100.0, 0.0), 10.0, "calcification", finding_id="c"),
        ]
    )
    candidates = CandidateTable.from_objects(
        [
            Candidate("one", (1.0, 0.0), 0.9, 9.0, "calcification", "on another class"),
            Candidate("one", (92.0, 0.0), 0.8, 9.0, "mass", "beside another class"),
        ]
    )
    table = errors_at(match_at(match(findings, candidates), 0.5), findings, candidates)
    said = [(item.kind, item.object_id, item.label, item.cause, item.other) for item in table]
    assert said == [
        ("fp", "on another class", "calcification", "class", "mass"),
        ("fn", "c", "calcification", "missed", ""),
        ("fp", "beside another class", "mass", "both", "calcification"),
    ]


def test_planar_images_have_planar_centres() -> None:
    findings = FindingTable.from_objects([Finding("photo", (3.0, 4.0), 5.0, finding_id="f")])
    nothing = CandidateTable.from_objects([], ndim=2)
    (miss,) = errors_at(match(findings, nothing), findings, nothing)
    assert miss.centre == (3.0, 4.0)
    alone = CandidateTable.from_objects([Candidate("photo", (5.0, 6.0), 0.5)])
    (wrong,) = errors_at(match(FindingTable.from_objects([]), alone), FindingTable.from_objects([]), alone)
    assert wrong.centre == (5.0, 6.0)


def test_negative_scores_are_scores_too() -> None:
    shifted = replace(CANDIDATES, scores=CANDIDATES.scores - 10)
    at = match_at(match(FINDINGS, shifted, ["one", "two"]), -9.5)
    assert errors_at(at, FINDINGS, shifted).object_ids == queue().object_ids


def test_rows_that_were_kept_give_the_same_queue() -> None:
    whole = match(FINDINGS, CANDIDATES, ["one", "two"])
    kept = match_at(whole.with_rows(FINDINGS, CANDIDATES), 0.5)
    assert kept.candidate_row is not None
    assert list(errors_at(kept, FINDINGS, CANDIDATES)) == list(queue())


def test_rows_of_other_tables_are_looked_up_anew() -> None:
    turned = (
        FINDINGS.where(np.arange(len(FINDINGS))[::-1]),
        CANDIDATES.where(np.arange(len(CANDIDATES))[::-1]),
    )
    kept = match_at(match(FINDINGS, CANDIDATES, ["one", "two"]).with_rows(FINDINGS, CANDIDATES), 0.5)
    assert list(errors_at(kept, *turned)) == list(queue())
    with pytest.raises(KeyError):
        kept.candidate_rows(CANDIDATES.where([0]))


def test_what_the_model_is_unsure_about_is_nearest_to_the_threshold() -> None:
    whole = match(FINDINGS, CANDIDATES, ["one", "two"])
    table = low_confidence(whole, CANDIDATES, 0.52, limit=3)
    assert [(item.object_id, item.score) for item in table] == [
        ("wrong, less sure", 0.6),
        ("wrong, too faint", 0.4),
        ("too faint", 0.3),
    ]
    assert {item.kind for item in table} == {"low confidence"}
    assert len(low_confidence(whole, CANDIDATES, math.inf)) == 0
    nothing = CandidateTable.from_objects([])
    assert len(low_confidence(match(FINDINGS, nothing), nothing, 0.5)) == 0


def test_outlines_that_fit_badly_the_worst_first() -> None:
    text = np.array(["a", "b", "c", "d"])
    dice = np.array([0.65, 0.9, 0.2, np.nan])
    outlines = OutlineScores(text, text, text, np.zeros((4, 2)), np.full(4, 5.0), dice)
    assert [(item.kind, item.object_id, item.overlap) for item in poor_outlines(outlines)] == [
        ("poor outline", "c", 0.2),
        ("poor outline", "a", 0.65),
    ]
    assert len(poor_outlines(outlines, limit=0.1)) == 0


def test_a_candidate_on_several_findings_is_listed_once() -> None:
    """It has a row of the match table for each of them."""
    near = [Finding("a", (float(n), 0.0, 0.0), 9.0, "mass", finding_id=f"m{n}") for n in range(2)]
    other = Finding("b", (0.0, 0.0, 0.0), 9.0, "calcification", finding_id="c")
    findings = FindingTable.from_objects([*near, other])
    marks = [
        Candidate("a", (0.0, 0.0, 0.0), score, label=label, candidate_id=label + str(score))
        for score, label in ((0.9, "calcification"), (0.5, "mass"))
    ]
    candidates = CandidateTable.from_objects(marks)
    table = errors_at(match(findings, candidates), findings, candidates, ("fp", "duplicate"))
    assert [(item.kind, item.object_id) for item in table] == [
        ("fp", "calcification0.9"),
        ("duplicate", "mass0.5"),
    ]
