"""Closing the window while a model is at work: it asks, stops, and ends well."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms

if TYPE_CHECKING:
    from conftest import Survived

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


def close_at_work(project: Path) -> float:
    """Close the window at work, check that it ends well, and return the seconds that it took."""
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
    return float(seconds)


@pytest.mark.timeout(300)
def test_closing_at_work_asks_and_ends_well(project: Path) -> None:
    close_at_work(project)


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(2400)
def test_closing_at_work_ends_well_ten_times(project: Path, survived: Survived) -> None:
    seconds = []
    for _ in range(10):
        seconds.append(close_at_work(project))
        time.sleep(0.2)
    survived(
        "durability", "closing during inference", tried=10, survived=len(seconds), control=careless_close(),
        detail=f"the process had gone {max(seconds):.1f} s after the window was closed, at the latest",
    )  # fmt: skip


def careless_close() -> str:
    """Close a window whose thread nobody waits for, as the control, and tell how that ends."""
    code = (
        "from qtpy.QtCore import QCoreApplication, QThread\n"
        "class Work(QThread):\n"
        "    def run(self):\n"
        "        self.msleep(2000)\n"
        "application, work = QCoreApplication([]), Work()\n"
        "work.start()\n"
        "del work\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode != 0
    assert "QThread: Destroyed while thread" in ended.stderr
    return f'a thread that nobody waits for: "QThread: Destroyed", exit status {ended.returncode}'
