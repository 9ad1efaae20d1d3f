"""``napari-medlab evaluate``: the figures of one model against the reference."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.mask_files import pairs_of_masks
from napari_medlab.cli.spreading import with_spread
from napari_medlab.cli.studies import (
    Study,
    add_resampling_arguments,
    add_study_arguments,
    count,
    patients,
    read_fields,
    read_study,
    resampling,
)
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    from napari_medlab.evaluation import FrocReport, MatchTable

__all__ = ["VERB", "count"]

SIZE, CLASS = "size", "class"
"""What may be asked for with ``--by`` without a table of fields."""


def _configure(parser: argparse.ArgumentParser) -> None:
    figures = parser.add_subparsers(dest="figure", metavar="FIGURE", required=True)
    _configure_froc(
        figures.add_parser("froc", help="sensitivity against false positives per scan, by a named rule")
    )
    _configure_coco(figures.add_parser("coco", help="COCO's twelve figures of boxes or masks"))
    _configure_overlap(
        figures.add_parser("overlap", help="Dice, IoU, surface distance and volumes of masks, class by class")
    )
    agreement = figures.add_parser(
        "agreement", help="the readers of one project: verdicts, lesions, outlines"
    )
    agreement.add_argument("folder", metavar="DIR", type=Path, help="the project's folder")
    agreement.add_argument(
        "--readers", nargs="+", default=(), metavar="NAME", help="two or more (default: all there are)"
    )
    agreement.add_argument(
        "--run", metavar="ID", help="the run whose errors they judged (default: the newest)"
    )
    _add_json(agreement)
    agreement.set_defaults(run_figure=_agreement)


def _configure_froc(froc: argparse.ArgumentParser) -> None:
    add_study_arguments(froc)
    _add_json(froc)
    froc.add_argument(
        "--candidates",
        required=True,
        metavar="FILE",
        help="what the model proposes, with scores: CSV; COCO results for a COCO reference; detection maps for masks",
    )
    _add_images(froc)
    froc.add_argument(
        "--at",
        type=rate,
        nargs="+",
        metavar="X",
        help="the sensitivity at these false positives per scan, too",
    )
    froc.add_argument(
        "--precision-recall", action="store_true", help="average precision and the best F1, too"
    )
    froc.add_argument(
        "--penalty",
        type=rate,
        metavar="P",
        help="recall less P for each false positive per scan, over all rates, too",
    )
    froc.add_argument(
        "--by", metavar="FIELD", help="the figures of each size, class, or value of a field, too"
    )
    froc.add_argument(
        "--fields", metavar="CSV", help="a table with the column seriesuid and a column for each field"
    )
    froc.add_argument(
        "--size-edges",
        type=float,
        nargs="+",
        default=(6.0, 10.0),
        metavar="D",
        help="where size classes begin (6 10)",
    )
    froc.set_defaults(run_figure=with_spread(_froc))


def _configure_coco(coco: argparse.ArgumentParser) -> None:
    coco.add_argument("--reference", required=True, metavar="JSON", help="annotations")
    coco.add_argument("--predictions", required=True, metavar="JSON", help="results for these")
    _add_images(coco)
    coco.add_argument(
        "--type", choices=("bbox", "segm"), default="bbox", help="compare boxes or masks (bbox)"
    )
    coco.add_argument("--classes", action="store_true", help="the figures of each class, too")
    add_resampling_arguments(coco)
    _add_json(coco)
    coco.set_defaults(run_figure=with_spread(_coco))


def _configure_overlap(overlap: argparse.ArgumentParser) -> None:
    overlap.add_argument("--reference", required=True, metavar="MASK", help="a mask, or a folder of masks")
    overlap.add_argument("--prediction", required=True, metavar="MASK", help="the same, with the same names")
    overlap.add_argument(
        "--tolerance",
        type=rate,
        default=1.0,
        metavar="MM",
        help="how far surfaces may be apart for the surface Dice (1)",
    )
    add_resampling_arguments(overlap)
    _add_json(overlap)
    overlap.set_defaults(run_figure=with_spread(_overlap))


def _run(options: argparse.Namespace) -> dict[str, Any]:
    result: dict[str, Any] = options.run_figure(options)
    return result


VERB = Verb("evaluate", "the figures of one model against the reference", _configure, _run)


def rate(text: str) -> float:
    """Return an argument that is a finite number, 0 or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        msg = f"expected a number of 0 or more, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _froc(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.evaluation.report import report

    study = read_study(options, [options.candidates], options.images)
    table = study.match()
    document = report(table, resampling(options), study.groups).as_json()
    return document | _further_figures(options, study, table)


