"""What is to be added to a project: a path, and the decisions by which its image opens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import AS_IS, Decisions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.errors import Option

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
    """Return one source for each way to go on that an image's refusal offers and ``wanted`` agrees to.

    Parameters
    ----------
    source : Source
    wanted : Decisions
        What to do with uneven stacks (``uneven``) and with tiles that were never written (``absent``), where there
        are any.

    Returns
    -------
    list of Source
        Several for a stack that is split into its even blocks; the source itself where its image opens, or is
        refused for another reason.
    """
    from napari_medlab.images import open_image

    try:
        open_image(source.path, source.decisions)
    except ImageRefusedError as error:
        agreed = [option for option in error.options if _agrees(option, wanted)]
        return [replace(source, decisions=_merged(source.decisions, option)) for option in agreed] or [source]
    return [source]


def _agrees(option: Option, wanted: Decisions) -> bool:
    uneven, absent = option.decisions.get("uneven", ""), option.decisions.get("absent", "")
    return bool(uneven or absent) and uneven in ("", wanted.uneven) and absent in ("", wanted.absent)


def _merged(decisions: Decisions, option: Option) -> Decisions:
    return Decisions.from_json({**decisions.as_json(), **option.decisions})
