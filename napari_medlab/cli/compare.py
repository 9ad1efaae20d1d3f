"""``napari-medlab compare``: two models on the same cases, lesion by lesion; from files, or two runs of a project."""

from __future__ import annotations

import argparse
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.comparing import compare_in_project, drawing, report_on_files, with_text
from napari_medlab.cli.spreading import with_spread
from napari_medlab.cli.studies import add_study_arguments, read_study
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["VERB", "positive"]

PAIRING_DISTANCE = 5.0
OF_FILES = {"reference": "--reference", "a": "--a", "b": "--b", "ignore": "--ignore", "cases": "--cases",
            "patients": "--patients", "pairing_distance": "--pairing-distance", "same_label": "--same-label"}  # fmt: skip
"""The options that are about files alone, by their places."""
OF_PROJECT = {"runs": "--runs", "split": "--split", "with_names": "--with-names"}


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compare two models: their candidates in two files with --reference, --a and --b, or two runs of a project. In a "
        "project, and on a page, figures have intervals of 1000 draws unless --bootstrap says otherwise."
    )
    add = parser.add_argument
    add("folder", metavar="DIR", type=Path, nargs="?", help="a project's folder, in place of files")
    add_study_arguments(parser, needs_reference=False)
    add("--a", metavar="FILE", help="candidates of the model to compare with")
    add("--b", metavar="FILE", help="candidates of the model to judge")
    add(
        "--fp-per-scan",
        type=positive,
        default=1.0,
        metavar="X",
        help="the operating point at which lesions are compared (1)",
    )
    add(
        "--pairing-distance",
        type=positive,
        metavar="D",
        help="how far apart false positives of both models may be to count as one, in mm, µm or px as the centres (5; in a "
        "project 5 mm, 50 µm or 20 px)",
    )
    add(
        "--report",
        metavar="FOLDER",
        type=Path,
        help="write report.html there, a page that needs nothing beside it",
    )
    project = parser.add_argument_group("with DIR").add_argument
    project(
        "--runs", nargs=2, metavar=("A", "B"),
        help="before and after: ids of runs, names of predictions made elsewhere, or hashes of models (8 digits suffice), whose "
        "newest run it is (default: the models of the last judgement)",
    )  # fmt: skip
    project("--split", choices=("train", "test"), help="which cases (default: test)")
    project(
        "--with-names",
        action="store_true",
        help="call cases by their names on the page: it is then not for others",
    )
    parser.set_defaults(refuse=parser.error)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    _check(options, options.refuse)
    if options.folder is not None:
        return compare_in_project(options)
    from napari_medlab.evaluation import compare

    study = read_study(options, [options.a, options.b])
    comparison = compare(
        study.match(0),
        study.match(1),
        groups=study.groups,
        resampling=drawing(options),
        fp_per_scan=options.fp_per_scan,
        pairing_distance=options.pairing_distance or PAIRING_DISTANCE,
    )
    said = {**comparison.as_json(), **report_on_files(options, comparison)}
    return with_text(options, said, (Path(options.a).stem, Path(options.b).stem))


def _check(options: argparse.Namespace, refuse: Callable[[str], Any]) -> None:
    """Refuse arguments that do not go together: wrong usage, as where argparse itself refuses them."""
    given = partial(_given, options)
    if options.folder is not None and (wrong := given(OF_FILES)):
        refuse(f"{', '.join(wrong)} and a project do not go together: give files, or DIR")
    if options.folder is None and (wrong := given(OF_PROJECT)):
        refuse(f"{', '.join(wrong)} needs a project: give DIR")
    needed = ("--reference", "--a", "--b")
    missing = [name for name in needed if name not in given(OF_FILES)]
    if options.folder is None and missing:
        refuse(f"the following arguments are required: {', '.join(missing)}; or DIR, a project")


def _given(options: argparse.Namespace, names: dict[str, str]) -> list[str]:
    return [name for place, name in names.items() if getattr(options, place)]


VERB = Verb("compare", "two models on the same cases, lesion by lesion", _configure, with_spread(_run))


def positive(text: str) -> float:
    """Read a number above zero from the command line; anything else is wrong usage."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        msg = f"expected a number above 0, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value
