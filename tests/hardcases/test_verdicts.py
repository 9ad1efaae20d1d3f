"""From a verdict to what is stored: the proposed change of the reference comes and goes with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from napari_medlab.annotations import Candidate, Finding
from napari_medlab.hardcases.errors.table import QueueItem
from napari_medlab.hardcases.errors.verdicts import Judging, judge, parse_remark, proposed_id
from napari_medlab.project import Project, Verdict
from napari_medlab.project.edits import add_candidates, add_case, add_findings, add_run
from napari_medlab.project.records import CaseRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CASE, RUN = "c" * 32, "d" * 32
MISSED = Finding(CASE, (1.0, 2.0, 3.0), 6.0, "nodule", False, "a" * 32)
WRONG = Candidate(CASE, (40.0, 2.0, 3.0), 0.9, 5.0, "nodule", "b" * 32)
MISS = QueueItem("fn", MISSED.finding_id, CASE, MISSED.centre, 6.0, 0.0, 30.0, "nodule")
FALSE = QueueItem("fp", WRONG.candidate_id, CASE, WRONG.centre, 5.0, 0.9, 30.0, "nodule")
PROPOSED = Finding(CASE, WRONG.centre, 5.0, "nodule", False, proposed_id(WRONG.candidate_id))


class Reader:
    """Somebody who judges with what is stored before their eyes."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def finding(self, finding_id: str, *, as_given: bool = False) -> Finding | None:
        table = self.project.findings(as_given=as_given)
        rows = [row for row in range(len(table)) if str(table.ids[row]) == finding_id]
        return table.finding(rows[0]) if rows else None

    def says(self, verdict: Verdict | None, *items: QueueItem) -> None:
        now = self.project.verdicts(RUN)
        judged = [Judging(item, RUN, now.get(item.object_id)) for item in items]
        self.project.commit(
            judge(judged, verdict, self.finding, lambda key: self.finding(key, as_given=True))
        )

    @property
    def reference(self) -> set[tuple[str, tuple[float, ...], bool]]:
        table = self.project.findings()
        found = [table.finding(row) for row in range(len(table))]
        return {(finding.finding_id, finding.centre, finding.is_excluded) for finding in found}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Project.create(tmp_path / "project", reader="anna") as project:
        project.commit(add_case(CaseRecord(CASE, "images/a.mha", "A")))
        project.commit(add_findings([MISSED]))
        project.commit(add_run(RUN, "", {}))
        project.commit(add_candidates(RUN, CASE, 0, [WRONG]))
        yield Reader(project)


GIVEN = {(MISSED.finding_id, MISSED.centre, False)}
WITH_PROPOSED = GIVEN | {(PROPOSED.finding_id, PROPOSED.centre, False)}
WITHOUT_MISSED = {(MISSED.finding_id, MISSED.centre, True)}


def test_a_false_positive_becomes_a_finding_and_one_undo_takes_both_back(reader: Reader) -> None:
    reader.says(Verdict("reference wrong"), FALSE)
    assert reader.reference == WITH_PROPOSED
    reader.project.undo()
    assert reader.reference == GIVEN
    assert reader.project.verdicts(RUN) == {}
    reader.project.redo()
    assert reader.reference == WITH_PROPOSED


def test_a_miss_is_excluded(reader: Reader) -> None:
    reader.says(Verdict("reference wrong"), MISS)
    assert reader.reference == WITHOUT_MISSED
    assert reader.project.verdicts(RUN) == {MISS.object_id: Verdict("reference wrong")}


@pytest.mark.parametrize("second", [Verdict("model wrong"), Verdict("agreed"), None])
def test_another_verdict_takes_the_proposal_back(reader: Reader, second: Verdict | None) -> None:
    reader.says(Verdict("reference wrong"), FALSE, MISS)
    assert reader.reference != GIVEN
    reader.says(second, FALSE, MISS)
    assert reader.reference == GIVEN
    assert set(reader.project.verdicts(RUN).values()) == ({second} if second else set())


