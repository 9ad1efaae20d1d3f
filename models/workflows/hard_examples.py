"""From a run with verdicts to a package of hard examples: one function for both faces."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.parts import parts_of
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.results import results_of
from napari_medlab.jobs.spreading import Here, Task
from napari_medlab.models.training.packages import SCHEMA
from napari_medlab.models.workflows.hard_choosing import HardOptions, choose_examples
from napari_medlab.models.workflows.hard_cutting import ExampleCutter
from napari_medlab.models.workflows.hard_pools import queue_of_run
from napari_medlab.models.workflows.hard_splitting import sides_of_chosen
from napari_medlab.models.workflows.hard_writing import new_package, write_examples
from napari_medlab.models.workflows.sample_known import AT_ONCE, CaseReader
from napari_medlab.project.exported import record_export
from napari_medlab.project.keep_lists import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.hardcases.mining import Chosen, Example
    from napari_medlab.jobs.spreading import Spread
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.hard_splitting import Side
    from napari_medlab.models.workflows.hard_writing import PackageWriter
    from napari_medlab.project import Project

__all__ = ["READERS_EDITS", "HardOptions", "choose_examples", "export_hard_examples", "queue_of_run"]

READERS_EDITS = ("verdict.set", "region.set", "finding.set", "group")
"""The kinds of edit that a package rests on."""


def export_hard_examples(  # noqa: PLR0913 - what goes in, where to, and who does it
    project: Project, bundle: Bundle, run_id: str, folder: Path, options: HardOptions | None = None,
    cancel: CancelToken | None = None, spread: Spread | None = None,
) -> Iterator[tuple[int, int]]:  # fmt: skip
    """Write a package, whole or not at all, and record it in the project; yields (examples done, examples in all).

    Each example is one sample, as the network or the classifier of the bundle sees it. Files are named by numbers, cases by
    their keys, and readers are numbered; the names of patients and of files are nowhere in it.

    Parameters
    ----------
    project : Project
        The export is recorded where it is open for writing.
    bundle : Bundle
        The model that the examples are for: as a rule the one that failed.
    run_id : str
    folder : Path
        Where the package goes; must not exist.
    options : HardOptions, optional
    cancel : CancelToken, optional
        Looked at before each example.
    spread : Spread, optional
        Who cuts the examples, case by case; this process where left out. Its workers see the images, and write beside ``folder``,
        under the same paths. The package is the same.

    Raises
    ------
    InputRefusedError
        ``exists``; ``empty`` where there is nothing to write; ``changed`` where an image is not the one that was added;
        ``folds`` where there are too few patients to split; ``part``, ``wrong-kind`` or ``channels`` where the model does
        not fit.
    ImageRefusedError, ProjectError, DiskError, CancelledError
        Nothing is left of the folder.
    """
    token = cancel or CancelToken()
    asked = options or HardOptions()
    cutter = ExampleCutter(bundle, asked, token.check)
    with new_package(folder) as writer:
        chosen = choose_examples(project, run_id, asked, bundle=bundle, watch=(None, token.check))
        reader, sides = CaseReader(project, run_id), sides_of_chosen(project, chosen, asked)
        package = _Package(project, run_id, reader, cutter, chosen, sides, writer)
        yield from package.write(spread or Here(), token)
        record_export(project, folder, "hard", writer.finish(package.about()), package.edit_ids)


@dataclass
class _Package:
    """A package at work: what it is made of, and what has been written."""

    project: Project
    run_id: str
    reader: CaseReader
    cutter: ExampleCutter
    chosen: Chosen
    sides: dict[str, Side]
    writer: PackageWriter
    edit_ids: tuple[int, ...] = ()
    keys: Keys = field(default_factory=Keys)
    counts: Counter[str] = field(default_factory=Counter)

    def write(self, spread: Spread, cancel: CancelToken) -> Iterator[tuple[int, int]]:
        """Have the examples cut and written, each case opened once; yield for each as its case is done."""
        if not len(self.chosen):
            raise InputRefusedError(
                f"There are no hard examples to write{_reasons(self.chosen)}.", code="empty",
                hint="Allow more false positives per scan, run the model on training cases first, or give cases that were read "
                "and are normal the value yes in their column read.",
            )  # fmt: skip
        done, total = 0, len(self.chosen)
        with parts_of(self.writer.folder) as parts:
            for case_id, made in self._cut(parts, spread, cancel):
                # some teach nothing and are left out
                total -= len(self._of_case(case_id)) - len(made["records"])
                for _ in made["records"]:
                    done += 1
                    yield done, total
        cancel.check()
        if not self.writer.records:
            raise InputRefusedError("None of the places chosen is anything to learn from.", code="empty")
        shown = {record["case_id"] for record in self.writer.records}
        journal = self.project.journal(kinds=READERS_EDITS)
        self.edit_ids = tuple(one.id for one in journal if one.case_id is None or one.case_id in shown)

    def _cut(self, parts: Path, spread: Spread, cancel: CancelToken) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what was cut of each case, as they come; the examples are taken in the order in which they were chosen."""
        cases = self.chosen.case_ids
        for first in range(0, len(cases), AT_ONCE):
            tasks = [self._task(case_id, parts) for case_id in cases[first : first + AT_ONCE]]
            cut: dict[str, dict[str, Any]] = {}
            with results_of(spread, write_examples, tasks, cancel) as results:
                for case_id, made in results:
                    cut[case_id] = made
                    yield case_id, made
            for task in tasks:
                self._take(parts, cut[task.key])

    def _of_case(self, case_id: str) -> list[Example]:
        return [one for one in self.chosen.examples if one.case_id == case_id]

    def _task(self, case_id: str, parts: Path) -> Task:
        known = self.reader.known(self.project.case(case_id))
        return Task(case_id, {
            "bundle": self.cutter.bundle, "options": self.cutter.options, "known": known,
            "examples": self._of_case(case_id), "parts": str(parts),
        })  # fmt: skip

    def _take(self, parts: Path, made: dict[str, Any]) -> None:
        """Take the examples of a case into the package, and say what concerns the package as a whole."""
        records = []
        for record in made["records"]:
            side = self.sides[record["case_id"]]
            object_id = self.keys.of(record["object_id"])
            records.append({**record, "object_id": object_id, "split": side.split, "fold": side.fold})
        self.writer.take(parts / made["attempt"], records)
        self.counts.update(made["counts"])

    def about(self) -> dict[str, Any]:
        """Return what the manifest says beside the list of examples."""
        part, options, bundle = self.cutter.part, self.cutter.options, self.cutter.bundle
        cases = [
            self.project.case(key) for key in dict.fromkeys(one["case_id"] for one in self.writer.records)
        ]
        left_out = Counter(self.chosen.left_out) + self.counts
        return {
            "schema": SCHEMA,
            "format": "hard",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "task": part.task,
            "part": part.name,
            "classes": list(part.classes),
            "preprocessing": part.preprocessing,
            "shape": list(self.cutter.shape),
            "model": {"name": bundle.name, "hash": bundle.hash},
            "run_id": self.keys.of(self.run_id),
            "reader": _reader_key(self.project),
            "rule": options.rule.as_json(),
            "fp_per_scan": options.fp_per_scan,
            "split_by": options.split_by,
            "validation_share": options.validation_share,
            "folds": options.folds,
            "warnings": list(self.chosen.warnings),
            "left_out": dict(left_out.most_common()),
            "edit_ids": list(self.edit_ids),
            "sources": {case.case_id: case.fingerprint for case in cases},
            "patients": {case.case_id: self.reader.patients[case.case_id] for case in cases},
        }


def _reader_key(project: Project) -> str:
    """Return the number of the reader, as a shared copy of the project calls them."""
    keys = Keys()
    with project.reading() as db:
        for row in db.execute("SELECT reader FROM journal GROUP BY reader ORDER BY MIN(id)"):
            keys.reader(row[0])
    return keys.reader(project.reader)


def _reasons(chosen: Chosen) -> str:
    """Return why nothing was chosen, as the end of a sentence."""
    told = ", ".join(f"{count} {reason}" for reason, count in chosen.left_out.items())
    return f": all were left out ({told})" if told else ": the queue of training cases is empty"
