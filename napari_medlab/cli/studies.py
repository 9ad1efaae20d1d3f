"""What evaluations are given on the command line: a reference, candidates, cases, patients, a rule and strata."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from napari_medlab.cli.cluster_arguments import add_cluster_arguments
from napari_medlab.cli.mask_files import pairs_of_masks
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import MatchRule, MatchTable, Resampling, Shapes

__all__ = [
    "RULE_NAMES",
    "Study",
    "add_resampling_arguments",
    "add_study_arguments",
    "count",
    "patients",
    "read_fields",
    "read_study",
    "resampling",
]

RULE_NAMES = ("luna16", "iou", "picai", "camelyon")
SERIES, PATIENT = "seriesuid", "patient"


class Study(NamedTuple):
    """What was read: findings, the candidates of each model, the cases, the rule, and the patient of each case."""

    findings: FindingTable
    candidates: list[CandidateTable]
    cases: list[str]
    rule: MatchRule
    groups: dict[str, str] | None

    def match(self, model: int = 0) -> MatchTable:
        """Return the match table of one model."""
        from napari_medlab.evaluation import match

        return match(self.findings, self.candidates[model], self.cases, self.rule)


def add_study_arguments(parser: argparse.ArgumentParser, *, needs_reference: bool = True) -> None:
    """Add what every evaluation by FROC is given: reference, cases, rule and resampling."""
    parser.add_argument(
        "--reference",
        required=needs_reference,
        metavar="FILE",
        help="findings, as LUNA16's annotations.csv, as COCO JSON with outlines, or as a folder of masks",
    )
    parser.add_argument("--ignore", metavar="CSV", help="findings that count neither as found nor as missed")
    parser.add_argument(
        "--cases", metavar="CSV", help="the series to evaluate, one a line (default: all that occur)"
    )
    parser.add_argument(
        "--rule",
        choices=RULE_NAMES,
        default="luna16",
        help="what counts as a hit: the centre within the radius (luna16), overlap (iou; picai: 0.1 of it), or the "
        "centre in the outline (camelyon)",
    )
    parser.add_argument("--iou", type=float, metavar="X", help="the least overlap of a hit (iou: 0.5)")
    parser.add_argument(
        "--same-label",
        action="store_true",
        help="with overlap: candidates hit findings of their own label alone",
    )
    add_resampling_arguments(parser)


def add_resampling_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how intervals are made, and on what machines."""
    parser.add_argument(
        "--bootstrap", type=count, default=0, metavar="N", help="draws of patients for the intervals"
    )
    parser.add_argument(
        "--seed", type=count, default=0, metavar="S", help="the same seed gives the same intervals"
    )
    parser.add_argument(
        "--patients",
        metavar="CSV",
        help=f"the patient of each series, in columns {SERIES} and {PATIENT} (default: each its own)",
    )
    add_cluster_arguments(parser)


def count(text: str) -> int:
    """Return an argument that is a whole number, 0 or more."""
    value = int(text)
    if value < 0:
        msg = f"expected 0 or more, got {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


def resampling(options: argparse.Namespace) -> Resampling:
    """Return how to resample, from the arguments, and who does it."""
    from napari_medlab.evaluation import Resampling

    return Resampling(options.bootstrap, options.seed, options.spread)


def patients(options: argparse.Namespace) -> dict[str, str] | None:
    """Return the patient of each series, None where the arguments name no file."""
    return None if options.patients is None else read_fields(options.patients, PATIENT)


def read_fields(path: str | Path, field: str) -> dict[str, str]:
    """Return what a table says about each series in one of its columns.

    Raises
    ------
    InputRefusedError
        With code ``"csv"`` where the column is not there, or a series is there twice with different values.
    """
    from napari_medlab.annotations.formats.csv_tables import TableSource

    source = TableSource(Path(path), (SERIES, field))
    values: dict[str, str] = {}
    for row in source.rows():
        series, value = row.text(SERIES), row.text(field)
        if values.setdefault(series, value) != value:
            source.errors.append(f"{row.object_id}: {series} has {value!r}, and {values[series]!r} before")
    source.refuse_errors()
    return values


