"""Outlines read from files as a study that a matching rule takes: findings, candidates, cases and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.annotations.measures import measured
from napari_medlab.evaluation.rules.shapes import Shapes
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["OutlinedStudy", "outlined_study"]


class OutlinedStudy(NamedTuple):
    """What :func:`~napari_medlab.evaluation.matching.match` and its rules take."""

    findings: FindingTable
    candidates: list[CandidateTable]
    cases: list[str]
    shapes: Shapes


class _Columns(NamedTuple):
    ids: NDArray[np.str_]
    case_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    centres: NDArray[np.float64]
    diameters: NDArray[np.float64]


def outlined_study(
    reference: Sequence[ImageRegions],
    predictions: Sequence[Sequence[ImageRegions]],
    grids: Mapping[str, Grid] | None = None,
) -> OutlinedStudy:
    """Return outlines of a reference and of models as a study.

    Parameters
    ----------
    reference : sequence of ImageRegions
        Its images are the cases.
    predictions : sequence of sequences of ImageRegions
        One for each model; outlines without a score have the score 1, and images that the reference lacks are left out.
    grids : mapping of str to Grid, optional
        By image; without it, world coordinates are pixels.

    Returns
    -------
    OutlinedStudy
        Ids are ``"IMAGE:reference:OUTLINE"`` and ``"IMAGE:0:OUTLINE"``, with the number of the model. Centres and diameters
        are those of :func:`~napari_medlab.annotations.measures.measured`, as in a project that imports the same files.
    """
    cases = [image.image for image in reference]
    known = dict(grids or {})
    for image in (*reference, *(each for several in predictions for each in several)):
        ndim = image.regions.ndim
        known.setdefault(image.image, Grid.axis_aligned(image.shape or (1,) * ndim, (1.0,) * ndim, unit="px"))
    wanted = set(cases)
    several = [list(reference), *([each for each in model if each.image in wanted] for model in predictions)]
    names = ["reference", *map(str, range(len(predictions)))]
    columns = [_columns(images, name, known) for images, name in zip(several, names, strict=True)]
    outlines = {
        key: (image.regions, row)
        for images, name in zip(several, names, strict=True)
        for image in images
        for row, key in enumerate(_ids(image, name))
    }
    excluded = np.concatenate([np.zeros(0, dtype=np.bool_), *(image.is_excluded for image in reference)])
    findings = FindingTable(*columns[0], is_excluded=excluded)
    candidates = [
        CandidateTable(*each, scores=_scores(images))
        for each, images in zip(columns[1:], several[1:], strict=True)
    ]
    return OutlinedStudy(findings, candidates, cases, Shapes(outlines=outlines, grids=known))


def _ids(image: ImageRegions, name: str) -> list[str]:
    return [f"{image.image}:{name}:{key.decode()}" for key in image.regions.ids.tolist()]


def _columns(images: Sequence[ImageRegions], name: str, grids: Mapping[str, Grid]) -> _Columns:
    ids = [key for image in images for key in _ids(image, name)]
    cases = [image.image for image in images for _ in range(len(image))]
    labels = [image.regions.label_names[label] for image in images for label in image.regions.labels.tolist()]
    ndim = max((image.regions.ndim for image in images), default=2)
    middles, sides = [np.zeros((0, ndim))], [np.zeros(0)]
    for image in images:
        grid = grids[image.image]
        places, diameters = measured(image.regions, grid)
        centres = np.zeros((len(places), ndim))
        centres[:, : grid.ndim] = np.nan_to_num(places)  # an outline without a vertex lies nowhere
        middles.append(centres)
        sides.append(np.nan_to_num(diameters))
    return _Columns(
        ids=np.asarray(ids, dtype=np.str_),
        case_ids=np.asarray(cases, dtype=np.str_),
        labels=np.asarray(labels, dtype=np.str_),
        centres=np.concatenate(middles),
        diameters=np.concatenate(sides),
    )


def _scores(images: Sequence[ImageRegions]) -> NDArray[np.float64]:
    scores = np.concatenate([np.zeros(0), *(image.regions.scores for image in images)])
    return np.where(np.isnan(scores), 1.0, scores)
