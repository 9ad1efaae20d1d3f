"""``napari-medlab export DIR``: what a project holds, for others to read; cases by key, patients not at all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.cluster_arguments import add_cluster_arguments, spread_of
from napari_medlab.cli.export_hard import HARD_FP_PER_SCAN, add_hard_arguments, hard_asked_for, write_hard
from napari_medlab.cli.export_objects import add_object_arguments, objects_asked_for, write_objects
from napari_medlab.cli.export_samples import add_sample_arguments, asked_for, write_samples
from napari_medlab.cli.queue import add_run_arguments
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

__all__ = ["VERB"]

OF_EXCHANGE = ("luna16", "coco", "geojson", "nifti", "mha", "yolo", "monai", "nnunet", "nndetection", "hubmap",
               "dicom-seg", "rtstruct")  # fmt: skip
"""As :data:`napari_medlab.exchange.writers.WRITERS` knows them: it is not asked, as nothing heavy is to be loaded for help."""


def _configure(parser: argparse.ArgumentParser) -> None:
    add_run_arguments(parser, f"; {HARD_FP_PER_SCAN:g} for --format hard")
    parser.add_argument(
        "--format",
        required=True,
        choices=tuple(FORMATS),
        help="a format of exchange, for findings or (--run) for candidates; hard: a package of hard examples; "
        "samples: what a configuration is trained on",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, help="the new folder; must not exist")
    add_object_arguments(parser)
    add_hard_arguments(parser)
    add_sample_arguments(parser)
    add_cluster_arguments(parser)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    if options.out is None and not options.look:
        raise InputRefusedError(
            "An export needs a new folder to go to.", code="option", hint="Name one with --out DIR."
        )
    for kind, asked in ASKED_FOR.items():
        names = [name for name in asked(options) if name not in KNOWN_TO.get((kind, options.format), ())]
        if names and options.format not in OWN_FORMATS[kind]:
            raise InputRefusedError(
                f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} nothing to do with {options.format}.",
                code="option",
                hint=f"Leave that out, or write {' or '.join(OWN_FORMATS[kind][:1])}.",
            )
    with spread_of(options) as options.spread:
        return FORMATS[options.format](options)


FORMATS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    **dict.fromkeys(OF_EXCHANGE, write_objects),
    "hard": write_hard,
    "samples": write_samples,
}
"""What writes each format."""
OWN_FORMATS: dict[str, tuple[str, ...]] = {
    "samples": ("samples",),
    "hard": ("hard",),
    "objects": OF_EXCHANGE,
}
"""The formats that each group of options is about."""
ASKED_FOR: dict[str, Callable[[argparse.Namespace], list[str]]] = {
    "samples": asked_for,
    "hard": hard_asked_for,
    "objects": objects_asked_for,
}
"""Which options of a group were given."""
KNOWN_TO = {("samples", name): ("--split",) for name in OF_EXCHANGE}
"""Options of one group that formats of another know, too."""

VERB = Verb(
    "export",
    "write findings or candidates in any format, a package of hard examples, or samples",
    _configure,
    _run,
)
