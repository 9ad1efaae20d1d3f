"""From a project to samples of one's own: what a configuration is trained on, as its network will see it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.durable import new_folder, write_file
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.exchange.parts import attempt_in, move_in, parts_of
from napari_medlab.jobs.results import outcomes_of
from napari_medlab.jobs.spreading import Here, Outcome, Task
from napari_medlab.models.workflows.hard_examples import READERS_EDITS
from napari_medlab.models.workflows.sample_known import AT_ONCE, CaseReader
from napari_medlab.models.workflows.sample_making import SampleMaker, SampleOptions
from napari_medlab.models.workflows.sample_storing import store_sample
from napari_medlab.project.exported import record_export
from napari_medlab.project.keep_lists import Keys
from napari_medlab.project.unread import reading_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.spreading import Spread, Tell
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.project import CaseRecord, Project

Kind = Literal["case done", "case failed"]

__all__ = ["MANIFEST", "SampleEvent", "SampleOptions", "export_samples", "write_samples"]

MANIFEST = "manifest.json"
SCHEMA = 1
FATAL = ("disk", "not-shared")
"""Refusals that are not about one case."""
SUFFIXES = {"train": ".npz", "test": ".test"}
"""Training reads files that end in .npz: those of test cases do not, wherever they are copied to."""


@dataclass(frozen=True)
class SampleEvent:
    """What happens during an export.

    Parameters
    ----------
    kind : {"case done", "case failed"}
    case_id, name : of the case
    done, total : int
        Cases finished, failed ones included, and cases in all.
    samples : int
        Written so far, of all cases; of a case that failed none is kept.
    error : str
        Why a case failed; the others go on.
    """

    kind: Kind
    case_id: str
    name: str
    done: int
    total: int
    samples: int
    error: str = ""


def export_samples(
    project: Project, configuration: Configuration, out: Path, cancel: CancelToken,
    options: SampleOptions | None = None, spread: Spread | None = None,
) -> Iterator[SampleEvent]:  # fmt: skip
    """Write samples of the cases of a project into a new folder, whole or not at all; a generator.

    The reference is the project's as it is settled, corrections included. Findings whose label a reader called into doubt,
    in any run, are neither lesion nor background. Files are named by the keys of cases, and nothing in the folder tells
    who the patients are. Cases without a lesion become samples, too, but for training cases that nobody is known to have
    read, and for those of patients who have a test case. The export is recorded in the project where that is
    open for writing.

    Parameters
    ----------
    project : Project
    configuration : says how images are prepared, which classes there are, and for what task
    out : the folder; must not exist
    cancel : looked at before each sample
    options : SampleOptions, optional
    spread : who makes the samples, case by case; this process where left out. Its workers see the images, and write beside
        ``out``, under the same paths. What comes of it is the same.

    Raises
    ------
    InputRefusedError
        ``exists``; ``no-cases`` where none is of the split and of a kind that the network reads; ``classes`` with the names
        of those that the configuration does not know; ``no-run`` and ``option`` where a run is missing or of no use; where
        no case gives a sample, the reason of the first.
    CancelledError, DiskError
        Nothing is left of the folder.
    """
    export = _Export(project, configuration, options or SampleOptions(), cancel)
    with new_folder(out) as folder:
        yield from export.cases_into(folder, spread or Here())
        cancel.check()
        text = json.dumps(export.manifest(), indent=1, allow_nan=False).encode()
        write_file(folder / MANIFEST, text)
        record_export(project, out, "samples", text, export.edits)


def write_samples(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> dict[str, Any]:
    """Make the samples of one case and write them into a folder of their own.

    Parameters
    ----------
    request : dict
        ``configuration`` and ``options``, as :class:`~napari_medlab.models.workflows.sample_making.SampleMaker` takes them;
        ``known``, the case; and ``parts``, the folder for attempts.
    cancel : CancelToken
    tell : callable

    Returns
    -------
    dict
        ``attempt``, the name of the folder; ``records``, what the manifest tells of each sample by itself; and ``counts``, how
        often something happened that it is to tell.
    """
    case, options = request["known"], request["options"]
    maker = SampleMaker(request["configuration"], options, cancel)
    records: list[dict[str, Any]] = []
    with attempt_in(request["parts"]) as own:
        for number, (sample, about) in enumerate(maker.samples_of(case)):
            name = f"{case.case_id}-{number:05d}{SUFFIXES[options.split]}"
            digest = store_sample(own / name, sample)
            records.append({"file": name, "sha256": digest, "case_id": case.case_id, **about})
            tell(number, number + 1)
    return {"attempt": own.name, "records": records, "counts": maker.counts}


@dataclass
class _Export:
    """An export at work: what it reads, and what it has written down of each case."""

    project: Project
    configuration: Configuration
    options: SampleOptions
    cancel: CancelToken
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, MedlabError] = field(default_factory=dict)
    keys: Keys = field(default_factory=Keys)

    def __post_init__(self) -> None:
        self._check_run(is_needed=self.configuration.task == "classification")
        self.maker = SampleMaker(self.configuration, self.options, self.cancel)
        self.reader = CaseReader(self.project, self.options.run_id)
        self.done = self.project.cases_done(self.options.run_id) if self.options.run_id else None
        self.cases = self._chosen()
        self.edits = [entry.id for entry in self.project.journal(kinds=READERS_EDITS)]
        findings = self.project.findings()
        counts = np.isin(findings.case_ids, [case.case_id for case in self.cases]) & ~findings.is_excluded
        self.maker.rule.check(findings.labels[counts].tolist())

    def cases_into(self, folder: Path, spread: Spread) -> Iterator[SampleEvent]:
        """Have the samples of every case written, and yield what becomes of each case."""
        names, samples = {case.case_id: case.name for case in self.cases}, 0
        with parts_of(folder) as parts:
            for outcome in self._outcomes(parts, spread):
                if outcome.error is None:
                    self._take(folder, parts, outcome)
                    samples += len(outcome.value["records"])
                elif outcome.error.code in FATAL:
                    raise outcome.error
                else:
                    self.failed[outcome.key] = outcome.error
                kind: Kind = "case done" if outcome.error is None else "case failed"
                done, why = (
                    len(self.made) + len(self.failed),
                    "" if outcome.error is None else str(outcome.error),
                )
                yield SampleEvent(kind, outcome.key, names[outcome.key], done, len(self.cases), samples, why)
        if not samples:
            errors = [self.failed[key] for key in names if key in self.failed]
            reason = f"; the first: {errors[0]}" if errors else ": there is nothing in them to learn from"
            raise InputRefusedError(
                f"None of the {len(self.cases)} cases gives a sample{reason}", code="no-samples"
            )

    def manifest(self) -> dict[str, Any]:
        """Return what the folder says about itself; names of files and of patients are not in it."""
        run_id, bundle = self.options.run_id, ""
        if run_id:
            bundle = self.project.run(run_id).bundle_hash
        # as the project lists the cases, in whatever order they were done
        made = [self.made[case.case_id] for case in self.cases if case.case_id in self.made]
        failed = {
            case.case_id: self.failed[case.case_id].code for case in self.cases if case.case_id in self.failed
        }
        counts = sum((Counter(each["counts"]) for each in made), Counter(self.maker.counts))
        return {
            "schema": SCHEMA,
            "format": "samples",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "split": self.options.split,
            "task": self.configuration.task,
            "classes": list(self.configuration.classes),
            "configuration": {"name": self.configuration.name, "sha256": self.configuration.hash},
            "preprocessing": self.maker.preprocessing.as_json(),
            "options": asdict(self.options) | {"run_id": self.keys.of(run_id)},
            "run_id": self.keys.of(run_id),
            "bundle": bundle,
            "edit_ids": self.edits,
            "sources": {case.case_id: case.fingerprint for case in self.cases if case.case_id not in failed},
            "failed": failed,
            "counts": dict(counts),
            "samples": [record for each in made for record in each["records"]],
        }

    def _check_run(self, *, is_needed: bool) -> None:
        if is_needed and not self.options.run_id:
            raise InputRefusedError(
                "A classifier learns from the candidates of a run, and none was named.", code="no-run",
                hint="Run a detector on the training cases, and name its run.",
            )  # fmt: skip
        if self.options.run_id and not is_needed:
            raise InputRefusedError(
                f"A run gives a classifier its candidates; the configuration is for {self.configuration.task}.",
                code="option", hint="Leave the run out.",
            )  # fmt: skip
        if self.options.run_id:
            self.project.run(self.options.run_id)

    def _chosen(self) -> list[CaseRecord]:
        """Return the cases of the split that the network reads; test cases only where they are asked for by name."""
        is_test, kinds = self.options.split == "test", self.maker.preprocessing.kinds
        all_cases = self.project.cases()
        of_split = [case for case in all_cases if (case.frozen or case.split == "test") == is_test]
        cases = self._left_in(
            "cases of other kinds", of_split, {c.case_id for c in of_split if c.kind not in kinds}
        )
        if not is_test:
            cases = self._left_in("cases nobody has read", cases, reading_of(self.project).unread)
            of_test = {case.group for case in all_cases if case.frozen or case.split == "test"}
            of_patients = {case.case_id for case in cases if case.group in of_test}
            cases = self._left_in("cases of patients in the test set", cases, of_patients)
        if not cases:
            told = ", ".join(f"{count} {reason}" for reason, count in self.maker.counts.items() if count)
            raise InputRefusedError(
                f"The project has no {' or '.join(kinds)} for {'testing' if is_test else 'training'}"
                f"{f' ({told})' if told else ''}.",
                code="no-cases",
                hint="Choose a configuration made for these images; give cases that were read and are normal the value yes in "
                "their column read.",
            )  # fmt: skip
        return cases

    def _left_in(self, reason: str, cases: list[CaseRecord], out: Collection[str]) -> list[CaseRecord]:
        """Return the cases that are not among those left out, and count the others."""
        kept = [case for case in cases if case.case_id not in out]
        self.maker.count(f"{reason}, left out", len(cases) - len(kept))
        return kept

    def _outcomes(self, parts: Path, spread: Spread) -> Iterator[Outcome]:
        """Yield what comes of each case, as they come."""
        for first in range(0, len(self.cases), AT_ONCE):
            tasks = []
            for case in self.cases[first : first + AT_ONCE]:
                try:
                    tasks.append(self._task(case, parts))
                except MedlabError as error:  # the project has no image of it, say
                    yield Outcome(case.case_id, error=error)
            with outcomes_of(spread, write_samples, tasks, self.cancel) as outcomes:
                yield from outcomes

    def _task(self, case: CaseRecord, parts: Path) -> Task:
        if self.done is not None and case.case_id not in self.done:
            raise InputRefusedError("The run has not looked at this case.", code="not-done")
        return Task(case.case_id, {
            "configuration": self.configuration, "options": self.options, "known": self.reader.known(case),
            "parts": str(parts),
        })  # fmt: skip

    def _take(self, folder: Path, parts: Path, outcome: Outcome) -> None:
        """Take the samples of a case into the folder."""
        for record in outcome.value["records"]:
            move_in(parts / outcome.value["attempt"] / record["file"], folder / record["file"])
            if "object_id" in record:
                record["object_id"] = self.keys.of(record["object_id"])
        self.made[outcome.key] = outcome.value
