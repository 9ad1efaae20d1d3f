"""Which models there are for a project, which is current, and which cannot be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medlab.errors import MedlabError
from napari_medlab.models.bundles import read_bundle, shipped_bundles
from napari_medlab.widgets.model_words import usual_bundle

if TYPE_CHECKING:
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import Project

__all__ = ["FoundBundles", "read_bundles"]


@dataclass(frozen=True)
class FoundBundles:
    """What bundles there are.

    Parameters
    ----------
    bundles : list of Bundle
    current : str
        The hash of the current one; empty for none.
    damaged : list of MedlabError
        Why others cannot be used.
    """

    bundles: list[Bundle]
    current: str
    damaged: list[MedlabError] = field(default_factory=list)


def read_bundles(project: Project | None) -> FoundBundles:
    """Return the bundles that ship and those of the project, and which is the current one."""
    shipped = shipped_bundles()
    if project is None:
        return FoundBundles(shipped, usual_bundle(shipped, ()))
    known, damaged = {b.hash: b for b in shipped}, []
    for record in project.bundles():
        folder = project.folder / record.path
        if record.hash in known or not folder.exists():
            continue
        try:
            known[record.hash] = read_bundle(folder)
        except MedlabError as error:  # the others are there all the same
            damaged.append(error)
    # a project that has published nothing works with what ships; nothing is written for that
    current = project.current_bundle() or usual_bundle(shipped, [case.kind for case in project.cases()])
    return FoundBundles(list(known.values()), current, damaged)