def _further_figures(options: argparse.Namespace, study: Study, table: MatchTable) -> dict[str, Any]:
    """Return what was asked for beside the FROC curve."""
    from napari_medlab.evaluation import CAMELYON_POINTS
    from napari_medlab.evaluation.penalised import penalised_recall
    from napari_medlab.evaluation.precision_recall import precision_recall_report
    from napari_medlab.evaluation.report import sensitivity_at

    drawing = resampling(options)
    further: dict[str, Any] = {}
    if options.rule == "camelyon":
        further["camelyon_score"] = sensitivity_at(table, CAMELYON_POINTS, drawing, study.groups)["mean"]
    if options.at:
        further["at"] = sensitivity_at(table, options.at, drawing, study.groups)
    if options.precision_recall:
        further["precision_recall"] = precision_recall_report(table, drawing, study.groups).as_json()
    if options.penalty is not None:
        figures = penalised_recall(table, options.penalty, resampling=drawing, groups=study.groups)
        further["penalised_recall"] = figures.as_json()
    if options.by is not None:
        reports = _strata(options, study, table)
        further["strata"] = {
            "field": options.by,
            "values": {name: each.as_json() for name, each in reports.items()},
        }
    return further


def _strata(options: argparse.Namespace, study: Study, table: MatchTable) -> dict[str, FrocReport]:
    from napari_medlab.evaluation.strata import by_case, by_class, by_finding, size_classes, size_names

    drawing = resampling(options)
    if options.fields is not None:
        values = read_fields(options.fields, options.by)
        return by_case(table, values, resampling=drawing, groups=study.groups)
    if options.by == SIZE:
        sizes, names = size_classes(study.findings, options.size_edges), size_names(options.size_edges)
        return by_finding(table, study.findings, sizes, order=names, resampling=drawing, groups=study.groups)
    if options.by == CLASS:
        return by_class(table, study.findings, study.candidates[0], resampling=drawing, groups=study.groups)
    raise InputRefusedError(
        f"Without a table of fields nothing is known about {options.by!r}.",
        code="strata",
        hint=f"Name a table with --fields, or choose {SIZE!r} or {CLASS!r}.",
    )


def _coco(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.annotations.formats.coco import read, read_results
    from napari_medlab.evaluation.coco import evaluate_coco

    report = evaluate_coco(
        read(options.reference),
        read_results(options.predictions, options.images or options.reference),
        options.type,
        resampling=resampling(options),
        groups=patients(options),
    )
    return report.as_json(classes=options.classes)


def _overlap(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.evaluation.overlap_means import overlap_means
    from napari_medlab.evaluation.overlap_of_files import overlaps_of_files

    reference, prediction = Path(options.reference), Path(options.prediction)
    pairs = pairs_of_masks(reference, prediction) if reference.is_dir() and prediction.is_dir() else {}
    pairs = pairs or {"": (reference, prediction)}  # a folder may be one image itself, a DICOM series
    by_case = overlaps_of_files(pairs, options.tolerance, spread=options.spread)
    if "" in by_case:
        return by_case[""].as_json()
    means = overlap_means(by_case, patients(options), resampling(options))
    return {
        "mean": {
            name: {measure: mean.as_json() for measure, mean in measures.items()}
            for name, measures in means.items()
        },
        "cases": {name: each.as_json() for name, each in by_case.items()},
    }


def _agreement(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.cli.queue import choose_run
    from napari_medlab.hardcases.errors.reader_agreement import agreement_of_readers
    from napari_medlab.project import Project

    with Project.open(options.folder, read_only=True) as project:
        run = choose_run(project, options.run, training=True)
        return agreement_of_readers(project, run.run_id, options.readers).as_json()


def _add_images(parser: argparse.ArgumentParser) -> None:
    """Add by what file COCO results are understood."""
    parser.add_argument(
        "--images",
        metavar="JSON",
        help="the COCO file that names the images and categories of the results, where it is not the reference",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    """Accept ``--json`` after the figure's name as well as before it."""
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
