"""``napari-medlab inspect PATH``: what an image is and where it lies, or why it is refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.image_arguments import add_image_arguments, chosen, wanted
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="an image file, or the folder of a series or of a slide"
    )
    add_image_arguments(parser, "describe the first even block of an uneven stack")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Return kind, shape, geometry, memory and warnings of an image; nothing is decoded."""
    from napari_medlab.images import open_image
    from napari_medlab.images.deciding import agreed

    return open_image(options.path, agreed(options.path, chosen(options), wanted(options))[0]).as_json()


VERB = Verb(name="inspect", summary="say what an image is and where it lies", configure=_configure, run=_run)
