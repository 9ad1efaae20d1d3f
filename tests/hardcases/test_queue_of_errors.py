from __future__ import annotations

import math

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import match, match_at
from napari_medlab.hardcases.queue import QueueItem, build_queue

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


def queue(kinds: tuple[str, ...] = ("fp", "fn"), threshold: float = 0.5) -> list[QueueItem]:
    matched = match_at(match(FINDINGS, CANDIDATES, ["one", "two"]), threshold)
    return build_queue(matched, FINDINGS, CANDIDATES, kinds)  # type: ignore[arg-type]


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
