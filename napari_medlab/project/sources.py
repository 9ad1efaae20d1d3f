"""What is to be added to a project: a path, and the decisions by which its image opens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_medlab.images.deciding import agreed
from napari_medlab.images.decisions import AS_IS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.decisions import Decisions

__all__ = ["Source", "decided"]


@dataclass(frozen=True)
class Source:
    """An image to be added.

    Parameters
    ----------
    path : Path
        A file, or a folder.
    decisions : Decisions
        The choices by which it opens; recorded with the case.
    name : str
        What the reader sees in lists; made from the path and the decisions where it is empty.
    exam_key, view : str
        As in :class:`CaseRecord`.
    patient : str
        The patient's own identifier, as in :func:`add_images`.
    """

    path: Path
    decisions: Decisions = AS_IS
    name: str = ""
    exam_key: str = ""
    view: str = ""
    patient: str = ""


def decided(source: Source, wanted: Decisions) -> list[Source]:
    """Return one source for each way to open its image; see :func:`napari_medlab.images.deciding.agreed`."""
    ways = agreed(source.path, source.decisions, wanted)
    return [replace(source, decisions=way) for way in ways]
