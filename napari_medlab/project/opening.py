"""Opening the image of a case as it was opened when it was added."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.images import Image
    from napari_medlab.project.project import Project

__all__ = ["open_case"]


def open_case(
    project: Project,
    case_id: str,
    *,
    pyramid: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Image:
    """Return the image of a case, opened with the decisions that are recorded with it.

    Parameters
    ----------
    project : Project
    case_id : str
    pyramid, on_progress, stop
        As in :func:`napari_medlab.images.open_image`.

    Raises
    ------
    ProjectError
        ``unknown-case``; ``path`` where the stored path leads out of the project.
    ImageRefusedError
        As :func:`napari_medlab.images.open_image` does.
    """
    from napari_medlab.images import Decisions, open_image

    decisions = Decisions.from_json(project.case(case_id).decisions)
    path = project.case_path(case_id)
    return open_image(path, decisions, pyramid=pyramid, on_progress=on_progress, stop=stop)
