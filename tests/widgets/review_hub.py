"""What panels ask of a controller, without a window: a session over a small run, and a note of what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal

from napari_medlab.annotations import Candidate, Finding
from napari_medlab.project import Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    set_fields,
)
from napari_medlab.project.records import CaseRecord
from napari_medlab.widgets.reading import read_review
from napari_medlab.widgets.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtpy.QtWidgets import QComboBox

    from napari_medlab.project.edits import Edit

RUN = "a" * 32
SITES = {"one": "Bonn", "two": "Ulm"}


def make_project(folder: Path) -> Project:
    """Return a project of two cases at two sites: a hit, two false positives, a miss that scored low, one never marked."""
    project = Project.create(folder, reader="tester")
    project.commit(add_run(RUN, "", {"model": "theirs"}))
    for name, site in SITES.items():
        project.commit(add_case(CaseRecord(name, f"images/{name}.mha", f"Case {name}")))
        project.commit(set_fields(name, {}, {"site": site}))
    project.commit(
        add_findings(
            [
                Finding("one", (0.0, 0.0, 0.0), 10.0, "nodule", finding_id="hit"),
                Finding("two", (0.0, 0.0, 0.0), 6.0, "mass", finding_id="low"),
                Finding("two", (90.0, 0.0, 0.0), 20.0, "mass", finding_id="never"),
            ]
        )
    )
    found = {
        "one": [Candidate("one", (1.0, 0.0, 0.0), 0.9), Candidate("one", (50.0, 0.0, 0.0), 0.8)],
        "two": [Candidate("two", (50.0, 0.0, 0.0), 0.6), Candidate("two", (1.0, 0.0, 0.0), 0.2)],
    }
    for case_id, candidates in found.items():
        project.commit(add_candidates(RUN, case_id, 0, candidates))
        project.commit(finish_case(RUN, case_id, 1.0))
    return project


class Editing:
    """Stores edits at once, and notes verdicts."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.remark = ""
        self.given: list[tuple[str, str]] = []

    def give_verdict(self, name: str) -> None:
        self.given.append((name, self.remark))

    def commit(self, edit: Edit, action: Callable[[Any], None]) -> None:
        action(self.project.commit(edit))


class Redrawing:
    """Draws at once."""

    def put(self, _: str, draw: Callable[[], None]) -> None:
        draw()


class Hub(QObject):
    """Stands in for a controller."""

    remark_asked = Signal()

    def __init__(self, project: Project) -> None:
        super().__init__()
        self.project = project
        self.session = Session()
        self.editing = Editing(project)
        self.redrawing = Redrawing()
        self.readers: list[str] = ["tester"]
        self.run_splits: dict[str, frozenset[str]] = {}
        self.errors: list[str] = []
        self.compared: list[str] = []
        self.adjudicating: list[bool] = []
        self.reload_cases()
        self.session.set_project(project)
        self.session.set_review(read_review(project, RUN))

    def reload_cases(self) -> None:
        self.cases = self.project.cases()
        self.filters = self.project.filters()
        self.session.cases_changed.emit()

    def titled_runs(self) -> list[tuple[str, str]]:
        return [("theirs", RUN), ("ours", "b" * 32)]

    def fill_runs(self, box: QComboBox) -> None:
        box.clear()
        for title, run_id in self.titled_runs():
            box.addItem(title, run_id)

    def unit_of(self, _: str) -> str:
        return "mm"

    def attach(self, _: object) -> None:
        """Bind no keys."""

    def reload_review(self, run_id: str) -> None:
        self.compared.append(run_id)

    def compare_with(self, run_id: str) -> None:
        self.compared.append(run_id)

    def set_adjudicating(self, on: bool) -> None:
        self.adjudicating.append(on)

    def show_error(self, error: Exception) -> None:
        self.errors.append(str(error))
