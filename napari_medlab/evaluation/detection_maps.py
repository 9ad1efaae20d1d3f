"""Detection maps, as prostate challenges hand them in: every connected component is one candidate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.rules.shapes import Shapes
from napari_medlab.evaluation.rules.voxels import Voxels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid

__all__ = ["MappedCandidates", "MappedFindings", "candidates_of_map", "findings_of_mask"]


class MappedCandidates(NamedTuple):
    """The candidates of a detection map, and the mask of each."""

    candidates: CandidateTable
    shapes: Shapes


class MappedFindings(NamedTuple):
    """The lesions of a mask, and the mask of each."""

    findings: FindingTable
    shapes: Shapes


class _Components(NamedTuple):
    masks: list[Voxels]
    centres: NDArray[np.float64]
    diameters: NDArray[np.float64]
    peaks: NDArray[np.float64]


def candidates_of_map(
    detection_map: NDArray[np.floating],
    grid: Grid,
    case_id: str,
    *,
    threshold: float = 0.0,
    label: str = "lesion",
    prefix: str = "c",
) -> MappedCandidates:
    """Return one candidate for each connected component of a detection map.

    Parameters
    ----------
    detection_map : float array, (z, y, x) or (y, x)
        0 for background, and the model's confidence elsewhere; a candidate's score is the highest of its voxels.
    grid : Grid
        The map's.
    case_id : str
    threshold : float
        Voxels above it belong to a component; 0, as in PI-CAI, for a map in which the components are told apart already.
    label : str
    prefix : str
        Ids are ``"CASE:c1"`` and so on; maps of other models take another.

    Returns
    -------
    MappedCandidates
        What is connected is one candidate; the centre is the mean place of the voxels, in world coordinates, and the diameter
        that of the ball or disc of their volume.

    Raises
    ------
    InputRefusedError
        With code ``"detection-map"`` where the map is not as large as its grid, or holds what is negative or no number.

    Notes
    -----
    Voxels that touch by a corner belong together. A. Saha et al., "Artificial intelligence and radiologists in prostate
    cancer detection on MRI (PI-CAI)", Lancet Oncology 25 (2024), and its ``picai_eval``.
    """
    values = np.asarray(detection_map)
    _check(values, grid)
    parts = _components(values, values > threshold, grid)
    ids = [f"{case_id}:{prefix}{number}" for number in range(1, len(parts.masks) + 1)]
    table = CandidateTable(
        ids=np.asarray(ids, dtype=np.str_),
        case_ids=np.full(len(ids), case_id),
        labels=np.full(len(ids), label),
        centres=parts.centres,
        diameters=parts.diameters,
        scores=parts.peaks,
    )
    return MappedCandidates(
        table, Shapes(masks=dict(zip(ids, parts.masks, strict=True)), grids={case_id: grid})
    )


def findings_of_mask(
    mask: NDArray[np.generic], grid: Grid, case_id: str, *, label: str = "lesion"
) -> MappedFindings:
    """Return one finding for each connected component of a mask; ids are ``"CASE:f1"`` and so on.

    Parameters
    ----------
    mask : bool or int array, (z, y, x) or (y, x)
        Everything but 0 is lesion.
    grid, case_id, label
        As in :func:`candidates_of_map`, which tells also what is raised.
    """
    values = np.asarray(mask)
    _check(values, grid)
    parts = _components(values, values != 0, grid)
    ids = [f"{case_id}:f{number}" for number in range(1, len(parts.masks) + 1)]
    table = FindingTable(
        ids=np.asarray(ids, dtype=np.str_),
        case_ids=np.full(len(ids), case_id),
        labels=np.full(len(ids), label),
        centres=parts.centres,
        diameters=parts.diameters,
        is_excluded=np.zeros(len(ids), dtype=np.bool_),
    )
    return MappedFindings(
        table, Shapes(masks=dict(zip(ids, parts.masks, strict=True)), grids={case_id: grid})
    )


def _components(values: NDArray[np.generic], inside: NDArray[np.bool_], grid: Grid) -> _Components:
    from scipy import ndimage

    numbers, count = ndimage.label(inside, structure=np.ones((3,) * inside.ndim))
    masks, centres, diameters, peaks = [], np.zeros((count, grid.ndim)), np.zeros(count), np.zeros(count)
    volume = float(np.abs(np.linalg.det(grid.affine[: grid.ndim, : grid.ndim])))
    for at, box in enumerate(ndimage.find_objects(numbers)):
        mask = numbers[box] == at + 1
        start = tuple(each.start for each in box)
        masks.append(Voxels(mask, start, grid))
        centres[at] = grid.to_world(np.argwhere(mask).mean(axis=0) + start)
        size = float(mask.sum()) * volume
        diameters[at] = 2 * (np.sqrt(size / np.pi) if grid.ndim == 2 else np.cbrt(3 * size / (4 * np.pi)))
        peaks[at] = float(np.max(values[box][mask]))
    return _Components(masks, centres, diameters, peaks)


def _check(values: NDArray[Any], grid: Grid) -> None:
    if values.shape != grid.shape:
        found = f"it has shape {values.shape}, and its image {grid.shape}"
    elif not np.isfinite(values).all() or float(np.min(values, initial=0)) < 0:
        found = "it holds values that are negative or no numbers"
    else:
        return
    raise InputRefusedError(
        f"This is no detection map: {found}.",
        code="detection-map",
        hint="Give a map as large as the image, 0 for background and a confidence above 0 in each candidate.",
    )
