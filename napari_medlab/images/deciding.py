"""Decisions made beforehand, for whoever cannot be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import Decisions
from napari_medlab.images.opening import open_image

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.errors import Option

__all__ = ["agreed"]


def agreed(path: Path, chosen: Decisions, wanted: Decisions) -> list[Decisions]:
    """Return each way to open an image that its refusal offers and ``wanted`` agrees to.

    Parameters
    ----------
    path : Path
    chosen : Decisions
        Which series and phase.
    wanted : Decisions
        What to do with uneven stacks (``uneven``) and with tiles that were never written (``absent``), where there
        are any.

    Returns
    -------
    list of Decisions
        Several for a stack that is split into its even blocks; ``chosen`` itself where the image opens as it is, or
        is refused for another reason.
    """
    if not wanted.as_json():
        return [chosen]
    try:
        open_image(path, chosen)
    except ImageRefusedError as error:
        ways = [option for option in error.options if _agrees(option, wanted)]
        return [Decisions.from_json({**chosen.as_json(), **option.decisions}) for option in ways] or [chosen]
    return [chosen]


def _agrees(option: Option, wanted: Decisions) -> bool:
    uneven, absent = option.decisions.get("uneven", ""), option.decisions.get("absent", "")
    return bool(uneven or absent) and uneven in ("", wanted.uneven) and absent in ("", wanted.absent)
