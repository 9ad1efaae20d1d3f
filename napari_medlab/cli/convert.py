"""``napari-medlab convert PATH OUT``: any image that opens here, written in a format that others read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.image_arguments import add_image_arguments, chosen, wanted
from napari_medlab.errors import InputRefusedError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

__all__ = ["VERB"]


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "path", metavar="PATH", type=Path, help="an image file, or the folder of a series or of a slide"
    )
    parser.add_argument(
        "out",
        metavar="OUT",
        type=Path,
        help="a new file: .nii, .nii.gz, .mha, .ome.tif; or a new folder: .zarr",
    )
    add_image_arguments(
        parser, "write each even block of an uneven stack to a file of its own: OUT-1, OUT-2, …"
    )
    parser.add_argument("--ome-zarr", choices=("0.4", "0.5"), default="0.5", help="the version of OME-Zarr")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    """Open, write, and return what was written and what was done to the pixels on the way."""
    from napari_medlab.images import open_image
    from napari_medlab.images.deciding import agreed
    from napari_medlab.images.writers import losses, write_image

    ways = agreed(options.path, chosen(options), wanted(options))
    out = options.out.expanduser()
    outs = [out] if len(ways) == 1 else [numbered(out, number + 1) for number in range(len(ways))]
    _refuse_outputs(outs)
    images = [open_image(options.path, way, on_progress=_told("reading")) for way in ways]
    written = []
    for image, out in zip(images, outs, strict=True):
        write_image(image, out, progress=_told(f"writing {out.name}"), ome_zarr=options.ome_zarr)
        written.append({
            "path": str(out), "shape": list(image.shape), "decisions": image.decisions.as_json(),
            "lineage": list(image.lineage),
            "warnings": [{"code": w.code, "message": w.message} for w in (*image.warnings, *losses(image, out))],
        })  # fmt: skip
    return {"written": written}


def numbered(path: Path, number: int) -> Path:
    """Return a path with a number before all of its suffixes: ``ct-2.nii.gz``."""
    from napari_medlab.images.writers import SUFFIXES

    suffix = next((ending for ending in SUFFIXES if path.name.lower().endswith(ending)), "")
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f"{stem}-{number}{path.name[len(stem) :]}")


def _refuse_outputs(outs: Sequence[Path]) -> None:
    """Refuse, before anything is read, what would be refused when it is written."""
    from napari_medlab.images.writers import SUFFIXES

    if not outs[0].name.lower().endswith(SUFFIXES):
        raise InputRefusedError(
            f"{outs[0].name} asks for no format that is written here.",
            code="unsupported-output",
            hint=f"End it in {', '.join(SUFFIXES)}.",
        )
    if not outs[0].parent.is_dir():
        raise InputRefusedError(
            f"There is no folder {outs[0].parent}.", code="not-found", hint="Make it first."
        )
    existing = [str(out) for out in outs if out.exists() or out.is_symlink()]
    if existing:
        verb = "exist" if len(existing) > 1 else "exists"
        raise InputRefusedError(
            f"{', '.join(existing)} {verb} already, and nothing is overwritten.",
            code="exists",
            hint="Choose another name.",
        )


def _told(what: str) -> Callable[[int, int], None]:
    """Return what writes progress to a terminal in place, and to a file only where something is complete."""

    def tell(done: int, total: int) -> None:
        if total and done == total:
            sys.stderr.write(f"\r{what}: {total} of {total}\n")
        elif total and sys.stderr.isatty():
            sys.stderr.write(f"\r{what}: {done} of {total}")
            sys.stderr.flush()

    return tell


VERB = Verb(
    name="convert",
    summary="write an image as NIfTI, MetaImage, OME-TIFF or OME-Zarr",
    configure=_configure,
    run=_run,
)
