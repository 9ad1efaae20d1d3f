"""``napari-medlab compare``: two models on the same cases, lesion by lesion."""

from __future__ import annotations

import argparse
import math
from typing import Any

from napari_medlab.cli.studies import add_study_arguments, read_study, resampling
from napari_medlab.verbs import Verb

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    add_study_arguments(parser)
    parser.add_argument("--a", required=True, metavar="FILE", help="candidates of the model to compare with")
    parser.add_argument("--b", required=True, metavar="FILE", help="candidates of the model to judge")
    parser.add_argument(
        "--fp-per-scan",
        type=positive,
        default=1.0,
        metavar="X",
        help="the operating point at which lesions are compared (1)",
    )
    parser.add_argument(
        "--pairing-distance",
        type=positive,
        default=5.0,
        metavar="D",
        help="how far apart false positives of both models may be to count as one, in mm, µm or px as the centres (5)",
    )


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.evaluation import compare

    study = read_study(options, [options.a, options.b])
    comparison = compare(
        study.match(0),
        study.match(1),
        groups=study.groups,
        resampling=resampling(options),
        fp_per_scan=options.fp_per_scan,
        pairing_distance=options.pairing_distance,
    )
    return comparison.as_json()


VERB = Verb("compare", "two models on the same cases, lesion by lesion", _configure, _run)


def positive(text: str) -> float:
    """Read a number above zero from the command line; anything else is wrong usage."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        msg = f"expected a number above 0, got {text}"
        raise argparse.ArgumentTypeError(msg)
    return value
