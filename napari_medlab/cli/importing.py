"""The part of ``napari-medlab project`` that takes in annotations and predictions made elsewhere."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

__all__ = ["add_prediction_arguments", "add_reference_arguments", "import_candidates", "import_findings"]


def add_reference_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the import of a reference standard is given."""
    parser.add_argument(
        "table", metavar="TABLE", type=Path,
        help="a file or folder of any format that is read, such as LUNA16 tables, COCO, GeoJSON or label maps",
    )  # fmt: skip
    parser.add_argument(
        "--excluded", metavar="CSV", type=Path, help="beside a LUNA16 table: findings that are not to count"
    )
    _add_reading(parser)


def add_prediction_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the import of predictions is given."""
    parser.add_argument(
        "table", metavar="TABLE", type=Path,
        help="a LUNA16 submission, COCO results, or a file or folder of any other format that is read",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="the name to list the run under (default: imported)")
    parser.add_argument(
        "--cases", metavar="CSV", type=Path,
        help="the images that were looked at, one a line, with candidates or without (default: those of the file)",
    )  # fmt: skip
    parser.add_argument(
        "--images", metavar="JSON", type=Path,
        help="beside COCO results: the COCO file that names their images and categories",
    )  # fmt: skip
    _add_reading(parser)


def import_findings(options: argparse.Namespace) -> dict[str, Any]:
    """Import a reference standard, and return what came of it."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.exchange.contents import Wanted
    from napari_medlab.exchange.reference import import_reference

    wanted = Wanted(
        options.table, options.format, excluded=options.excluded, only_class=options.only_class or "",
        names=dict(options.names),
    )  # fmt: skip
    with open_to_write(options.folder) as project:
        done = import_reference(project, wanted, on_progress=_show)
    _tell(
        (len(done.unmatched), "series of the table have no case in the project"),
        (len(done.unplaced), "cases have a finding without a place, which is left out"),
        (done.outside_image, "findings lie outside their image: are they about this image?"),
        (done.relabelled, "findings were there already, and have the class now that was asked for"),
        (done.kept_class, "findings keep the class that a reader gave them"),
    )
    said = asdict(done)
    said["unmatched_series"] = list(said.pop("unmatched"))
    return {**said, "unplaced": list(done.unplaced)}


def import_candidates(options: argparse.Namespace) -> dict[str, Any]:
    """Import predictions, and return what came of it."""
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.exchange.contents import Wanted
    from napari_medlab.exchange.predictions import MODEL, import_predictions

    wanted = Wanted(
        options.table, options.format, is_predicted=True, images=options.images, listed=options.cases,
        only_class=options.only_class or "", names=dict(options.names),
    )  # fmt: skip
    with open_to_write(options.folder) as project:
        done = import_predictions(project, wanted, model=options.model or MODEL, on_progress=_show)
    _tell(
        (len(done.unmatched_series), "series have no case in the project"),
        (done.unlisted_candidates, "candidates lie on series that are not listed, and are left out"),
        (done.outside_image, "candidates lie outside their image: are they about this image?"),
        (done.without_score, "candidates have no score in the file, and get 1"),
    )
    return asdict(done)


def _add_reading(parser: argparse.ArgumentParser) -> None:
    naming = parser.add_mutually_exclusive_group()
    naming.add_argument(
        "--class", dest="only_class", metavar="NAME", type=_class,
        help="the class that everything gets, such as the one that a model learns (default: as the file says)",
    )  # fmt: skip
    naming.add_argument(
        "--names", metavar="OLD=NEW", nargs="+", type=_renaming, default=[],
        help="classes of the file that get another name, such as 'label 1=glomerulus'",
    )  # fmt: skip
    _add_format(parser)


def _class(text: str) -> str:
    from napari_medlab.exchange.formats import LONGEST_CLASS

    name = text.strip()
    if not name or len(name) > LONGEST_CLASS or not name.isprintable():
        msg = f"expected the name of a class, of up to {LONGEST_CLASS} characters, got {text!r:.80}"
        raise argparse.ArgumentTypeError(msg)
    return name


def _renaming(text: str) -> tuple[str, str]:
    old, found, new = text.rpartition("=")
    if not found or not old:
        msg = f"expected OLD=NEW such as 'label 1=glomerulus', got {text!r:.80}"
        raise argparse.ArgumentTypeError(msg)
    return old, _class(new)


def _add_format(parser: argparse.ArgumentParser) -> None:
    from napari_medlab.exchange.formats import AUTO, FORMATS

    parser.add_argument(
        "--format", metavar="NAME", default=AUTO, choices=(AUTO, *(one.name for one in FORMATS if one.reads)),
        help=f"one of {', '.join(one.name for one in FORMATS if one.reads)} (default: by what the file holds)",
    )  # fmt: skip


def _show(done: int, total: int) -> None:
    sys.stderr.write(f"\r{done} of {total} cases" + ("\n" if done == total else ""))


def _tell(*counts: tuple[int, str]) -> None:
    for count, what in counts:
        if count:
            sys.stderr.write(f"{count} {what}\n")
