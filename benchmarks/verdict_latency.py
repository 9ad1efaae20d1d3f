"""How long a verdict takes to be on disk, and how long it holds the thread that gives it, with up to a million candidates.

    python benchmarks/verdict_latency.py [--candidates 10000 100000 1000000] [--verdicts 500] [--folder DIR]

Beside each verdict, a bare SQLite makes a row durable in a database of its own on the same disk. The folder must lie on the
disk to be measured.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
from figures import Figure, Goal, Growth, percentiles
from large_project import CASES, RUN, fill_project
from measuring import Record, arguments, recording, seconds_of

from napari_medlab.project import Project
from napari_medlab.project.edits import set_verdict

AREA = "Projects and verdicts"
DURABLE, HELD = Goal(50.0), Goal(5.0)
SIZES, QUICK_SIZES = [10_000, 100_000, 1_000_000], [200, 2_000]


class Latencies(NamedTuple):
    """Milliseconds until each verdict was on disk, while it held the caller, and until SQLite's row was on disk."""

    durable: list[float]
    held: list[float]
    bare: list[float]


def main() -> None:
    """Measure projects of every size; the goals hold for the largest."""
    parser = arguments(__doc__)
    parser.add_argument("--candidates", type=int, nargs="+", help="sizes, the smallest first")
    parser.add_argument("--verdicts", type=int, default=500)
    parser.add_argument(
        "--folder", type=Path, help="where to make the projects; a temporary folder where left out"
    )
    options = parser.parse_args()
    sizes = options.candidates or (QUICK_SIZES if options.quick else SIZES)
    with recording(__file__, options) as record:
        latencies, loading = [], []
        for size in sizes:
            with tempfile.TemporaryDirectory(dir=options.folder) as parent:
                took, loaded = measure(Path(parent), size, 50 if options.quick else options.verdicts)
                latencies.append(took)
                loading.append(loaded)
        tell(record, sizes[-1], latencies[-1])
        if len(sizes) > 1:
            durable = tuple(float(np.median(each.durable)) for each in latencies)
            held = tuple(float(np.median(each.held)) for each in latencies)
            of = "candidates"
            record.add(
                Growth(AREA, "verdict on disk, median", "ms", of, "constant", tuple(sizes), durable),
                Growth(AREA, "verdict holds the caller, median", "ms", of, "constant", tuple(sizes), held),
                Growth(AREA, "all candidates of a run read", "s", of, "n", tuple(sizes), tuple(loading)),
            )


def measure(parent: Path, candidates: int, verdicts: int) -> tuple[Latencies, float]:
    """Return the latencies of verdicts in a project of so many candidates, and the seconds to read all of these."""
    cases = min(CASES, candidates // 10)
    with Project.create(parent / "project", reader="benchmark") as project:
        stored = seconds_of(lambda: fill_project(project, candidates, cases=cases))
        print(f"{candidates:,} candidates stored in {stored:.1f} s", flush=True)
    with Project.open(parent / "project") as project, closing(bare_database(parent / "bare.sqlite")) as bare:
        loaded = seconds_of(lambda: project.candidates(RUN))
        return judge(project, bare, verdicts), loaded


def judge(project: Project, bare: sqlite3.Connection, verdicts: int) -> Latencies:
    """Give verdicts one by one, with a row of SQLite's after each, so that a busy moment of the disk meets both."""
    table = project.candidates(RUN)
    rows = np.random.default_rng(0).choice(len(table), size=min(verdicts, len(table)), replace=False)
    latencies = Latencies([], [], [])
    for number, row in enumerate(rows.tolist()):
        case_id, object_id = str(table.case_ids[row]), str(table.ids[row])
        start = time.perf_counter()
        future = project.submit(set_verdict(case_id, RUN, object_id, before=None, after="model wrong"))
        latencies.held.append(1e3 * (time.perf_counter() - start))
        future.result()
        latencies.durable.append(1e3 * (time.perf_counter() - start))
        start = time.perf_counter()
        bare.execute("INSERT INTO verdicts VALUES (?, ?, ?)", (number, object_id, "model wrong"))
        latencies.bare.append(1e3 * (time.perf_counter() - start))
    return latencies


def bare_database(path: Path) -> sqlite3.Connection:
    """Return a database whose every statement is durable, with the same care for power loss as ours."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE verdicts (id INTEGER PRIMARY KEY, object TEXT, verdict TEXT)")
    return db


def tell(record: Record, size: int, latencies: Latencies) -> None:
    """Record 99th percentiles beside their limits, and the median beside bare SQLite."""
    about = f"{size:,} candidates"
    for what, values, goal in (
        ("verdict on disk", latencies.durable, DURABLE),
        ("verdict holds the caller", latencies.held, HELD),
    ):
        p50, p99, most = percentiles(values, 50, 99, 100)
        print(f"{what}: p50 {p50:.3f} ms, p99 {p99:.3f} ms, most {most:.3f} ms")
        record.add(Figure(AREA, f"{what}, p99", p99, "ms", goal, how=about))
    record.add(
        Figure.of_turns(
            AREA, "verdict on disk, median", {"ours": latencies.durable, "bare SQLite, one row": latencies.bare}, "ms", None,
            how=f"{about}; WAL and full sync for both",
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
