"""Let two readers review the same run in two copies of a project, bring the copies together, and see where they differ.

Run as ``python examples/two_readers.py``. No image is looked at: findings, candidates and verdicts are drawn at random.
"""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Candidate, Finding, FindingTable, new_id
from napari_medlab.evaluation import froc, match, match_at
from napari_medlab.evaluation.agreement import lesion_agreement, verdict_agreement
from napari_medlab.hardcases.errors.building import errors_at
from napari_medlab.hardcases.errors.disagreements import disagreements_of_verdicts
from napari_medlab.hardcases.errors.verdicts import Judging, judge
from napari_medlab.project import CaseRecord, Project, Verdict
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    finish_run,
)

if TYPE_CHECKING:
    from napari_medlab.hardcases.errors.table import ErrorTable

CASES, RUN = 12, new_id()


def fill(project: Project) -> None:
    """Add cases with two findings each, and a run that finds most of them and three places where there is nothing."""
    rng = np.random.default_rng(1)
    project.commit(add_run(RUN, "", {"model": "made up"}))
    for number in range(CASES):
        case = CaseRecord(new_id(), f"images/{number}.mha", f"scan {number}", patient_key=f"p{number}")
        places = rng.uniform(0, 300, (5, 3)).tolist()
        findings = [Finding(case.case_id, tuple(place), 8.0) for place in places[:2]]
        marks = places[rng.integers(0, 2) :]
        project.commit(add_case(case))
        project.commit(add_findings(findings))
        project.commit(
            add_candidates(RUN, case.case_id, 0, [
                Candidate(case.case_id, tuple(place), float(rng.uniform(0.3, 1.0)), 8.0) for place in marks
            ])
        )  # fmt: skip
        project.commit(finish_case(RUN, case.case_id, 1.0))
    project.commit(finish_run(RUN))


def queue(project: Project) -> ErrorTable:
    """Return the errors of the run at two false positives per scan."""
    findings, candidates = project.findings(as_given=True), project.candidates(RUN)
    table = match(findings, candidates, [case.case_id for case in project.cases()])
    return errors_at(match_at(table, froc(table).threshold_at(2.0)), findings, candidates)


def review(folder: Path, reader: str, seed: int) -> None:
    """Judge every error: the model is wrong mostly, the reference now and then, which corrects it."""
    rng = np.random.default_rng(seed)
    with Project.open(folder, reader=reader) as project:
        given = {finding.finding_id: finding for finding in as_list(project.findings(as_given=True))}
        for item in queue(project):
            wrong = rng.random() < (0.5 if item.kind == "fp" and item.score > 0.8 else 0.05)
            verdict = Verdict("reference wrong" if wrong else "model wrong")
            now = partial(project.finding, reader=reader)
            project.commit(judge([Judging(item, RUN)], verdict, now, given.get))


def as_list(findings: FindingTable) -> list[Finding]:
    """Return findings as objects."""
    return [findings.finding(row) for row in range(len(findings))]


def main(folder: Path) -> None:
    """Print how far the readers agree, and what is to be settled."""
    with Project.create(folder / "ann", reader="data manager") as project:
        fill(project)
    shutil.copytree(folder / "ann", folder / "ben")
    review(folder / "ann", "ann", 2)
    review(folder / "ben", "ben", 3)
    with Project.open(folder / "ann", reader="chief") as project:
        merged = project.merge(folder / "ben")
        print(
            f"{merged.edits} edits of {', '.join(merged.readers)} taken over, {len(merged.conflicts)} conflicts."
        )
        said = {
            reader: {object_id: verdict.verdict for object_id, verdict in verdicts.items()}
            for reader, verdicts in project.verdicts_by_reader(RUN).items()
        }
        agreed = verdict_agreement(said["ann"], said["ben"])
        low, high = agreed.interval
        print(
            f"Verdicts: Cohen's kappa {agreed.kappa:.2f} (95 % interval {low:.2f} to {high:.2f}) on {agreed.n_objects}."
        )
        cases = [case.case_id for case in project.cases()]
        lesions = lesion_agreement(project.findings(reader="ann"), project.findings(reader="ben"), cases)
        print(f"Findings: ann {lesions.n_first}, ben {lesions.n_second}, F1 {lesions.f1:.2f}.")
        open_questions = disagreements_of_verdicts(
            said, project.findings(as_given=True), project.candidates(RUN)
        )
        print(f"To be settled: {len(open_questions)}, such as")
        for item in list(open_questions)[:3]:
            print(f"  {item.object_id[:8]}, score {item.score:.2f}: {item.other}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