def test_what_the_reader_changed_by_hand_stays(reader: Reader) -> None:
    from napari_medlab.project.edits import set_finding

    reader.says(Verdict("reference wrong"), FALSE)
    moved = replace(PROPOSED, centre=(41.0, 2.0, 3.0))
    reader.project.commit(set_finding(PROPOSED, moved))
    reader.says(Verdict("model wrong"), FALSE)
    assert (moved.finding_id, moved.centre, False) in reader.reference


def test_the_same_verdict_twice_changes_nothing(reader: Reader) -> None:
    for _ in range(2):
        reader.says(Verdict("reference wrong"), FALSE)
        assert reader.reference == WITH_PROPOSED


def test_one_verdict_for_many_is_one_edit(reader: Reader) -> None:
    before = len(reader.project.journal())
    reader.says(Verdict("ambiguous", "both", ("vessel",)), FALSE, MISS)
    assert len(reader.project.journal()) == before + 1
    assert len(reader.project.verdicts(RUN)) == 2
    reader.project.undo()
    assert reader.project.verdicts(RUN) == {}


@pytest.mark.parametrize(
    ("typed", "comment", "tags"),
    [
        ("", "", ()),
        ("on a vessel", "on a vessel", ()),
        ("#vessel near the #hilum #vessel", "near the", ("vessel", "hilum")),
        ("# alone is no tag", "# alone is no tag", ()),
    ],
)
def test_words_with_a_hash_are_tags(typed: str, comment: str, tags: tuple[str, ...]) -> None:
    assert parse_remark(typed) == (comment, tags)


def test_an_object_that_is_chosen_twice_gets_one_verdict(reader: Reader) -> None:
    unsure = replace(FALSE, kind="low confidence")
    reader.says(Verdict("reference wrong"), unsure, MISS, FALSE, MISS, unsure)
    assert len(reader.project.verdicts(RUN)) == 2
    assert reader.reference == WITHOUT_MISSED | (WITH_PROPOSED - GIVEN)
    reader.project.undo()
    assert (reader.project.verdicts(RUN), reader.reference) == ({}, GIVEN)


def test_an_unread_candidate_that_is_real_becomes_a_finding(reader: Reader) -> None:
    reader.says(Verdict("reference wrong"), replace(FALSE, kind="unread"))
    assert reader.reference == WITH_PROPOSED
    reader.says(None, replace(FALSE, kind="unread"))
    assert reader.reference == GIVEN


def test_a_proposal_goes_with_its_verdict_whatever_error_the_candidate_is_looked_at_as(
    reader: Reader,
) -> None:
    reader.says(Verdict("reference wrong"), FALSE)
    reader.says(Verdict("model wrong"), replace(FALSE, kind="disagreement"))
    assert reader.reference == GIVEN


def test_a_finding_that_was_moved_by_hand_is_excluded_where_it_lies(reader: Reader) -> None:
    from napari_medlab.project.edits import set_finding

    moved = replace(MISSED, centre=(2.0, 2.0, 3.0))
    reader.project.commit(set_finding(MISSED, moved))
    reader.says(Verdict("reference wrong"), MISS)
    assert reader.reference == {(MISSED.finding_id, moved.centre, True)}
    reader.says(Verdict("agreed"), MISS)
    assert reader.reference == {(MISSED.finding_id, moved.centre, False)}


def test_a_finding_that_was_removed_by_hand_does_not_come_back(reader: Reader) -> None:
    from napari_medlab.project.edits import set_finding

    reader.project.commit(set_finding(MISSED, None))
    for verdict in (Verdict("reference wrong"), Verdict("agreed")):
        reader.says(verdict, MISS)
        assert reader.reference == set()


def test_a_proposal_that_was_moved_by_hand_stays_there_when_the_verdict_is_said_again(reader: Reader) -> None:
    from napari_medlab.project.edits import set_finding

    reader.says(Verdict("reference wrong"), FALSE)
    moved = replace(PROPOSED, centre=(41.0, 2.0, 3.0))
    reader.project.commit(set_finding(PROPOSED, moved))
    reader.says(Verdict("reference wrong", "with a comment"), FALSE)
    assert reader.reference == GIVEN | {(moved.finding_id, moved.centre, False)}
