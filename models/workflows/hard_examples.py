"""From a run with verdicts to a package of hard examples: one function for both faces."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ProjectError
from napari_medlab.evaluation import froc, match, match_at
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.errors.building import errors_at, low_confidence
from napari_medlab.hardcases.errors.disagreements import disagreements_of_verdicts
from napari_medlab.hardcases.errors.table import ErrorTable
from napari_medlab.hardcases.mining import DOUBTS, Example, MiningRule, mine
from napari_medlab.hardcases.package import MANIFEST, CropSettings, write_package
from napari_medlab.project import open_case
from napari_medlab.project.edits import add_export
from napari_medlab.project.records import ExportRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from napari_medlab.annotations import FindingTable
    from napari_medlab.hardcases.errors.table import ErrorKind
    from napari_medlab.images import Image
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import CaseRecord, Project

__all__ = ["choose_examples", "export_hard_examples", "queue_of_run"]

READERS_EDITS = ("verdict.set", "region.set", "finding.set", "group")
"""The kinds of edit that a package rests on."""


def queue_of_run(
    project: Project, run_id: str, fp_per_scan: float, kinds: Collection[ErrorKind] = ("fp", "fn")
) -> ErrorTable:
    """Return the errors of a run on training cases at an operating point, worst first; frozen cases never enter.

    ``kinds`` may hold ``"fp"``, ``"fn"`` and ``"duplicate"``, ``"disagreement"`` for objects about which readers gave
    different verdicts, and ``"low confidence"``.
    """
    cases = [case.case_id for case in _reviewed_cases(project, run_id)]
    findings, candidates = project.findings(), project.candidates(run_id)
    table = match(findings, candidates, cases)
    threshold = froc(table).threshold_at(fp_per_scan)
    sources = [errors_at(match_at(table, threshold), findings, candidates, kinds)]
    if "disagreement" in kinds:
        said = {
            reader: {object_id: each.verdict for object_id, each in verdicts.items()}
            for reader, verdicts in project.verdicts_by_reader(run_id).items()
            if reader  # what was adjudicated is no reader's own
        }
        known = findings.where(np.isin(findings.case_ids, cases)), candidates.where(np.isin(candidates.case_ids, cases))
        sources.append(disagreements_of_verdicts(said, *known))
    if "low confidence" in kinds:
        sources.append(low_confidence(table, candidates, threshold))
    return ErrorTable.joined(sources) if len(sources) > 1 else sources[0]


def _reviewed_cases(project: Project, run_id: str) -> list[CaseRecord]:
    """Return the training cases that a run is done with; frozen ones are not among them."""
    done = project.cases_done(run_id)
    return [c for c in project.cases() if c.case_id in done and c.split == "train" and not c.frozen]


def choose_examples(project: Project, run_id: str, fp_per_scan: float, rule: MiningRule) -> list[Example]:
    """Return the examples that a package would hold, all of training cases that the run has looked at."""
    frozen = {c.case_id for c in project.cases() if c.frozen or c.split != "train"}
    cases = _reviewed_cases(project, run_id)
    findings = project.findings()
    findings = findings.where(np.isin(findings.case_ids, [c.case_id for c in cases]))
    lattices = [(c.case_id, Grid.from_json(c.grid)) for c in cases if c.grid]
    places = _random_places(lattices, rule)
    verdicts = {object_id: v.verdict for object_id, v in project.verdicts(run_id).items()}
    examples = mine(queue_of_run(project, run_id, fp_per_scan), findings, places, verdicts, rule)
    leaked = {e.case_id for e in examples} & frozen
    if leaked:
        raise ProjectError(f"{len(leaked)} frozen test cases are among the examples.", code="leak")
    return examples


def export_hard_examples(
    project: Project, bundle: Bundle, run_id: str, folder: Path, options: tuple[float, MiningRule]
) -> Iterator[tuple[int, int]]:
    """Write a package and record it in the project; yields (crops done, crops in all).

    Parameters
    ----------
    project : open for writing
    bundle : the model that failed; its spacing is that of the crops
    run_id : its run
    folder : where the package goes; must not exist
    options : the false positives per scan that make the queue, and the rule by which examples are chosen

    Raises
    ------
    InputRefusedError
        Where there is nothing to write or the folder exists.
    """
    fp_per_scan, rule = options
    examples = choose_examples(project, run_id, fp_per_scan, rule)
    cases = {c.case_id: c for c in project.cases()}
    shown = sorted({e.case_id for e in examples})
    edits = [entry.id for entry in project.journal(kinds=READERS_EDITS)]
    about = {
        "model": {"name": bundle.name, "hash": bundle.hash},
        "run_id": run_id,
        "reader": project.reader,
        "fp_per_scan": fp_per_scan,
        "rule": {"budget": rule.budget, "per_case": rule.per_case, "replay_share": rule.replay_share, "seed": rule.seed},
        "edit_ids": edits,
        "sources": {case_id: cases[case_id].fingerprint for case_id in shown},
        "split": {case_id: cases[case_id].split for case_id in shown},
    }
    settings = CropSettings(spacing_mm=bundle.preprocessing.isotropic_mm)

    def image_of(case_id: str) -> Image:
        return open_case(project, case_id)

    yield from write_package(folder, examples, _known_findings(project, run_id), image_of, settings, about)
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    inside = folder.is_relative_to(project.folder)
    path = folder.relative_to(project.folder).as_posix() if inside else str(folder)
    project.commit(add_export(ExportRecord(path, "hard", digest, tuple(edits))))


def _known_findings(project: Project, run_id: str) -> FindingTable:
    """Return the findings; those whose label a reader called into doubt count neither as object nor as background."""
    findings = project.findings()
    doubted = [object_id for object_id, v in project.verdicts(run_id).items() if v.verdict in DOUBTS]
    return replace(findings, is_excluded=findings.is_excluded | np.isin(findings.ids, doubted))


def _random_places(lattices: list[tuple[str, Grid]], rule: MiningRule) -> list[tuple[str, tuple[float, ...]]]:
    """Return as many random places (world coordinates) as the budget could ask for, the cases taking turns."""
    rng = np.random.default_rng(rule.seed)
    places = []
    for number in range(rule.budget if lattices else 0):
        case_id, lattice = lattices[number % len(lattices)]
        index = rng.uniform(0.15, 0.85, lattice.ndim) * (np.asarray(lattice.shape) - 1)
        places.append((case_id, tuple(lattice.to_world(index).tolist())))
    return places
