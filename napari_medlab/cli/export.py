"""``napari-medlab export DIR``: what a project holds, for others to read; cases by key, patients not at all."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.evaluate import count
from napari_medlab.cli.export_samples import add_sample_arguments, asked_for, write_samples
from napari_medlab.cli.models import bundle_folders
from napari_medlab.cli.predict import table_bytes
from napari_medlab.cli.queue import FP_PER_SCAN, add_run_arguments, choose_run
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.project import Project

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=tuple(FORMATS),
        help="luna16: tables of findings and of a run's candidates; hard: a package of hard examples; samples: what a "
        "configuration is trained on",
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", type=Path, help="the new folder; must not exist"
    )
    parser.add_argument(
        "--budget", type=count, metavar="N", help="at most this many errors in a package of hard examples"
    )
    add_sample_arguments(parser)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    of_samples = asked_for(options)
    if options.format != "samples" and of_samples:
        raise InputRefusedError(
            f"{', '.join(of_samples)} {'is' if len(of_samples) == 1 else 'are'} about samples.", code="option",
            hint="Leave that out, or write --format samples.",
        )  # fmt: skip
    return FORMATS[options.format](options)


def _hard(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.hardcases.mining import MiningRule
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.workflows.hard_examples import export_hard_examples

    rule = MiningRule() if options.budget is None else MiningRule(options.budget)
    with open_to_write(options.folder) as project:
        run = choose_run(project, options.run, training=True)
        if not run.bundle_hash:
            raise InputRefusedError(
                f"Run {run.run_id} was made elsewhere, so there is no model here to cut examples for.",
                code="no-model",
                hint="Name a run of a model of this project with --run.",
            )
        bundle = find_bundle(run.bundle_hash, bundle_folders(project.folder))
        total, out = 0, options.out.absolute()
        point = (options.fp_per_scan or FP_PER_SCAN, rule)
        for done, total in export_hard_examples(project, bundle, run.run_id, out, point):
            if done == total or done % 20 == 0:
                sys.stderr.write(f"{done} of {total} examples\n")
        digest = project.exports()[-1].manifest_digest
    return {
        "format": "hard",
        "out": str(out),
        "run_id": run.run_id,
        "model": bundle.name,
        "examples": total,
        "manifest_sha256": digest,
    }


def _samples(options: argparse.Namespace) -> dict[str, Any]:
    _refuse_options_of_hard(options)
    return write_samples(options)


def _luna16(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.durable import new_folder, write_file
    from napari_medlab.project import Project

    _refuse_options_of_hard(options)
    out = options.out.absolute()
    with Project.open(options.folder, read_only=True) as project:
        run = choose_run(project, options.run, training=False)
        cases = _volumes_done(project, run.run_id)
        findings, candidates = _rows_of(project, run.run_id, cases)
    excluded = findings.is_excluded
    with new_folder(out) as folder:
        for name, write in _tables(findings, candidates, cases).items():
            write_file(folder / name, table_bytes(write))
    return {
        "format": "luna16",
        "out": str(out),
        "run_id": run.run_id,
        "cases": len(cases),
        "findings": int((~excluded).sum()),
        "excluded": int(excluded.sum()),
        "candidates": len(candidates),
    }


def _tables(
    findings: FindingTable, candidates: CandidateTable, cases: list[str]
) -> dict[str, Callable[[Path], None]]:
    """Return for each file what writes it."""
    from napari_medlab.annotations.formats.luna16 import write_candidates, write_findings, write_series

    excluded = findings.is_excluded
    return {
        "annotations.csv": partial(write_findings, findings=findings.where(~excluded)),
        "annotations_excluded.csv": partial(write_findings, findings=findings.where(excluded)),
        "candidates.csv": partial(write_candidates, candidates=candidates),
        "seriesuids.csv": partial(write_series, uids=cases),
    }


def _refuse_options_of_hard(options: argparse.Namespace) -> None:
    for name, value in (("--fp-per-scan", options.fp_per_scan), ("--budget", options.budget)):
        if value is not None:
            raise InputRefusedError(
                f"{name} chooses hard examples; LUNA16 tables and samples hold every candidate.",
                code="option",
                hint=f"Leave {name} out, or write --format hard.",
            )


def _volumes_done(project: Project, run_id: str) -> list[str]:
    """Return the cases that a run is done with; refuse planar ones, which have no third coordinate."""
    done = project.cases_done(run_id)
    cases = [case for case in project.cases() if case.case_id in done]
    planar = [case.case_id for case in cases if case.kind != "volume"]
    if planar:
        raise InputRefusedError(
            f"LUNA16 tables hold volumes; {len(planar)} of the {len(cases)} cases are none, beginning with {planar[0]}.",
            code="wrong-kind",
        )
    return [case.case_id for case in cases]


def _rows_of(project: Project, run_id: str, cases: list[str]) -> tuple[FindingTable, CandidateTable]:
    import numpy as np

    findings, candidates = project.findings(), project.candidates(run_id)
    return (
        findings.where(np.isin(findings.case_ids, cases)),
        candidates.where(np.isin(candidates.case_ids, cases)),
    )


FORMATS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "luna16": _luna16,
    "hard": _hard,
    "samples": _samples,
}
"""What writes each format."""

VERB = Verb("export", "write LUNA16 tables, a package of hard examples, or samples", _configure, _run)
