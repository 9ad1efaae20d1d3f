"""How long a verdict takes to be on disk, and how long it holds the thread that gives it.

    python benchmarks/verdict_latency.py [--candidates 1000000] [--verdicts 500] [--folder DIR]

Prints milliseconds and their share of the limit. The folder must lie on the disk to be measured.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_candidates, add_case, add_run, set_verdict

RUN = "benchmark"
CASES, BATCH = 100, 1000
DURABLE_MS, HELD_MS = 50.0, 5.0


def fill(folder: Path, candidates: int) -> None:
    """Make a project with so many candidates, spread over a hundred cases in batches of a thousand."""
    with Project.create(folder, reader="benchmark") as project:
        project.commit(add_run(RUN, "", {}))
        for number in range(CASES):
            case_id = new_id()
            project.commit(add_case(CaseRecord(case_id, f"{number}.mha", str(number))))
            places = np.random.default_rng(number).normal(size=(candidates // CASES, 4)).tolist()
            for batch, start in enumerate(range(0, len(places), BATCH)):
                some = [Candidate(case_id, (x, y, z), s) for x, y, z, s in places[start : start + BATCH]]
                project.commit(add_candidates(RUN, case_id, batch, some))


def measure(project: Project, verdicts: int) -> tuple[list[float], list[float]]:
    """Return, in milliseconds, how long each verdict took to be durable and how long it held the caller."""
    table = project.candidates(RUN)
    rows = np.random.default_rng(0).choice(len(table), size=min(verdicts, len(table)), replace=False)
    durable, held = [], []
    for row in rows.tolist():
        case_id, object_id = str(table.case_ids[row]), str(table.ids[row])
        start = time.perf_counter()
        future = project.submit(set_verdict(case_id, RUN, object_id, before=None, after="model wrong"))
        held.append(1e3 * (time.perf_counter() - start))
        future.result()
        durable.append(1e3 * (time.perf_counter() - start))
    return durable, held


def report(name: str, values: list[float], limit: float) -> None:
    """Print the median and the 99th percentile beside the limit."""
    p50, p99 = np.percentile(values, [50, 99]).tolist()
    print(
        f"{name:26s} p50 {p50:.3f} ms   p99 {p99:.3f} ms   limit {limit:.0f} ms   p99/limit {p99 / limit:.3f}"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--verdicts", type=int, default=500)
    parser.add_argument(
        "--folder", type=Path, help="where to make the project; a temporary folder where left out"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as parent:
        folder = Path(parent) / "project"
        start = time.perf_counter()
        fill(folder, options.candidates)
        print(f"{options.candidates} candidates stored in {time.perf_counter() - start:.1f} s")
        start = time.perf_counter()
        with Project.open(folder) as project:
            opened = time.perf_counter() - start
            limit = 2.0 if options.candidates <= 100_000 else 5.0
            print(f"opened in {opened:.3f} s   limit {limit:.0f} s   ratio {opened / limit:.3f}")
            start = time.perf_counter()
            count = len(project.candidates(RUN))
            print(f"{count} candidates loaded in {time.perf_counter() - start:.3f} s")
            durable, held = measure(project, options.verdicts)
            report("verdict on disk", durable, DURABLE_MS)
            report("submit() holds the caller", held, HELD_MS)
            start = time.perf_counter()
            problems = project.verify()
            print(f"verified in {time.perf_counter() - start:.1f} s: {problems or 'sound'}")


if __name__ == "__main__":
    main()
