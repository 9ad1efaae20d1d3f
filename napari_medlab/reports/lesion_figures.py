"""Every lesion that changed between two models as a picture with its text, ready for a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import MedlabError
from napari_medlab.evaluation.transitions import FindingChange
from napari_medlab.project import open_case
from napari_medlab.project.keep_lists import Keys
from napari_medlab.reports.lesion_outlines import Side, outlines_around
from napari_medlab.reports.pictures import picture_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.evaluation.transitions import FalsePositiveChange, Transitions
    from napari_medlab.images import Image
    from napari_medlab.project import CaseRecord, Project

    Change = FindingChange | FalsePositiveChange

__all__ = ["CHANGES", "LesionFigures", "case_keys"]

CHANGES = ("fixed", "regressed", "still_missed", "new_false_positive", "removed_false_positive")
"""The kinds of change that are pictured, as :class:`~napari_medlab.evaluation.Transitions` names them."""
UNREADABLE = '<span class="none">This image cannot be read.</span>'
KEY_LENGTH = 8
UNITS = {"mm": "mm", "um": "µm", "px": "px"}


def case_keys(cases: Sequence[CaseRecord]) -> dict[str, str]:
    """Return for each case what it is called outside: the beginning of its random key, and nothing of its name."""
    keys = Keys()
    whole = {case.case_id: keys.of(case.case_id) for case in cases}
    length = KEY_LENGTH
    while len({key[:length] for key in whole.values()}) < len(whole):
        length += 1
    return {case_id: f"case {key[:length]}" for case_id, key in whole.items()}


@dataclass(frozen=True, eq=False)
class LesionFigures:
    """Makes the figures of a page.

    Parameters
    ----------
    project : Project or None
        Without one there are no pictures, and the figures say in words what changed and where.
    sides : (before, after)
        Whose outlines are drawn.
    names : mapping of case id to what it is called on the page
    most : int
        How many lesions of each kind are pictured; the rest is counted.
    on_progress : callable, optional
        Told how many of how many cases are done.
    """

    project: Project | None
    sides: tuple[Side, Side]
    names: dict[str, str]
    most: int
    on_progress: Callable[[int, int], None] | None = None
    _cases: dict[str, CaseRecord] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        if self.project is not None:
            self._cases.update({case.case_id: case for case in self.project.cases()})

    def sections(self, changes: Transitions) -> dict[str, str]:
        """Return the figures of each kind of change as markup, case by case: each image is opened once."""
        chosen = {kind: getattr(changes, kind)[: self.most] for kind in CHANGES}
        wanted: dict[str, list[tuple[str, int, Change]]] = {}
        for kind, some in chosen.items():
            for place, change in enumerate(some):
                wanted.setdefault(change.case_id, []).append((kind, place, change))
        made: dict[tuple[str, int], str] = {}
        for number, (case_id, here) in enumerate(wanted.items()):
            image = self._open(case_id)
            made |= {(kind, place): self._figure(image, change) for kind, place, change in here}
            if self.on_progress is not None:
                self.on_progress(number + 1, len(wanted))
        return {
            kind: "".join(made[kind, place] for place in range(len(some))) for kind, some in chosen.items()
        }

    def _open(self, case_id: str) -> Image | None:
        if self.project is None:
            return None
        try:
            return open_case(self.project, case_id)
        except (MedlabError, OSError):  # what is wrong with it would name its file
            return None

    def _figure(self, image: Image | None, change: Change) -> str:
        case = self._cases.get(change.case_id)
        unit, ndim = (image.grid.unit, image.grid.ndim) if image is not None else ("mm", len(change.centre))
        place = ", ".join(f"{value:.0f}" for value in change.centre[:ndim])
        shown = UNREADABLE if self.project is not None else ""
        if self.project is not None and image is not None and case is not None:
            shown = _picture(self.project, image, case, change, self.sides)
        return (
            f"<figure>{shown}<figcaption>{escape(self.names.get(change.case_id, ''))}<br>{_score(change)}<br>"
            f'<span class="quiet">at {place} {UNITS[unit]}</span></figcaption></figure>'
        )


def _picture(
    project: Project, image: Image, case: CaseRecord, change: Change, sides: tuple[Side, Side]
) -> str:
    """Return what an image shows at the place of a change, with the outlines of both models, as markup."""
    try:
        outlines = outlines_around(project, case, sides, change.centre)
        picture = picture_of(image, change.centre, -1.0, outlines.by_side)
    except (MedlabError, OSError):
        return UNREADABLE
    coded = base64.b64encode(picture).decode()
    return f'<img alt="What the image shows there" src="data:image/png;base64,{coded}">'


def _score(change: Change) -> str:
    """Return the scores of a change as text."""
    if isinstance(change, FindingChange):
        before, after = (
            f"{score:.2f}" if np.isfinite(score) else "none" for score in (change.score_a, change.score_b)
        )
        return f"score {before} → {after}"
    return f"score {change.score:.2f}"
