"""What is to be added to a project: a path, and the decisions by which its image opens."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_medlab.annotations import new_id
from napari_medlab.images.contents import VIEWS
from napari_medlab.images.deciding import agreed
from napari_medlab.images.decisions import AS_IS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.images.contents import Entry
    from napari_medlab.images.decisions import Decisions

__all__ = ["Source", "decided", "sources_of"]


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


def sources_of(entries: Sequence[Entry]) -> list[Source]:
    """Return what a file or a folder holds as sources, the views of an exam together and in the order they hang in.

    The views of one study are one exam; where a study has a view twice, copies were found, and each folder is an exam.
    """
    views = Counter((entry.study, entry.view) for entry in entries if entry.view)
    copied = {study for (study, _), count in views.items() if count > 1}
    exams: dict[tuple[str, str], str] = {}
    sources = []
    for entry in sorted(entries, key=_as_hung):
        exam, name = "", ""
        if entry.view:
            name = f"{entry.path.parent.name} {entry.view}"
            place = str(entry.path.parent) if entry.study in copied else ""
            exam = exams.setdefault((entry.study, place), new_id()) if entry.study else ""
        sources.append(
            Source(
                entry.path, entry.decisions, name=name, exam_key=exam, view=entry.view, patient=entry.patient
            )
        )
    return sources


def _as_hung(entry: Entry) -> tuple[bool, str, str, int]:
    """Return what sorts the views of an exam as they hang, after everything else, which stays in its order."""
    if not entry.view:
        return (False, "", "", 0)
    place = VIEWS.index(entry.view) if entry.view in VIEWS else len(VIEWS)
    return (True, entry.study, str(entry.path.parent), place)
