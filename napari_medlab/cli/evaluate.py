"""``napari-medlab evaluate``: the figures of one model against the reference."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import Resampling

__all__ = ["VERB", "add_study_arguments", "count", "read_study", "resampling"]


def _configure(parser: argparse.ArgumentParser) -> None:
    figures = parser.add_subparsers(dest="figure", metavar="FIGURE", required=True)
    froc = figures.add_parser("froc", help="sensitivity against false positives per scan, by the LUNA16 rule")
    add_study_arguments(froc)
    _add_json(froc)
    froc.add_argument(
        "--candidates", required=True, metavar="CSV", help="what the model proposes, with scores"
    )
    froc.set_defaults(run_figure=_froc)
    overlap = figures.add_parser("overlap", help="Dice, IoU, surface distance and volumes of two masks")
    overlap.add_argument("--reference", required=True, metavar="MASK")
    overlap.add_argument("--prediction", required=True, metavar="MASK")
    _add_json(overlap)
    overlap.set_defaults(run_figure=_overlap)
    agreement = figures.add_parser("agreement", help="two readers of one project: verdicts, lesions, outlines")
    agreement.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
    agreement.add_argument("--readers", nargs=2, default=(), metavar=("A", "B"), help="(default: the only two there are)")
    agreement.add_argument("--run", metavar="ID", help="the run whose errors they judged (default: the newest)")
    _add_json(agreement)
    agreement.set_defaults(run_figure=_agreement)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = options.run_figure(options)
    return result


VERB = Verb("evaluate", "the figures of one model against the reference", _configure, _run)


def add_study_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what every evaluation by FROC is given: reference, cases and resampling."""
    parser.add_argument(
        "--reference", required=True, metavar="CSV", help="findings, as LUNA16's annotations.csv"
    )
    parser.add_argument("--ignore", metavar="CSV", help="findings that count neither as found nor as missed")
    parser.add_argument(
        "--cases", metavar="CSV", help="the series to evaluate, one a line (default: all that occur)"
    )
    parser.add_argument(
        "--bootstrap", type=count, default=0, metavar="N", help="draws of patients for the intervals"
    )
    parser.add_argument(
        "--seed", type=count, default=0, metavar="S", help="the same seed gives the same intervals"
    )


def count(text: str) -> int:
    """Return an argument that is a whole number, 0 or more."""
    value = int(text)
    if value < 0:
        msg = f"expected 0 or more, got {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


def read_study(
    options: argparse.Namespace, candidate_paths: list[str]
) -> tuple[FindingTable, list[CandidateTable], list[str]]:
    """Return the findings, the candidates of each model, and the cases (by default all that occur)."""
    from napari_medlab.annotations.formats.luna16 import read_candidates, read_reference, read_series

    findings = read_reference(options.reference, options.ignore)
    candidates = [read_candidates(path) for path in candidate_paths]
    if options.cases is not None:
        return findings, candidates, read_series(options.cases)
    occurring = [case for table in (findings, *candidates) for case in table.case_ids.tolist()]
    return findings, candidates, list(dict.fromkeys(occurring))


def resampling(options: argparse.Namespace) -> Resampling:
    """Return how to resample, from the arguments."""
    from napari_medlab.evaluation import Resampling

    return Resampling(options.bootstrap, options.seed)


def _froc(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.evaluation import evaluate_froc

    findings, (candidates,), cases = read_study(options, [options.candidates])
    return evaluate_froc(findings, candidates, cases, resampling=resampling(options)).as_json()


def _overlap(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.evaluation.overlap import overlap_of_images
    from napari_medlab.images import open_image

    return overlap_of_images(open_image(options.reference), open_image(options.prediction)).as_json()


def _agreement(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.cli.queue import choose_run
    from napari_medlab.hardcases.errors.reader_agreement import reader_agreement
    from napari_medlab.project import Project

    with Project.open(options.folder, read_only=True) as project:
        run = choose_run(project, options.run, training=True)
        return reader_agreement(project, run.run_id, options.readers).as_json()


def _add_json(parser: argparse.ArgumentParser) -> None:
    """Accept ``--json`` after the figure's name as well as before it."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
