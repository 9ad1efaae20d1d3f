"""Projects of 89, 888 and 8,880 cases: opening, reading, evaluation, and the queue of errors.

    python benchmarks/many_cases.py [--cases 89 888 8880]

Every case has 56 candidates, as in LUNA16. The evaluation is held against the plain loop over scans.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from figures import Figure, Goal, Growth
from froc_speed import plain_match
from large_project import RUN, fill_project
from measuring import arguments, recording, seconds_of

from napari_medlab.evaluation import match
from napari_medlab.models.workflows.hard_examples import queue_of_run
from napari_medlab.project import Project

if TYPE_CHECKING:
    from napari_medlab.annotations import CandidateTable, FindingTable

AREA = "Many cases"
SIZES, QUICK_SIZES = [89, 888, 8_880], [9, 89]
CANDIDATES, ROUNDS = 56, 3
OPENING, QUEUE = Goal(2.0), Goal(5.0)
OPERATING_POINT = 1.0


class Times(NamedTuple):
    """Seconds: medians of several rounds."""

    opened: float
    read: float
    evaluated: float
    queued: float
    loop: float


def main() -> None:
    """Measure projects of every size; the goals hold for the largest."""
    parser = arguments(__doc__)
    parser.add_argument("--cases", type=int, nargs="+", help="sizes, the smallest first")
    options = parser.parse_args()
    sizes = options.cases or (QUICK_SIZES if options.quick else SIZES)
    with recording(__file__, options) as record:
        times = [measure(size) for size in sizes]
        last = times[-1]
        about = f"{sizes[-1]:,} cases, {CANDIDATES * sizes[-1]:,} candidates"
        record.add(
            Figure(AREA, "opening a project", last.opened, "s", OPENING, how=about),
            Figure(AREA, "from the folder to the queue of errors", last.opened + last.queued, "s", QUEUE, how=about),
            Figure(AREA, "matching", last.evaluated, "s", Goal(1.0, "ratio"), "plain loop over scans", last.loop, how=about),
        )  # fmt: skip
        if len(sizes) > 1:
            for what, values in (
                ("opening a project", [each.opened for each in times]),
                ("reading cases, findings and candidates", [each.read for each in times]),
                ("matching", [each.evaluated for each in times]),
                ("the queue of errors, from the database", [each.queued for each in times]),
            ):
                record.add(Growth(AREA, what, "s", "cases", "n log n", tuple(sizes), tuple(values)))


def measure(cases: int) -> Times:
    """Return the times of a project of so many cases."""
    rounds = []
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "project"
        with Project.create(folder, reader="benchmark") as project:
            filled = seconds_of(lambda: fill_project(project, CANDIDATES * cases, cases=cases))
        print(f"{cases:,} cases stored in {filled:.1f} s", flush=True)
        for _ in range(ROUNDS):
            projects: list[Project] = []
            opened = seconds_of(lambda projects=projects: projects.append(Project.open(folder)))  # type: ignore[misc]
            with projects[0] as project:
                rounds.append((opened, *times_of(project)))
    return Times(*np.median(rounds, axis=0).tolist())


def times_of(project: Project) -> tuple[float, float, float, float]:
    """Return the seconds to read everything, to match it, to make the queue, and of the plain loop."""
    tables: list[tuple[FindingTable, CandidateTable, list[str]]] = []

    def read() -> None:
        cases = [case.case_id for case in project.cases()]
        tables.append((project.findings(), project.candidates(RUN), cases))

    taken = seconds_of(read)
    evaluated = seconds_of(lambda: match(*tables[0]))
    queued = seconds_of(lambda: queue_of_run(project, RUN, OPERATING_POINT, ["fp", "fn"]))
    loop = seconds_of(lambda: plain_match(*tables[0]))
    return taken, evaluated, queued, loop


if __name__ == "__main__":
    main()
