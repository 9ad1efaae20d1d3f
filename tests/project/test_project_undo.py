from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from project_samples import RUN, filled, outline_table, square

from napari_medlab.annotations import Finding, Region
from napari_medlab.errors import ProjectError
from napari_medlab.project import Project, Verdict
from napari_medlab.project.edits import (
    Edit,
    add_regions,
    group,
    set_fields,
    set_filter,
    set_finding,
    set_region,
    set_verdict,
)
from napari_medlab.project.schema import DERIVED_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.project import JournalEntry

READERS = ("ann", "bob")
PLACES = st.integers(0, 1)
SEATS = st.sampled_from([*[False] * 9, True])
CHANGE = st.tuples(
    st.sampled_from(["verdict", "drawn", "bulk", "given", "added"]), PLACES, st.integers(0, 2), SEATS
)
Content = dict[tuple[str, str, str], Any]


class Reviewing(RuleBasedStateMachine):
    """Readers at work in turns, each with an own stack, against states that were seen when an edit was made."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = Path(tempfile.mkdtemp())
        self.project = filled(self.parent / "p", cases=1, candidates=2)
        self.case_id = self.project.cases()[0].case_id
        self.objects = self.project.candidates(RUN).ids.tolist()
        self.findings = [*self.project.findings().ids.tolist()]
        self.bulk = outline_table(self.case_id, 3)
        self.project.commit(add_regions(self.case_id, "a", self.bulk))
        self.undone: dict[str, list[tuple[Content, Content]]] = {reader: [] for reader in READERS}
        self.done: dict[str, list[tuple[Content, Content]]] = {reader: [] for reader in READERS}

    @rule(changes=st.lists(CHANGE, min_size=1, max_size=3))
    def edit(self, changes: list[tuple[str, int, int, bool]]) -> None:
        """Make one edit, or several as one."""
        before = self.seen()
        if len(changes) == 1:
            self.project.commit(self._edit(*changes[0]))
        else:
            parts = {change[:2]: self._edit(*change) for change in changes}
            self.project.commit(group("several", list(parts.values())))
        self.done[self.project.reader].append((before, self.seen()))
        self.undone[self.project.reader].clear()

    @rule()
    def undo(self) -> None:
        self._reverse(self.done, self.undone, 0)

    @rule()
    def redo(self) -> None:
        self._reverse(self.undone, self.done, 1)

    @rule(reader=st.sampled_from(READERS))
    def reopen(self, reader: str) -> None:
        self.project.close()
        self.project = Project.open(self.parent / "p", reader=reader)

    @rule()
    def all_the_way_back_and_again(self) -> None:
        """Undo everything that is the reader's own, and make it again."""
        if any(is_adjudicated(entry.payload) for entry in self.project.journal()):
            return  # what all share may have been changed by the other reader since
        before, count = self.seen(), 0
        while self.project.undo() is not None:
            count += 1
        for _ in range(count):
            assert self.project.redo() is not None
        assert self.seen() == before

    @invariant()
    def the_tables_follow_from_the_journal(self) -> None:
        assert self.project.rebuild_matches()

    def teardown(self) -> None:
        assert self.project.verify() == []
        self.project.close()
        shutil.rmtree(self.parent)

    def seen(self) -> Content:
        """Return everything that the reader holds, and what all share."""
        project, reader = self.project, self.project.reader
        held: dict[str, dict[str, dict[str, Any]]] = {
            "verdicts": project.verdicts_by_reader(RUN),
            "regions": {**project.regions_by_reader(self.case_id)},
            "findings": {**project.findings_by_reader()},
        }
        return {
            (what, seat, object_id): value.as_json() if isinstance(value, Verdict | Region) else value
            for what, seats in held.items()
            for seat, values in seats.items()
            if seat in (reader, "")
            for object_id, value in values.items()
        }

    def _edit(self, what: str, place: int, choice: int, adjudicated: bool) -> Edit:
        seat = "" if adjudicated else self.project.reader
        if what == "verdict":
            object_id = self.objects[place]
            now = self.project.verdicts(RUN, reader=seat).get(object_id)
            verdict: Any = (None, "agreed", "ambiguous")[choice]
            return set_verdict(
                self.case_id, RUN, object_id, before=now, after=verdict, adjudicated=adjudicated
            )
        if what in ("drawn", "bulk"):
            region_id = self.bulk.ids[place].decode() if what == "bulk" else f"region-{place}"
            regions = {region.region_id: region for region in self.project.regions(self.case_id, reader=seat)}
            new = Region(self.case_id, (self.bulk.vertices[:4] + choice,), region_id=region_id)
            if choice == 0:
                new = None if region_id in regions else new  # type: ignore[assignment]  # None removes it
            return set_region(regions.get(region_id), new, adjudicated=adjudicated)
        finding_id = self.findings[place] if what == "given" else f"{place}" * 32
        seen = self.project.finding(finding_id, reader=seat)
        after = Finding(self.case_id, (1.0, 2.0, 3.0), float(choice), finding_id=finding_id)
        return set_finding(seen, None if choice == 0 and seen is not None else after, adjudicated=adjudicated)

    def _reverse(self, source: dict[str, Any], target: dict[str, Any], side: int) -> None:
        """Undo or redo, unless what all share was changed since."""
        stack, journal = source[self.project.reader], self.project.journal()
        is_shared = any(is_adjudicated(entry.payload) for entry in journal)
        entry, code = attempt((self.project.undo, self.project.redo)[side])
        if code:
            assert (code, is_shared) == ("stale", True)
            assert self.project.journal() == journal
            return
        assert (entry is None) == (not stack)
        if stack:
            states = stack.pop()
            assert is_shared or self.seen() == states[side]
            target[self.project.reader].append(states)


