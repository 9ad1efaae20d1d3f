"""How long a project takes to open after its process was killed with a large write-ahead log.

    python benchmarks/reopen.py [--candidates 10000 100000 1000000]

A child fills a project while another connection holds a snapshot of its beginning, so that nothing of the log can be
brought into the database; then it kills itself by SIGKILL. The folder is copied, and copies are opened in turn by us and by
a bare SQLite that recovers the log, runs ``quick_check`` and counts the journal.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
from figures import Figure, Goal, Growth
from large_project import CASES, RUN, fill_project
from measuring import MIB, arguments, recording, seconds_of

from napari_medlab.project import Project

AREA = "Projects and verdicts"
DATABASE = "project.sqlite"
SIZES, QUICK_SIZES = [10_000, 100_000, 1_000_000], [500, 5_000]
LIMITS = {100_000: 2.0, 1_000_000: 5.0}
"""Seconds, by the number of candidates."""
ROUNDS = 3


def main() -> None:
    """Measure projects of every size, or be the child that fills one and dies."""
    parser = arguments(__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", help="sizes, the smallest first")
    parser.add_argument("--fill", type=Path, metavar="DIR", help="fill a project there, and be killed")
    options = parser.parse_args()
    sizes = options.candidates or (QUICK_SIZES if options.quick else SIZES)
    if options.fill is not None:
        fill_and_die(options.fill, sizes[0])
    with recording(__file__, options) as record:
        opened, ready = [], []
        for size in sizes:
            took = measure(size)
            opened.append(float(np.median(took["opened"])))
            ready.append(float(np.median(took["ready"])))
            limit = next((seconds for most, seconds in LIMITS.items() if size <= most), LIMITS[1_000_000])
            about = f"{size:,} candidates, killed with {took['log'][0]:.0f} MiB in the log; files in the system's cache"
            record.add(
                Figure.of_turns(
                    AREA, "reopening after a crash", {"ours": took["opened"], "bare SQLite": took["bare"]}, "s", Goal(limit),
                    how=about,
                ),
                Figure(AREA, "… until cases and candidates are read", ready[-1], "s", Goal(limit), how=about),
            )  # fmt: skip
        if len(sizes) > 1:
            record.add(
                Growth(AREA, "reopening after a crash", "s", "candidates", "n", tuple(sizes), tuple(opened)),
                Growth(
                    AREA,
                    "… until cases and candidates are read",
                    "s",
                    "candidates",
                    "n",
                    tuple(sizes),
                    tuple(ready),
                ),
            )


def fill_and_die(folder: Path, candidates: int) -> None:
    """Fill a project, keeping everything in its log, and end without a chance to tidy."""
    project = Project.create(folder, reader="benchmark")
    snapshot = sqlite3.connect(folder / DATABASE, isolation_level=None)
    snapshot.execute("BEGIN")
    snapshot.execute("SELECT count(*) FROM journal").fetchone()
    fill_project(project, candidates, cases=min(CASES, candidates // 10))
    os.kill(os.getpid(), signal.SIGKILL)


def measure(candidates: int) -> dict[str, list[float]]:
    """Return the seconds of every round, and the size of the log in MiB.

    Raises
    ------
    RuntimeError
        Where the child was not killed as it should, or left no log to recover.
    """
    took: dict[str, list[float]] = {"opened": [], "ready": [], "bare": [], "log": []}
    with tempfile.TemporaryDirectory() as parent:
        killed = Path(parent) / "killed"
        command = [sys.executable, __file__, "--fill", str(killed), "--candidates", str(candidates)]
        status = subprocess.run(command, check=False).returncode
        log = (killed / f"{DATABASE}-wal").stat().st_size / MIB
        if status != -signal.SIGKILL or log < 1:
            raise RuntimeError(f"the child ended with {status} and left a log of {log:.1f} MiB")
        took["log"].append(log)
        for number in range(ROUNDS):
            ours, bare = (
                shutil.copytree(killed, Path(parent) / f"{who}-{number}") for who in ("ours", "bare")
            )
            reopen(ours, candidates, took)
            took["bare"].append(seconds_of(partial(recover, bare / DATABASE)))
            shutil.rmtree(ours)
            shutil.rmtree(bare)
    return took


def reopen(folder: Path, candidates: int, took: dict[str, list[float]]) -> None:
    """Open a copy, read what the window shows first, and make sure that everything is there."""
    projects: list[Project] = []
    opened = seconds_of(lambda: projects.append(Project.open(folder, reader="benchmark")))
    with projects[0] as project:
        read = seconds_of(lambda: (project.cases(), project.findings(), project.candidates(RUN)))
        count = len(project.candidates(RUN))
    if not candidates - CASES < count <= candidates:
        raise RuntimeError(f"{count} of {candidates} candidates are left")
    took["opened"].append(opened)
    took["ready"].append(opened + read)


def recover(database: Path) -> int:
    """Return the number of edits that a bare SQLite finds."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA quick_check").fetchall()
        return int(db.execute("SELECT count(*) FROM journal").fetchone()[0])


if __name__ == "__main__":
    main()
