"""A cluster in the window: where it is chosen, what is remembered of it, and what is told of a run on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from napari_medlab.models.workflows.predict import RunEvent
from napari_medlab.widgets.controller import Controller
from napari_medlab.widgets.panels.run_options import RunOptions
from napari_medlab.widgets.run_memory import RunChoice, recall_choice
from napari_medlab.widgets.run_progress import RunProgress

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDLAB_STATE_DIR", str(tmp_path))
    return tmp_path


def options(qtbot: QtBot) -> RunOptions:
    made = RunOptions(MagicMock(spec=Controller))
    qtbot.addWidget(made)
    return made


def event(kind: Any, case_id: str = "", done: int = 0, total: int = 4, **more: Any) -> RunEvent:  # noqa: ANN401 - as events are
    return RunEvent(kind, "run", case_id, done, total, **more)


@pytest.mark.usefixtures("state")
def test_what_was_typed_is_there_next_time(qtbot: QtBot) -> None:
    typed = options(qtbot)
    assert typed.choice == RunChoice()
    typed.cluster.setText(" tls://node:8786 ")
    typed.certificates.setText("/etc/medlab")
    typed.cluster.editingFinished.emit()
    assert recall_choice() == RunChoice("auto", "auto", "tls://node:8786", "/etc/medlab")
    assert options(qtbot).choice == recall_choice()


def test_what_was_remembered_before_there_were_clusters_is_understood(state: Path) -> None:
    (state / "run.json").write_text(json.dumps({"device": "cpu", "precision": "float32"}), encoding="utf-8")
    assert recall_choice() == RunChoice("cpu", "float32")


def test_progress_is_that_of_all_cases_at_work_and_names_the_workers() -> None:
    progress = RunProgress()
    progress.take(event("started"))
    assert progress.spread() == ""
    progress.take(event("workers", workers=0))
    assert progress.spread() == "0 of 4 cases, waiting for a worker"
    progress.take(event("workers", workers=2))
    progress.take(event("progress", "a", tiles_done=5, tiles_total=10))
    progress.take(event("progress", "b", tiles_done=1, tiles_total=4))
    assert (progress.tiles_done, progress.tiles_total) == (6, 14)
    assert progress.share == pytest.approx(0.75 / 4)
    progress.take(event("case done", "a", done=1))
    assert (progress.tiles_done, progress.tiles_total, progress.spread()) == (1, 4, "1 of 4 cases, 2 workers")
    progress.take(event("workers", done=1, workers=1))
    assert progress.spread() == "1 of 4 cases, 1 worker"


def test_a_cluster_that_is_stopped_leaves_no_case_half_done() -> None:
    progress = RunProgress()
    for one in (
        event("started"),
        event("workers", workers=1),
        event("progress", "a", tiles_done=5, tiles_total=20),
    ):
        progress.take(one)
    progress.stop()
    assert progress.troubles == []
    assert progress.tiles_total == 0
    assert progress.summary() == "Stopped: 0 of 4 cases are done."