def read_study(
    options: argparse.Namespace, candidate_paths: Sequence[str], images: str | None = None
) -> Study:
    """Return what the arguments name, the candidates of each model, and the cases (by default all that occur).

    Parameters
    ----------
    options : Namespace
        As :func:`add_study_arguments` makes it.
    candidate_paths : sequence of str
        A file for each model.
    images : str, optional
        The COCO file that names the images and categories of COCO results; the reference where left out.

    Raises
    ------
    InputRefusedError
        Where a file cannot be read, or the rule has no use for ``--iou``.
    """
    if Path(options.reference).suffix.lower() == ".json":
        return _read_outlines(options, candidate_paths, images)
    if images is not None:
        raise InputRefusedError(
            "Tables name their images themselves.",
            code="option",
            hint="Leave out --images, or give COCO files.",
        )
    if Path(options.reference).is_dir():
        return _read_maps(options, candidate_paths)
    from napari_medlab.annotations.formats.luna16 import read_candidates, read_reference

    findings = read_reference(options.reference, options.ignore)
    candidates = [read_candidates(path) for path in candidate_paths]
    occurring = [case for table in (findings, *candidates) for case in table.case_ids.tolist()]
    return Study(findings, candidates, _cases(options, occurring), _rule(options), patients(options))


def _read_outlines(options: argparse.Namespace, candidate_paths: Sequence[str], images: str | None) -> Study:
    """Return a study of outlines: a COCO reference and results for it."""
    from napari_medlab.annotations.formats.coco import read, read_results
    from napari_medlab.evaluation.outlined_study import outlined_study

    if options.ignore is not None:
        raise InputRefusedError(
            "A COCO reference says itself what is ignored: its crowds.",
            code="coco",
            hint="Leave out --ignore, or give the reference as CSV.",
        )
    predictions = [read_results(path, images or options.reference) for path in candidate_paths]
    study = outlined_study(read(options.reference), predictions)
    return Study(
        study.findings,
        study.candidates,
        _cases(options, study.cases),
        _rule(options, study.shapes),
        patients(options),
    )


def _read_maps(options: argparse.Namespace, candidate_paths: Sequence[str]) -> Study:
    """Return a study of detection maps: what is connected in a folder of masks, and in a folder of maps for each model."""
    from napari_medlab.evaluation.mapped_study import mapped_study

    if options.ignore is not None:
        raise InputRefusedError(
            "Masks say nothing of what is ignored.", code="option", hint="Leave out --ignore, or give tables."
        )
    pairs = []
    for path in map(Path, candidate_paths):
        pairs.append(pairs_of_masks(Path(options.reference), path) if path.is_dir() else {})
        if not pairs[-1]:
            raise InputRefusedError(
                f"{path.name} and {Path(options.reference).name} are to be folders: a detection map and a mask for each case.",
                code="mask",
                hint="Name maps and masks alike, such as case-7.nii.gz in both folders.",
            )
    study = mapped_study(pairs)
    cases = _cases(options, study.cases)
    return Study(study.findings, study.candidates, cases, _rule(options, study.shapes), patients(options))


def _cases(options: argparse.Namespace, occurring: list[str]) -> list[str]:
    from napari_medlab.annotations.formats.luna16 import read_series

    return read_series(options.cases) if options.cases is not None else list(dict.fromkeys(occurring))


def _rule(options: argparse.Namespace, shapes: Shapes | None = None) -> MatchRule:
    from napari_medlab.evaluation import OverlapRule, rule_by_name

    rule = rule_by_name(options.rule, shapes, options.iou)
    if not options.same_label:
        return rule
    if not isinstance(rule, OverlapRule):
        raise InputRefusedError(
            f"The rule {options.rule!r} does not go by labels.", code="rule", hint="Use --rule iou or picai."
        )
    return replace(rule, same_label=True)
