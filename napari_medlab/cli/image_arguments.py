"""The arguments by which a command decides beforehand how images are opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

    from napari_medlab.images import Decisions

__all__ = ["add_image_arguments", "add_pixel_size_argument", "chosen", "wanted"]


def add_image_arguments(parser: argparse.ArgumentParser, split_help: str) -> None:
    """Add ``--series``, ``--phase``, ``--pixel-size``, ``--split-uneven``, ``--resample-uneven``, ``--absent-as-background``."""
    parser.add_argument("--series", metavar="UID", default="", help="which DICOM series of a folder")
    parser.add_argument("--phase", metavar="N", type=int, help="which volume of a time series, from 0")
    add_pixel_size_argument(parser)
    uneven = parser.add_mutually_exclusive_group()
    uneven.add_argument("--split-uneven", action="store_const", dest="uneven", const="split", help=split_help)
    uneven.add_argument(
        "--resample-uneven", action="store_const", dest="uneven", const="resample",
        help="interpolate an uneven or tilted stack onto an even grid",
    )  # fmt: skip
    parser.add_argument(
        "--absent-as-background", action="store_const", dest="absent", const="background", default="",
        help="take tiles that were never written for background",
    )  # fmt: skip
    parser.set_defaults(uneven="")


def add_pixel_size_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--pixel-size``."""
    parser.add_argument(
        "--pixel-size", metavar="UM", type=float,
        help="the pixel size in µm, 0.01 to 1000, of planar images whose header states none",
    )  # fmt: skip


def chosen(options: argparse.Namespace) -> Decisions:
    """Return which image of several is meant, and its pixel size where one is stated."""
    from napari_medlab.images import Decisions

    return Decisions(series_uid=options.series, phase=options.phase, pixel_size_um=options.pixel_size)


def wanted(options: argparse.Namespace) -> Decisions:
    """Return what is to be done where an image is refused as it is."""
    from napari_medlab.images import Decisions

    return Decisions(uneven=options.uneven, absent=options.absent)
