"""What is said about models: what the frozen test set told, and what people concluded."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from project_samples import RUN, filled

from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project import BundleRecord, JudgementRecord, Project
from napari_medlab.project.edits import (
    Edit,
    add_bundle,
    add_judgement,
    add_run,
    group,
    set_conclusion,
    set_fields,
)
from napari_medlab.project.schema import DERIVED_TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = "a" * 64, "b" * 64
SECOND_RUN = "1" * 32
FIGURES = {
    "current": 0.5, "proposed": 0.625, "difference": 0.125, "difference_interval": [-0.25, 0.5], "p_value": None,
    "cases": 12,
}  # fmt: skip
RULE = {"metric": "cpm", "needs": "not worse", "margin": 0.0, "confidence": 0.95}
JUDGED = JudgementRecord(NEW, OLD, SECOND_RUN, RUN, RULE, FIGURES, True, "May be published.")


def with_models(folder: Path) -> Project:
    project = filled(folder)
    for digest, parent in ((OLD, None), (NEW, OLD)):
        project.commit(add_bundle(BundleRecord(digest, f"bundles/{digest[0]}", "nodules", parent, "trained")))
    project.commit(add_run(SECOND_RUN, NEW, {}))
    return project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with with_models(tmp_path / "p") as opened:
        yield opened
        assert opened.verify() == []


def code_of(project: Project, edit: Edit) -> str:
    before = project.journal()
    with pytest.raises(ProjectError) as caught:
        project.commit(edit)
    assert project.journal() == before
    return caught.value.code


def test_judgements_come_back_oldest_first_with_their_time(project: Project) -> None:
    refused = replace(JUDGED, may_publish=False, reason="Refused: the new model is worse.")
    for record in (JUDGED, refused):
        project.commit(add_judgement(record))
    assert project.judgements() == [JUDGED, refused]
    assert [one.at for one in project.judgements()] == [entry.at for entry in project.journal(limit=2)]
    assert project.undo() is None


def test_a_judgement_names_runs_of_the_project_and_finite_figures(project: Project) -> None:
    assert code_of(project, add_judgement(replace(JUDGED, run_id="nothing"))) == "unknown-run"
    assert code_of(project, add_judgement(replace(JUDGED, against_run_id="nothing"))) == "unknown-run"
    with pytest.raises(InputRefusedError, match="cannot be stored"):
        project.commit(add_judgement(replace(JUDGED, figures={"current": float("nan")})))
    assert project.judgements() == []


def test_a_conclusion_is_kept_changed_and_taken_back(project: Project) -> None:
    first, second = "Fewer vessels,\nno more misses.", "Överanpassad: 3 % sämre"
    project.commit(set_conclusion(NEW, "", first))
    project.commit(set_conclusion(SECOND_RUN, "", "made elsewhere"))
    project.commit(set_conclusion(NEW, first, second))
    assert project.conclusions() == {NEW: second, SECOND_RUN: "made elsewhere"}
    assert [entry.kind for entry in project.history(NEW)] == ["conclusion.set"] * 2
    assert code_of(project, set_conclusion(NEW, first, "")) == "stale"
    assert project.undo() is not None
    assert project.conclusions()[NEW] == first
    assert project.redo() is not None
    assert project.conclusions()[NEW] == second
    project.commit(set_conclusion(NEW, second, ""))
    assert project.conclusions() == {SECOND_RUN: "made elsewhere"}
    for _ in range(4):
        assert project.undo() is not None
    assert (project.conclusions(), project.undo()) == ({}, None)


def test_a_conclusion_is_about_something_known_and_holds_text_alone(project: Project) -> None:
    assert code_of(project, set_conclusion("c" * 64, "", "good")) == "unknown-bundle"
    assert code_of(project, set_conclusion("", "", "good")) == "unknown-bundle"
    for text in ("x" * 4001, "bell\a", "tab\t", "return\r\n"):
        with pytest.raises(InputRefusedError) as caught:
            set_conclusion(NEW, "", text)
        assert caught.value.code == "conclusion"


def test_a_conclusion_can_be_part_of_a_group(project: Project) -> None:
    case = project.cases()[0]
    parts = [set_conclusion(NEW, "", "good"), set_fields(case.case_id, {}, {"fold": 1})]
    project.commit(group("both", parts))
    assert project.conclusions() == {NEW: "good"}
    project.undo()
    assert (project.conclusions(), project.case(case.case_id).fields) == ({}, {})


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE judgements SET may_publish = 0", "judgements"),
        ("UPDATE judgements SET figures = replace(figures, '0.125', '0.925')", "judgements"),
        ("UPDATE conclusions SET body = 'bad'", "conclusions"),
        ("DELETE FROM conclusions", "conclusions"),
    ],
)
def test_what_was_changed_behind_the_journal_is_found(tmp_path: Path, statement: str, table: str) -> None:
    with with_models(tmp_path / "p") as project:
        project.commit(add_judgement(JUDGED))
        project.commit(set_conclusion(NEW, "", "good"))
        with closing(sqlite3.connect(project.folder / "project.sqlite", isolation_level=None)) as db:
            db.execute(statement)
        assert project.verify() == [
            f"table {table}: 1 rows do not follow from the journal (near {_first(table)})"
        ]
        assert not project.rebuild_matches()


def _first(table: str) -> str:
    return NEW if table == "conclusions" else "11"


def test_a_shared_copy_has_the_figures_and_the_conclusions_but_no_sentence_that_may_say_a_name(
    tmp_path: Path,
) -> None:
    with with_models(tmp_path / "p") as project:
        rule = {**RULE, "metric": "cpm", "by": "ann", "needs": "whatever ann says"}
        figures = {**FIGURES, "note": "ann", "ann": 1}
        project.commit(add_judgement(replace(JUDGED, rule=rule, figures=figures, reason="ann said so")))
        project.commit(set_conclusion(NEW, "", "better on series-0"))
        project.commit(set_conclusion(NEW, "better on series-0", "better"))
        shared = project.share(tmp_path / "copy")
    with Project.open(tmp_path / "copy", read_only=True) as copy:
        (judged,) = copy.judgements()
        kept = {name: value for name, value in FIGURES.items() if value is not None}
        assert judged.rule == {name: value for name, value in RULE.items() if name != "needs"}
        assert (judged.figures, judged.may_publish, judged.reason) == (kept, True, "")
        assert (judged.bundle_hash, judged.against_hash, judged.run_id) == (NEW, OLD, SECOND_RUN)
        assert copy.conclusions() == {NEW: "better"}
        assert copy.verify() == []
    assert (shared.comments, shared.comments_with_names) == (2, 1)


@pytest.mark.parametrize("how", ["copied", "shared"])
def test_conclusions_of_a_copy_are_taken_over_once_and_contradictions_told(tmp_path: Path, how: str) -> None:
    with with_models(tmp_path / "p") as project:
        project.commit(add_bundle(BundleRecord("imported", "bundles/c", "elsewhere")))
        project.commit(set_conclusion("imported", "", "to be seen"))
        if how == "shared":
            project.share(tmp_path / "copy")
    if how == "copied":
        shutil.copytree(tmp_path / "p", tmp_path / "copy")
    with Project.open(tmp_path / "copy", reader="bob") as copy:
        key = next(about for about in copy.conclusions() if copy.conclusions()[about] == "to be seen")
        copy.commit(set_conclusion(key, "to be seen", "seen"))
        copy.commit(set_conclusion(NEW, "", "good"))
        copy.commit(set_conclusion(OLD, "", "fair"))
        copy.commit(add_judgement(JUDGED))
    with Project.open(tmp_path / "p", reader="ann") as project:
        project.commit(set_conclusion(NEW, "", "bad"))
        project.commit(set_conclusion(OLD, "", "fair"))
        merged = project.merge(tmp_path / "copy")
        assert (merged.edits, merged.already, len(merged.conflicts)) == (1, 1, 1)
        assert f"conclusion.set on {NEW}" in merged.conflicts[0]
        assert merged.left_out == {"edits of the kind judgement.add": 1}
        assert project.conclusions() == {"imported": "seen", NEW: "bad", OLD: "fair"}
        assert project.merge(tmp_path / "copy").edits == 0
        assert project.verify() == []


def as_version_3(folder: Path) -> None:
    """Make a project what version 3 would have written, which knew neither judgements nor conclusions."""
    with closing(sqlite3.connect(folder / "project.sqlite", isolation_level=None)) as db:
        db.executescript("""
            DROP TABLE judgements;
            DROP TABLE conclusions;
            DROP INDEX journal_reversible;
            CREATE INDEX journal_reversible ON journal (id, reader, undoes) WHERE kind IN (
                'verdict.set', 'region.set', 'finding.set', 'filter.set', 'case.fields', 'bundle.current', 'group');
            PRAGMA user_version = 3;
        """)


def test_a_project_of_version_3_is_copied_and_can_then_keep_both(tmp_path: Path) -> None:
    with with_models(tmp_path / "p") as project:
        before = project.journal()
    as_version_3(tmp_path / "p")
    with Project.open(tmp_path / "p", read_only=True) as project:
        assert (project.judgements(), project.conclusions()) == ([], {})
    with Project.open(tmp_path / "p", reader="ann") as project:
        assert [path.name for path in (project.folder / "backups").iterdir()] == [
            "project-of-version-3.sqlite"
        ]
        assert (project.journal(), project.judgements(), project.conclusions()) == (before, [], {})
        project.commit(add_judgement(JUDGED))
        project.commit(set_conclusion(NEW, "", "good"))
        assert project.undo() is not None
        assert project.verify() == []
    with with_models(tmp_path / "new") as fresh:
        queries = {name: fresh._rows(f"PRAGMA table_info({name})") for name in DERIVED_TABLES}
    with Project.open(tmp_path / "p") as project:
        assert {name: project._rows(f"PRAGMA table_info({name})") for name in DERIVED_TABLES} == queries
