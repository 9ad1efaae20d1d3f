"""The session without a window: queue, operating point, verdicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from napari_medlab.annotations import Candidate, Finding
from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.project import Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    set_finding,
    set_verdict,
)
from napari_medlab.project.records import CaseRecord, Split
from napari_medlab.widgets.reading import read_review
from napari_medlab.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN = "a" * 32


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Two training cases and a frozen one: a hit, two false positives, a miss that scored low, a miss never marked."""
    with Project.create(tmp_path / "project", reader="tester") as made:
        made.commit(add_run(RUN, "", {}))
        for name in ("one", "two", "frozen"):
            split: Split = "test" if name == "frozen" else "train"
            made.commit(
                add_case(CaseRecord(name, f"images/{name}.mha", name, split=split, frozen=name == "frozen"))
            )
        findings = [
            Finding("one", (0.0, 0.0, 0.0), 10.0, finding_id="hit"),
            Finding("two", (0.0, 0.0, 0.0), 10.0, finding_id="low"),
            Finding("two", (90.0, 0.0, 0.0), 10.0, finding_id="never"),
            Finding("frozen", (0.0, 0.0, 0.0), 10.0, finding_id="unseen"),
        ]
        made.commit(add_findings(findings))
        found = {
            "one": [Candidate("one", (1.0, 0.0, 0.0), 0.9), Candidate("one", (50.0, 0.0, 0.0), 0.8)],
            "two": [Candidate("two", (50.0, 0.0, 0.0), 0.6), Candidate("two", (1.0, 0.0, 0.0), 0.2)],
            "frozen": [Candidate("frozen", (50.0, 0.0, 0.0), 0.95)],
        }
        for case_id, candidates in found.items():
            made.commit(add_candidates(RUN, case_id, 0, candidates))
            made.commit(finish_case(RUN, case_id, 1.0))
        yield made


@pytest.fixture
def session(project: Project) -> Session:
    made = Session()
    made.set_project(project)
    made.set_review(read_review(project, RUN))
    return made


def test_frozen_cases_are_not_reviewed(session: Session) -> None:
    assert {item.case_id for item in session.queue} == {"one", "two"}


def test_false_positives_and_misses_take_turns_worst_first(session: Session) -> None:
    assert [(item.kind, item.score) for item in session.queue] == [("fp", 0.8), ("fn", 0.0), ("fp", 0.6)]


def test_a_stricter_operating_point_trades_false_positives_for_misses_nearly_found_ones_first(
    session: Session,
) -> None:
    session.set_operating_point(0.5)
    assert [(item.kind, item.score) for item in session.queue] == [("fp", 0.8), ("fn", 0.2), ("fn", 0.0)]
    assert session.threshold > 0.6


def test_the_current_error_stays_current_when_the_operating_point_moves(session: Session) -> None:
    session.go_to(0)
    current = session.item
    session.set_operating_point(0.5)
    assert session.item == current


def test_next_skips_what_has_a_verdict(project: Project, session: Session) -> None:
    second = session.queue[1]
    project.commit(set_verdict(second.case_id, RUN, second.object_id, before=None, after="model wrong"))
    session.set_verdicts(project.verdicts(RUN))
    session.go_to(0)
    session.go_to_next()
    assert session.place == 2


def test_going_to_an_error_shows_its_case_and_chooses_its_object(session: Session) -> None:
    cases: list[str] = []
    session.case_changed.connect(cases.append)
    session.go_to(2)
    assert cases == ["two"]
    assert session.selected_id == session.queue[2].object_id


def test_choosing_an_object_moves_the_queue_to_it(session: Session) -> None:
    session.select(session.queue[2].object_id)
    assert session.place == 2


def test_a_filter_narrows_the_queue_and_keeps_what_is_looked_at(session: Session) -> None:
    session.go_to(2)
    current = session.selected_id
    session.set_filter(QueueFilter(kinds=frozenset({"fp"})))
    assert [item.kind for item in session.queue] == ["fp", "fp"]
    assert session.item is not None
    assert session.item.object_id == current
    session.set_filter(QueueFilter(kinds=frozenset({"fn"})))
    assert session.place == -1
    session.set_filter(QueueFilter())
    assert len(session.queue) == 3


def test_the_queue_can_be_put_in_another_order(session: Session) -> None:
    session.set_filter(QueueFilter(), "score")
    scores = [item.score for item in session.queue]
    assert scores == sorted(scores, reverse=True)