def attempt(take: Callable[[], JournalEntry | None]) -> tuple[JournalEntry | None, str]:
    """Return what an undo or a redo returns, or the code of its refusal."""
    try:
        return take(), ""
    except ProjectError as error:
        return None, error.code


def is_adjudicated(payload: dict[str, Any]) -> bool:
    parts = [part["payload"] for part in payload["edits"]] if "edits" in payload else [payload]
    return any(part.get("adjudicated", False) for part in parts)


def test_undo_and_redo_follow_a_simple_model() -> None:
    run_state_machine_as_test(
        Reviewing,
        settings=settings(
            max_examples=20,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )


def tables(project: Project) -> dict[str, list[Any]]:
    """Return what is held, without when and by which row of the journal."""
    with closing(sqlite3.connect(project.folder / "project.sqlite")) as db:
        return {
            name: db.execute(
                f"SELECT run_id, object_id, seat, case_id, owner_id, body FROM {name} ORDER BY 1, 2, 3"
            ).fetchall()
            for name in ("verdicts", "regions", "corrections")
        } | {name: db.execute(f"SELECT * FROM {name}").fetchall() for name in ("cases", "current_bundle")}


def test_undo_leaves_a_seat_with_nothing_where_it_had_nothing(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        finding = project.finding(str(project.findings().ids[0]))
        assert finding is not None
        case_id = finding.case_id
        ruled = set_verdict(case_id, "", finding.finding_id, before=None, after="agreed", adjudicated=True)
        project.commit(ruled)
        states = [tables(project)]
        seen = project.verdicts("", reader="ann")[finding.finding_id]
        bigger = replace(finding, diameter=9.0)
        for edit in (
            set_verdict(case_id, "", finding.finding_id, before=seen, after=None),
            set_finding(finding, bigger),
            set_finding(bigger, None),
            group("two", [set_finding(None, finding), set_finding(finding, bigger)]),
            set_fields(case_id, {}, {"fold": 2}),
        ):
            project.commit(edit)
            states.append(tables(project))
        assert project.verdicts("", reader="ann") == {}
        assert project.verdicts("") == {finding.finding_id: Verdict("agreed")}
        for state in reversed(states[:-1]):
            assert project.undo() is not None
            assert tables(project) == state
        for state in states[1:]:
            assert project.redo() is not None
            assert tables(project) == state
        assert project.verify() == []


def test_undo_takes_back_one_s_own_work_alone(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        table = project.candidates(RUN)
        case_id, first, second = str(table.case_ids[0]), str(table.ids[0]), str(table.ids[1])
        project.commit(set_verdict(case_id, RUN, first, before=None, after="agreed"))
    with Project.open(tmp_path / "p", reader="bob") as project:
        assert project.undo() is None
        project.commit(set_verdict(case_id, RUN, second, before=None, after="ambiguous"))
        assert project.undo() is not None
        assert project.verdicts(RUN) == {first: Verdict("agreed")}
    with Project.open(tmp_path / "p", reader="ann") as project:
        assert project.undo() is not None
        assert project.verdicts(RUN) == {}
    with Project.open(tmp_path / "p", reader="bob") as project:
        assert project.redo() is not None
        assert project.verdicts(RUN) == {second: Verdict("ambiguous")}


def test_what_somebody_else_changed_since_is_not_taken_back(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        project.commit(set_filter("hard", None, {"score": [0.5, None]}))
    with Project.open(tmp_path / "p", reader="bob") as project:
        project.commit(set_filter("hard", {"score": [0.5, None]}, {"score": [0.9, None]}))
    with Project.open(tmp_path / "p", reader="ann") as project:
        journal = project.journal()
        with pytest.raises(ProjectError) as caught:
            project.undo()
        assert caught.value.code == "stale"
        assert project.journal() == journal
        assert project.filters() == {"hard": {"score": [0.9, None]}}


def test_a_group_is_all_or_nothing(tmp_path: Path) -> None:
    with filled(tmp_path / "p") as project:
        table = project.candidates(RUN)
        case_id, object_id = str(table.case_ids[0]), str(table.ids[0])
        good = set_verdict(case_id, RUN, object_id, before=None, after="agreed")
        stale = set_region(square(case_id, 2.0), None)
        before = {name: project._rows(query) for name, query in DERIVED_TABLES.items()}
        with pytest.raises(ProjectError):
            project.commit(group("both", [good, stale]))
        assert {name: project._rows(query) for name, query in DERIVED_TABLES.items()} == before
        journal_id = project.commit(group("both", [good, set_region(None, square(case_id, 2.0, object_id))]))
        entry = project.journal(limit=1)[0]
        assert (entry.kind, entry.case_id, entry.payload["title"]) == ("group", case_id, "both")
        assert [part["kind"] for part in entry.payload["edits"]] == ["verdict.set", "region.set"]
        assert [entry.id for entry in project.history(object_id)] == [journal_id]
        assert project.verify() == []
