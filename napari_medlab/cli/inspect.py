"""``napari-medlab inspect PATH``: what an image is and where it lies, or why it is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse

__all__ = ["VERB"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument("path", metavar="PATH", help="an image file, or a folder with a DICOM series")
    parser.add_argument(
        "--series", metavar="UID", help="the DICOM series to open, where a folder holds several"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Return kind, shape, geometry, memory and warnings of an image; nothing is decoded."""
    from napari_medlab.images import Decisions, open_image

    return open_image(options.path, Decisions(series_uid=options.series or "")).as_json()


VERB = Verb(name="inspect", summary="say what an image is and where it lies", configure=configure, run=run)
