"""The process that parses annotations from elsewhere: run as ``python -m napari_medlab.exchange.parsing BYTES``."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.lidc import read_points
from napari_medlab.annotations.formats.luna16 import read_candidates, read_findings
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.exchange.datasets import described
from napari_medlab.exchange.formats import AUTO, detected, format_named
from napari_medlab.exchange.lidc_consensus import agreed
from napari_medlab.exchange.naming import names_of, names_within
from napari_medlab.exchange.wire import packed, renamed
from napari_medlab.geometry import Grid
from napari_medlab.images.isolation.frames import read_frame, widen, write_frame
from napari_medlab.images.isolation.memory import limit_memory
from napari_medlab.images.isolation.messages import describe_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.exchange.formats import Format

__all__ = ["main"]

TABLES = ("luna16", "mini-mias")
"""Nothing but text: whoever asks reads them."""


def answer(
    request: dict[str, Any], tell: Callable[[int, int], None]
) -> tuple[dict[str, Any], Sequence[NDArray[Any]]]:
    """Return what was asked for as message and arrays.

    Parameters
    ----------
    request : dict
        ``op`` is one of

        * ``"read"``, with ``path``, ``format``, ``options`` and ``is_predicted``: what a file says about images; of a format
          for which one has to know something of them, which images it speaks of;
        * ``"read on grids"``, with ``format`` and ``files``: each with its path, the name and the grid of its image;
        * ``"read with sizes"``, with ``path``, ``format`` and ``shapes``: the size of each image.
    tell : callable
        Called with the files done and all files.
    """
    if request["op"] == "read on grids":
        return _on_grids(format_named(request["format"]), request["files"], tell)
    path = Path(request["path"])
    if request["op"] == "read with sizes":
        found = format_named(request["format"])
        shapes = {name: tuple(shape) for name, shape in request["shapes"].items()}
        return _answered(found, found.code().read(path, shapes))
    is_predicted = bool(request.get("is_predicted"))
    found = (
        _detected(path, is_predicted=is_predicted)
        if request["format"] == AUTO
        else format_named(request["format"])
    )
    if not found.reads:
        raise InputRefusedError(f"{found.title} are written here, and not read.", code="unknown-format")
    if found.name in TABLES:
        return {"format": found.name}, ()
    options, files = _options(found, request["options"], is_predicted=is_predicted), found.files(path)
    if not files:
        raise InputRefusedError(f"{path.name} has no file of {found.title} in it.", code="unknown-format")
    if found.needs == "sizes":
        return {"format": found.name, "names": names_within(found, path)}, ()
    if found.needs == "grid":
        return {"format": found.name, "files": _named(found, files, tell)}, ()
    if found.needs == "maps":
        return {"format": found.name, "cases": described(found.code().read(path))}, ()
    images: list[ImageRegions] = []
    for number, file in enumerate(files, start=1):
        images += getattr(found.code(), found.read)(file, **options)
        tell(number, len(files))
    return _answered(found, images)


def _detected(path: Path, *, is_predicted: bool) -> Format:
    """Return the format of a file; of a table that is none, say what a table of LUNA16 has."""
    try:
        return detected(path)
    except InputRefusedError:
        if path.suffix.lower() == ".csv" and path.is_file() and path.stat().st_size:
            (read_candidates if is_predicted else read_findings)(path)
        raise


def _answered(found: Format, images: Sequence[ImageRegions]) -> tuple[dict[str, Any], Sequence[NDArray[Any]]]:
    messages, arrays = packed(images)
    return {"format": found.name, "images": messages}, arrays


def _named(found: Format, files: Sequence[Path], tell: Callable[[int, int], None]) -> list[dict[str, Any]]:
    """Return for each file by what names its image may be known, the best first."""
    named = []
    for number, file in enumerate(files, start=1):
        named.append({"path": str(file), "names": names_of(found, file)})
        tell(number, len(files))
    return named


def _on_grids(
    found: Format, files: Sequence[dict[str, Any]], tell: Callable[[int, int], None]
) -> tuple[dict[str, Any], Sequence[NDArray[Any]]]:
    images: list[ImageRegions] = []
    for number, file in enumerate(files, start=1):
        path, grid = Path(file["path"]), Grid.from_json(file["grid"])
        read: list[ImageRegions] = found.code().read(path, grid)
        if found.name == "lidc":
            read = agreed(read, _marks(path, grid))
        images += [renamed(image, file["image"]) for image in read]
        tell(number, len(files))
    return _answered(found, images)


def _marks(path: Path, grid: Grid) -> list[tuple[str, tuple[int, int, int]]]:
    """Return label and voxel of each point that the readers of LIDC-IDRI marked."""
    points = read_points(path, grid)
    voxels = np.rint(grid.to_index(points.centres)).astype(int).tolist()
    return [(str(label), (z, y, x)) for label, (z, y, x) in zip(points.labels, voxels, strict=True)]


def _options(format_: Format, given: dict[str, str], *, is_predicted: bool) -> dict[str, Any]:
    """Return what the reader of a format is given beside the path; refuse what it lacks or has no use for."""
    if format_.name == "coco-results":
        if "images" not in given:
            raise InputRefusedError(
                "COCO results name images and categories by numbers alone.",
                code="needs-images",
                hint="Name the COCO file with the images that they are about, with --images."
                if is_predicted
                else "These are predictions: napari-medlab project import-predictions DIR FILE --images COCO.",
            )
        return {"reference": Path(given["images"])}
    if given:
        raise InputRefusedError(
            f"{', '.join(given)} has nothing to do with {format_.title}.", code="option", hint="Leave it out."
        )
    return {}


def main() -> None:
    """Answer the one request on standard input."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    widen(answers.fileno())
    limit_memory(int(sys.argv[1]))
    request, _ = read_frame(sys.stdin.buffer)
    _serve(request, answers)


def _serve(request: dict[str, Any], answers: IO[bytes]) -> None:
    try:
        message, arrays = answer(request, partial(_tell, answers))
        write_frame(answers, {"event": "done", **message}, arrays)
    except MedlabError as error:
        write_frame(answers, {"event": "error", "error": describe_error(error)})
    except BaseException as error:  # noqa: BLE001 - whatever goes wrong is told to who asked
        named = request.get("path") or next((file["path"] for file in request.get("files", ())), "The file")
        failed = InputRefusedError(
            f"{Path(named).name} cannot be read ({type(error).__name__}: {error}).",
            code="unreadable",
            hint="Export it again from its source.",
        )
        write_frame(answers, {"event": "error", "error": describe_error(failed)})


def _tell(answers: IO[bytes], done: int, total: int) -> None:
    write_frame(answers, {"event": "progress", "done": done, "total": total})


if __name__ == "__main__":
    main()
