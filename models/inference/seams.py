"""One candidate for one object, where neighbouring tiles both report it."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from math import ceil, dist, floor, log2, prod
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_medlab.geometry import Grid
    from napari_medlab.models.detection.detections import Detections

__all__ = ["SeamMerger"]

LEAST_REACH = 1e-3


class SeamMerger:
    """Keeps the first seen of several detections of one class that mark the same object.

    By one of two rules: their centres are nearer than ``least_distance`` or than half the larger one's diameter; or their
    boxes overlap by ``iou`` or more. Finding a neighbour takes the same time however many were seen: detections are kept
    in cells as wide as they reach, one lattice for each power of two.

    Parameters
    ----------
    least_distance : float
        In voxels.
    iou : float or None
        Intersection over union, above 0 and at most 1; where it is given, distances do not matter.
    """

    def __init__(self, least_distance: float = 0.0, iou: float | None = None) -> None:
        self._least = max(least_distance, LEAST_REACH)
        self._iou = iou
        self._cells: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._lattices: dict[tuple[int, int], list[int]] = defaultdict(list)
        self._kept: list[_Kept] = []

    @classmethod
    def from_json(cls, postprocessing: Mapping[str, Any], grid: Grid) -> Self:
        """Return the merger that a bundle's post-processing asks for.

        Parameters
        ----------
        postprocessing : mapping
            ``merge_iou``; or ``merge_mm``, a least distance in millimetres, or ``merge_px``, in voxels.
        grid : Grid
            The lattice on which detections lie.
        """
        if (iou := postprocessing.get("merge_iou")) is not None:
            return cls(iou=float(iou))
        if (distance := postprocessing.get("merge_mm")) is not None:
            return cls(float(distance) / float(np.mean(grid.spacing_mm)))
        return cls(float(postprocessing.get("merge_px", 0.0)))

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, detections: Detections) -> Detections:
        """Return those that mark an object that was not seen before, in order."""
        sides = detections.boxes[:, detections.dims :] - detections.boxes[:, : detections.dims]
        reaches = sides.mean(axis=1) / 2 if self._iou is None else sides.max(axis=1, initial=0)
        new = []
        for row, (centre, reach, box, label) in enumerate(
            zip(
                detections.centres.tolist(), np.maximum(self._least, reaches).tolist(), detections.boxes.tolist(),
                detections.classes.tolist(), strict=True,
            )
        ):  # fmt: skip
            one = _Kept(centre, reach, box)
            if not any(self._is_same(one, self._kept[other]) for other in self._near(one, label)):
                self._keep(one, label)
                new.append(row)
        return detections.where(np.asarray(new, np.intp))

    def _is_same(self, one: _Kept, other: _Kept) -> bool:
        if self._iou is not None:
            return _iou(one.box, other.box) >= self._iou
        return dist(one.centre, other.centre) < max(one.reach, other.reach)

    def _near(self, one: _Kept, label: int) -> Iterator[int]:
        """Yield the rows kept whose centres can lie within the reach of either."""
        for (kind, size), rows in self._lattices.items():
            if kind != label:
                continue
            side = 2.0**size
            radius = max(side, one.reach)
            spans = [
                range(floor((place - radius) / side), floor((place + radius) / side) + 1)
                for place in one.centre
            ]
            if prod(map(len, spans)) > len(rows):
                yield from rows
            else:
                for cell in product(*spans):
                    yield from self._cells.get((label, size, *cell), ())

    def _keep(self, one: _Kept, label: int) -> None:
        size = ceil(log2(one.reach))
        self._cells[label, size, *(floor(place / 2.0**size) for place in one.centre)].append(len(self._kept))
        self._lattices[label, size].append(len(self._kept))
        self._kept.append(one)


class _Kept(NamedTuple):
    """A detection, in numbers that Python compares quickly."""

    centre: list[float]
    reach: float
    box: list[float]


def _iou(one: list[float], other: list[float]) -> float:
    """Return the intersection over union of two boxes."""
    dims = len(one) // 2
    sides = [min(one[dims + axis], other[dims + axis]) - max(one[axis], other[axis]) for axis in range(dims)]
    common = prod(sides) if min(sides) > 0 else 0.0
    both = sum(prod(box[dims + axis] - box[axis] for axis in range(dims)) for box in (one, other))
    return common / (both - common) if both > common else 0.0
