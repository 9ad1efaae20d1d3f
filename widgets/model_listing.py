"""Which models there are for a project, which is current, and which cannot be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_medlab.errors import MedlabError
from napari_medlab.models.bundles import plugin_bundles, read_bundle, shipped_bundles
from napari_medlab.models.workflows.publishing import current_model

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
        The hash of the current one; empty where no project is open.
    damaged : list of MedlabError
        Why others cannot be used.
    """

    bundles: list[Bundle]
    current: str
    damaged: list[MedlabError] = field(default_factory=list)


def read_bundles(project: Project | None) -> FoundBundles:
    """Return the bundles that ship, those of other packages and those of the project, and which is the current one."""
    installed = [*shipped_bundles(), *plugin_bundles()]
    if project is None:
        return FoundBundles(installed, "")
    known, damaged = {b.hash: b for b in installed}, []
    for record in project.bundles():
        folder = project.folder / record.path
        if record.hash in known or not folder.exists():
            continue
        try:
            found = read_bundle(folder)
            known.setdefault(
                found.hash, found
            )  # of another package, whose code has changed since, the hash is another
        except MedlabError as error:  # the others are there all the same
            damaged.append(error)
    # the files of what was published may be damaged; what is current is known all the same
    current = project.current_bundle() or current_model(project).hash
    return FoundBundles(list(known.values()), current, damaged)
