"""What the panels of figures ask of a controller, without a window of napari: real work in threads, notes of what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from review_hub import RUN, Hub

from napari_medlab.annotations import Candidate
from napari_medlab.project.edits import add_candidates, add_run, finish_case
from napari_medlab.widgets.background import Background

if TYPE_CHECKING:
    from napari_medlab.project import Project

__all__ = ["OTHER", "FigureHub", "add_other_run"]

OTHER = "b" * 32


def add_other_run(project: Project) -> None:
    """Add a run that finds what the first one misses, misses what it finds, and is wrong elsewhere."""
    project.commit(add_run(OTHER, "", {"model": "ours"}))
    found = {
        "one": [Candidate("one", (60.0, 0.0, 0.0), 0.7)],
        "two": [Candidate("two", (90.0, 0.0, 0.0), 0.9), Candidate("two", (50.0, 0.0, 0.0), 0.6)],
    }
    for case_id, candidates in found.items():
        project.commit(add_candidates(OTHER, case_id, 0, candidates))
        project.commit(finish_case(OTHER, case_id, 1.0))


class Models(QObject):
    """Holds no model."""

    bundles_changed = Signal()
    judged = Signal(object, object)


class Display:
    """Notes which places were asked for."""

    def __init__(self) -> None:
        self.visited: list[tuple[str, tuple[float, ...], str]] = []
        self.view = None

    def visit(self, case_id: str, centre: tuple[float, ...], text: str) -> None:
        self.visited.append((case_id, centre, text))


class Viewer:
    """Has no layers."""

    def __init__(self) -> None:
        self.layers: list[Any] = []


class FigureHub(Hub):
    """Stands in for a controller."""

    station_asked = Signal(str)

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.background = Background(self.show_error)
        self.models, self.display, self.viewer = Models(), Display(), Viewer()
        self.stations: list[str] = []
        self.station_asked.connect(self.stations.append)

    def titled_runs(self) -> list[tuple[str, str]]:
        return [("theirs", RUN), ("ours", OTHER)]
