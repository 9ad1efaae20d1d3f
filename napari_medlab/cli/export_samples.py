"""The part of ``napari-medlab export`` that writes samples: what a configuration is trained on."""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.evaluate import count
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from napari_medlab.models.workflows.samples import SampleEvent, SampleOptions

__all__ = ["add_sample_arguments", "asked_for", "write_samples"]

NAMES = ("config", "split", "tile", "overlap", "shifted", "margin", "other")


def add_sample_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what only samples are asked about; nothing of it has a default that could not be told from being left out."""
    group = parser.add_argument_group("samples")
    add = group.add_argument
    add(
        "--config",
        metavar="NAME",
        help="a configuration's name or a .json file; --run names whose candidates a classifier learns from",
    )
    add(
        "--split", choices=("train", "test"), help="test: the frozen cases, which training refuses to read (default: train)"
    )  # fmt: skip
    add(
        "--tile",
        nargs="+",
        type=count,
        metavar="N",
        help="cut images into tiles of so many voxels: one size, or one for each axis, z y x or y x",
    )
    add(
        "--overlap",
        type=_share,
        metavar="S",
        help="the share of a tile that the next one has, too (default: 0.25)",
    )
    add(
        "--shifted",
        action="store_true",
        default=None,
        help="write a second grid of tiles, half a step further",
    )
    add(
        "--margin",
        type=count,
        metavar="N",
        help="voxels around the cubes of a classifier (default: an eighth)",
    )
    add("--other", choices=("refuse", "ignore"), help="findings of other classes (default: refuse)")


def asked_for(options: argparse.Namespace) -> list[str]:
    """Return the options about samples that were given."""
    return [f"--{name}" for name in NAMES if getattr(options, name) is not None]


def write_samples(options: argparse.Namespace) -> dict[str, Any]:
    """Write the samples, tell how it goes on standard error, and return what came of it."""
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.configurations import read_configuration
    from napari_medlab.models.workflows.samples import MANIFEST, export_samples
    from napari_medlab.project import Project

    if options.config is None:
        raise InputRefusedError(
            "Samples are prepared as a configuration says, and none was named.", code="no-configuration",
            hint="Add --config NAME; napari-medlab train --list names them.",
        )  # fmt: skip
    configuration, chosen = read_configuration(options.config), _chosen(options)
    out, samples, failed = options.out.absolute(), 0, {}
    with Project.open(options.folder) as project:
        for event in export_samples(project, configuration, out, CancelToken(), chosen, options.spread):
            _say(event)
            samples = event.samples
            if event.kind == "case failed":
                failed[event.case_id] = event.error
    return {
        "format": "samples",
        "out": str(out),
        "config": configuration.name,
        "split": chosen.split,
        "run_id": chosen.run_id or None,
        "samples": samples,
        "failed": failed,
        "manifest_sha256": hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest(),
    }


def _chosen(options: argparse.Namespace) -> SampleOptions:
    from napari_medlab.models.workflows.samples import SampleOptions

    given = {name: getattr(options, name) for name in ("split", "overlap", "margin", "other")}
    return SampleOptions(
        run_id=options.run or "",
        tile=tuple(options.tile or ()),
        is_shifted=bool(options.shifted),
        **{name: value for name, value in given.items() if value is not None},
    )


def _say(event: SampleEvent) -> None:
    if event.kind == "case failed":
        sys.stderr.write(f"{event.name} ({event.case_id}): {event.error}\n")
    elif event.kind == "case done":
        sys.stderr.write(f"{event.done} of {event.total} cases, {event.samples} samples\n")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"expected 0 to less than 1, got {text}")
    return value
