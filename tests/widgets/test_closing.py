"""Closing the window while a model is at work: it asks, stops, and ends well."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms

pytestmark = pytest.mark.window

SCRIPT = Path(__file__).with_name("window_closed_at_work.py")
HANG = 200
LIMIT = 5.0
"""Seconds from closing to the end of the process, as promised."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closing") / "project"
    with Project.create(folder, reader="closing") as made:
        list(fill_with_phantoms(made, SampleSize(6, 0)))
    return folder


def close_at_work(project: Path) -> None:
    window = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(project)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    guard = threading.Timer(HANG, window.kill)
    guard.start()
    said, errors = window.communicate()
    guard.cancel()
    assert window.returncode == 0, errors[-3000:]
    assert "QThread" not in errors
    assert "Traceback" not in errors
    asked, seconds = said.splitlines()
    assert asked.count("Running the model is still going on.") == 2
    assert float(seconds) < LIMIT
    with Project.open(project) as opened:
        assert not opened.is_read_only, "whoever held the project is gone"
        assert opened.verify() == []


@pytest.mark.timeout(300)
def test_closing_at_work_asks_and_ends_well(project: Path) -> None:
    close_at_work(project)


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_closing_at_work_ends_well_ten_times(project: Path) -> None:
    for _ in range(10):
        close_at_work(project)
        time.sleep(0.2)
