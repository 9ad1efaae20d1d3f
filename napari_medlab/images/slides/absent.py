"""Tiles that were never written: an error, unless a person decides that they are background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.images.decisions import Decisions
from napari_medlab.images.image import ImageWarning

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["absent_warnings", "never_written"]


def absent_warnings(
    path: Path, missing: int, decisions: Decisions, value: float = 0
) -> tuple[ImageWarning, ...]:
    """Return what to say of ``missing`` tiles that were decided to be background, and refuse them undecided."""
    if not missing:
        return ()
    if not decisions.absent:
        raise ImageRefusedError(
            f"{path.name}: {missing} of its tiles were never written, and what belongs there is not known.",
            code="missing-tiles",
            hint="Some scanners leave out glass: decide to show them as background, or copy the file again.",
            options=(
                Option("Show the missing tiles as background", Decisions(absent="background").as_json()),
            ),
        )
    message = f"{missing} tiles were never written and are shown as {value:g}, as was decided."
    return (ImageWarning("missing-tiles", message),)


def never_written(path: Path, what: str) -> ImageRefusedError:
    """Return the error for a tile that is not there, such as ``"tile (3, 4) of level 1"``."""
    return ImageRefusedError(
        f"{path.name}: {what} was never written.",
        code="missing-tile",
        hint="The file is incomplete: copy or export it again from its source.",
    )
