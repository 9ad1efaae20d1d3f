"""Run the shipped detector over phantoms in a process of its own, and evaluate what it found.

Run as ``python examples/detect_nodules.py``; it takes about a minute on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from napari_medlab.evaluation import froc
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles.registry import find_bundle
from napari_medlab.models.inference.worker import MODULE
from napari_medlab.models.workflows.judge import match_run
from napari_medlab.models.workflows.predict import run_bundle
from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms


def main(folder: Path) -> None:
    """Make a project, run the detector over it and print how many nodules it found."""
    with Project.create(folder, reader="example") as project, WorkerProcess(MODULE) as worker:
        for done, total in fill_with_phantoms(project, SampleSize(train=3, test=0)):
            print(f"phantom {done} of {total}", file=sys.stderr)
        cases = [case.case_id for case in project.cases()]
        run_id = ""
        for event in run_bundle(project, find_bundle("lung-nodules"), cases, worker, CancelToken()):
            run_id = event.run_id
            if event.kind == "case done":
                print(f"case {event.done} of {event.total}: {event.seconds:.1f} s", file=sys.stderr)
        table = match_run(project, run_id, cases)
        sensitivity = froc(table).sensitivity_at([1.0])[0]
    print(
        f"{table.counts['tp']} of {table.n_findings} nodules have a candidate, {table.counts['fp']} candidates are false."
    )
    print(f"Sensitivity at one false positive per scan: {sensitivity:.2f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary) / "project")
