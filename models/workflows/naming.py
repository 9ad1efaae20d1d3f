"""What the name of a model means in a project, where a retrained model keeps its parent's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import find_bundle, find_bundles
from napari_medlab.models.workflows.publishing import current_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import Project

__all__ = ["model_in_project"]


def model_in_project(project: Project, wanted: str) -> tuple[Bundle, str]:
    """Return the bundle that is meant by a name, a hash or a folder, and one sentence on the choice; empty where none was made.

    Of several versions of one name the current model of the project is meant, else the one that the project knows
    last. The hash names any other.

    Parameters
    ----------
    project : Project
        Its own bundles count beside those that ship and the models of installed packages.
    wanted : str

    Raises
    ------
    InputRefusedError
        ``"unknown-model"`` where there is none, or several of which the project knows none.
    """
    folders = [project.folder / "bundles"]
    versions = find_bundles(wanted, folders)
    if len(versions) == 1:
        return versions[0], ""
    meant, which = _meant(project, versions)
    if meant is None:
        return find_bundle(wanted, folders), ""
    others = ", ".join(bundle.hash[:8] for bundle in versions if bundle is not meant)
    return meant, (
        f"{len(versions)} models are called {wanted}: {meant.hash[:8]} was taken, {which}; {others} by its hash."
    )


def _meant(project: Project, versions: Sequence[Bundle]) -> tuple[Bundle | None, str]:
    by_hash = {bundle.hash: bundle for bundle in versions}
    current = project.current_bundle() or _usual(project)
    if current in by_hash:
        return by_hash[current], "the current model"
    known = [record.hash for record in project.bundles() if record.hash in by_hash]
    return (by_hash[known[-1]], "the newest of the project") if known else (None, "")


def _usual(project: Project) -> str:
    """Return the hash of the model that a project begins with; empty where nothing that ships can be used."""
    try:
        return current_model(project).hash
    except InputRefusedError:
        return ""
