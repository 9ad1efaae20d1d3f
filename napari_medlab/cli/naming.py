"""Which model the command line means by a name, and that it says so where several have it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import Project

__all__ = ["model_for", "model_in"]


def model_in(project: Project, wanted: str) -> Bundle:
    """Return the model that a name, a hash or a folder means in a project; tell on standard error where there was a choice.

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.models.workflows.naming.model_in_project`.
    """
    from napari_medlab.models.workflows.naming import model_in_project

    bundle, choice = model_in_project(project, wanted)
    if choice:
        sys.stderr.write(f"{choice}\n")
    return bundle


def model_for(folder: Path | None, wanted: str) -> Bundle:
    """Return the model that is meant: in the project of a folder, as :func:`model_in`; without one, the only one of that name.

    Raises
    ------
    InputRefusedError
        Where there is none, or more than one that nothing tells apart.
    ProjectError
        Where the folder holds no project.
    """
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.project import Project

    if folder is None:
        return find_bundle(wanted)
    with Project.open(folder, read_only=True) as project:
        return model_in(project, wanted)