def test_what_is_no_error_is_listed_only_where_its_kind_is_asked_for(session: Session) -> None:
    assert session.queue.counts["low confidence"] == 0
    session.set_filter(QueueFilter(kinds=frozenset({"low confidence"})))
    assert session.queue.counts["low confidence"] == len(session.queue) > 0


def test_what_nobody_has_read_is_listed_where_it_is_asked_for(project: Project, session: Session) -> None:
    for case_id, is_test in (("new", False), ("kept", True)):
        split: Split = "test" if is_test else "train"
        project.commit(
            add_case(CaseRecord(case_id, f"images/{case_id}.mha", case_id, split=split, frozen=is_test))
        )
        found = [Candidate(case_id, (0.0, 0.0, 0.0), score) for score in (0.9, 0.5)]
        project.commit(add_candidates(RUN, case_id, 0, found))
        project.commit(finish_case(RUN, case_id, 1.0))
    session.set_review(read_review(project, RUN))
    assert session.queue.counts["unread"] == 0
    session.set_filter(QueueFilter(kinds=frozenset({"unread"})))
    assert [(item.kind, item.case_id, item.score) for item in session.queue] == [
        ("unread", "new", 0.5), ("unread", "new", 0.9),
    ]  # fmt: skip
    object_id = session.queue[0].object_id
    project.commit(set_verdict("new", RUN, object_id, before=None, after="model wrong"))
    session.set_review(read_review(project, RUN))
    assert len(session.queue) == 0


def test_a_correction_changes_the_figures_as_corrected_and_not_those_as_given(
    project: Project, session: Session
) -> None:
    assert session.review is not None
    given = session.review.given.curve.cpm
    never = project.finding("never")
    assert never is not None
    project.commit(set_finding(never, None))
    session.set_review(read_review(project, RUN))
    assert session.review.given.curve.cpm == given
    assert session.review.corrected.curve.n_findings == session.review.given.curve.n_findings - 1
    assert session.finding("never") is None
    assert session.given_finding("never") == never


def test_findings_on_planar_images_have_two_coordinates_beside_volumes(session: Session) -> None:
    session.planar = frozenset({"two"})
    found = session.given_finding("low")
    assert found is not None
    assert found.centre == (0.0, 0.0)
    assert session.in_axes("one", (1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)


def test_the_finding_that_a_chosen_candidate_hits_is_the_chosen_one(session: Session) -> None:
    assert session.at_point is not None
    hit = str(session.at_point.candidate_id[session.at_point.kind == "tp"][0])
    session.select(hit)
    assert session.chosen_finding is not None
    assert session.chosen_finding.finding_id == "hit"


def add_unread(project: Project) -> None:
    """Add a case on which nothing is known, with a candidate above and one below the operating point."""
    project.commit(add_case(CaseRecord("new", "images/new.mha", "new", split="train")))
    found = [Candidate("new", (1.0, 2.0, 3.0), 0.85, 6.0), Candidate("new", (9.0, 2.0, 3.0), 0.1, 6.0)]
    project.commit(add_candidates(RUN, "new", 0, found))
    project.commit(finish_case(RUN, "new", 1.0))


def test_what_is_marked_on_an_unread_case_is_no_false_positive(project: Project, session: Session) -> None:
    threshold, errors = session.threshold, [item.object_id for item in session.queue]
    add_unread(project)
    review = read_review(project, RUN)
    session.set_review(review)
    assert (set(review.cases), review.unread_cases) == ({"one", "two"}, ("new",))
    assert session.threshold == threshold, "two scans make the false positives per scan, not three"
    assert [item.object_id for item in session.queue] == errors
    session.set_filter(QueueFilter(kinds=frozenset({"unread"})))
    assert [(item.kind, item.case_id) for item in session.queue] == [("unread", "new")] * 2


def test_where_nothing_was_read_the_unread_is_listed(tmp_path: Path) -> None:
    with Project.create(tmp_path / "project", reader="tester") as project:
        project.commit(add_run(RUN, "", {}))
        add_unread(project)
        session = Session()
        session.set_project(project)
        session.set_review(read_review(project, RUN))
        assert session.threshold == -float("inf")
        assert [item.kind for item in session.queue] == ["unread", "unread"]
        session.set_filter(QueueFilter(kinds=frozenset({"fp"})))
        assert len(session.queue) == 0
