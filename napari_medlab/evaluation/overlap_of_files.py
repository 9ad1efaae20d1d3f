"""The overlap of many pairs of mask files, each pair by itself: reading them and measuring distances takes the time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.evaluation.overlap import TOLERANCE_MM, labelled_overlap_of_images
from napari_medlab.images import open_image
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.results import results_of
from napari_medlab.jobs.spreading import Here, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_medlab.evaluation.overlap import LabelledOverlap
    from napari_medlab.jobs.spreading import Spread, Tell

__all__ = ["overlap_of_pair", "overlaps_of_files"]


def overlaps_of_files(
    pairs: Mapping[str, tuple[Path, Path]],
    tolerance_mm: float = TOLERANCE_MM,
    *,
    spread: Spread | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, LabelledOverlap]:
    """Return how well pairs of masks agree.

    Parameters
    ----------
    pairs : mapping of str to (Path, Path)
        The files of reference and prediction, by case.
    tolerance_mm : float
        As in :func:`~napari_medlab.evaluation.overlap.overlap`.
    spread : Spread, optional
        Who measures, pair by pair; this process where left out. Its workers see the files under the same paths.
    on_progress : callable, optional
        Called with the pairs done and all pairs.

    Returns
    -------
    dict of str to LabelledOverlap
        By case, in the order of ``pairs``.

    Raises
    ------
    InputRefusedError
        As :func:`~napari_medlab.evaluation.overlap.labelled_overlap_of_images`, for the first pair that is refused.
    """
    tasks = [
        Task(case, {"masks": [str(path.absolute()) for path in masks], "tolerance_mm": tolerance_mm})
        for case, masks in pairs.items()
    ]
    found: dict[str, LabelledOverlap] = {}
    with results_of(spread or Here(), overlap_of_pair, tasks, CancelToken()) as results:
        for case, overlap in results:
            found[case] = overlap
            if on_progress is not None:
                on_progress(len(found), len(tasks))
    return {case: found[case] for case in pairs}


def overlap_of_pair(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> LabelledOverlap:
    """Return how well the two masks of a case agree.

    Parameters
    ----------
    request : dict
        ``masks``, the paths of reference and prediction, and ``tolerance_mm``.
    cancel : CancelToken
    tell : callable
    """
    reference, prediction = (open_image(Path(path)) for path in request["masks"])
    return labelled_overlap_of_images(reference, prediction, request["tolerance_mm"])
