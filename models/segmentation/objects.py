"""From a mask of probabilities to objects with outlines, block by block."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.segmentation.components import Components, Measures, blocks_of
from napari_medlab.models.segmentation.tracing import join_pieces, trace_plane

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.models.segmentation.components import Block

__all__ = ["MaskReader", "ObjectSettings", "SegmentedObject", "objects_of", "threshold_in"]

BLOCK_VOXELS = 2**22
"""About how many voxels are in memory at a time."""


class MaskReader(Protocol):
    """A mask that is read in blocks, such as :class:`napari_medlab.models.inference.mask_store.MaskStore`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(class, z, y, x) or (class, y, x)."""
        ...

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Return all classes of a block of space, (class, …): probabilities, uint8 0 … 255 or floating 0 … 1; or bool."""
        ...


@dataclass(frozen=True)
class SegmentedObject:
    """A connected part of a mask.

    Parameters
    ----------
    class_index : int
        Which of the bundle's classes.
    score, peak : float, 0 … 1
        The mean and the largest probability of its voxels.
    voxels : int
    centre : tuple of float
        The mean index of its voxels, in array order.
    diameter : float
        Of the circle or ball of the same area or volume, in the unit of the spacing.
    rings : tuple of float64 arrays (n, dims)
        Its outlines as indices, (y, x), or (z, y, x) with each ring in one slice; a ring inside another is a hole.
        Their mask is the object exactly.
    """

    class_index: int
    score: float
    peak: float
    voxels: int
    centre: tuple[float, ...]
    diameter: float
    rings: tuple[NDArray[np.float64], ...] = field(repr=False)


@dataclass(frozen=True)
class ObjectSettings:
    """What counts as an object; part of a bundle's post-processing.

    Parameters
    ----------
    threshold : float, or one for each class, 0 … 1
        The least probability that belongs to an object.
    least_voxels : int
        Objects of fewer voxels are left out.
    spacing : tuple of float, optional
        Between voxels, in array order, for the diameters; 1 by default.
    """

    threshold: float | tuple[float, ...] = 0.5
    least_voxels: int = 1
    spacing: tuple[float, ...] | None = None

    @classmethod
    def from_json(cls, postprocessing: Mapping[str, object], grid: Grid) -> ObjectSettings:
        """Read the settings out of a bundle's ``postprocessing``, for masks on a grid.

        ``threshold``; and ``least_area_um2``, ``least_volume_mm3`` or ``least_voxels``, whichever is named.

        Raises
        ------
        ImageRefusedError
            Where an area or a volume is named and the pixel size is unknown.
        """
        threshold = postprocessing.get("threshold", cls.threshold)
        chosen = (
            tuple(map(float, threshold)) if isinstance(threshold, list | tuple) else float(str(threshold))
        )
        least = float(str(postprocessing.get("least_voxels", cls.least_voxels)))
        for name, per_mm in (("least_area_um2", 1e3), ("least_volume_mm3", 1.0)):
            if name in postprocessing:
                voxel = float(np.prod(np.asarray(grid.spacing_mm) * per_mm))
                least = float(str(postprocessing[name])) / voxel
        return cls(chosen, max(int(np.ceil(least)), 1), grid.spacing)

    def limits(self, classes: int) -> list[float]:
        """Return the threshold of each class.

        Raises
        ------
        InputRefusedError
            Where there are as many thresholds as there are not classes.
        """
        given = [self.threshold] * classes if isinstance(self.threshold, float | int) else [*self.threshold]
        if len(given) != classes:
            raise InputRefusedError(
                f"There are {len(given)} thresholds for {classes} classes.", code="thresholds",
                hint="Give one for each class, or one for all.",
            )  # fmt: skip
        return given


def objects_of(
    mask: MaskReader | NDArray[Any], settings: ObjectSettings | None = None, *,
    block: Sequence[int] | None = None, stop: Callable[[], None] | None = None,
) -> list[SegmentedObject]:  # fmt: skip
    """Return the objects of a mask, class by class, the best first.

    Voxels belong together where their faces touch. Each block is read once and not kept: memory holds the outlines and
    the seams between blocks.

    Parameters
    ----------
    mask : MaskReader, or array (class, z, y, x) or (class, y, x)
        Probabilities as uint8 0 … 255 or as floating 0 … 1, or bool.
    settings : ObjectSettings, optional
    block : sizes in array order, optional
        How much is read at once; by default about four million voxels, in whole chunks where the mask says by an attribute
        ``chunk`` how large these are.
    stop : callable, optional
        Called before each block; it raises where the work is no longer wanted.
    """
    settings = settings or ObjectSettings()
    reader = _ArrayMask(mask) if isinstance(mask, np.ndarray) else mask
    shape = reader.shape[1:]
    found = [_ClassObjects(shape, limit) for limit in settings.limits(reader.shape[0])]
    sides = block or _block_of(shape, getattr(mask, "chunk", (1,) * len(shape)))
    for part in blocks_of(shape, sides):
        if stop is not None:
            stop()
        values = reader.read(part.start, part.read_stop)
        for one, channel in zip(found, values, strict=True):
            one.add(part, channel, settings.least_voxels)
    objects = [one.objects(number, settings) for number, one in enumerate(found)]
    return [each for of_class in objects for each in of_class]


def threshold_in(dtype: np.dtype[Any], threshold: float) -> float:
    """Return a threshold, 0 … 1, in the values of a mask: for uint8 the least of 0 … 255 that reaches it."""
    return float(np.ceil(threshold * 255 - 1e-6)) if dtype == np.uint8 else float(threshold)


def _block_of(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    """Return how much is read at once: chunks side by side, whole rows and planes first."""
    sides = list(chunk)
    for axis in reversed(range(len(shape))):
        while sides[axis] < shape[axis] and np.prod(sides, dtype=float) * 2 <= BLOCK_VOXELS:
            sides[axis] *= 2
    return tuple(sides)


class _ArrayMask:
    def __init__(self, array: NDArray[Any]) -> None:
        self.shape = array.shape
        self._array = array

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        return self._array[(slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))]


class _ClassObjects:
    """The objects of one class, as its blocks come in."""

    def __init__(self, shape: Sequence[int], threshold: float) -> None:
        self._shape = tuple(shape)
        self._threshold = threshold
        self._scale = 1.0
        self._components = Components()
        # by slice: None in a plane
        self._pieces: dict[int | None, list[tuple[int, NDArray[np.float64]]]] = defaultdict(list)

    def add(self, block: Block, values: NDArray[Any], least: int) -> None:
        if values.dtype == np.uint8:
            self._scale = 255.0
        mask = values >= threshold_in(values.dtype, self._threshold)
        if not mask.any():
            return
        before = self._components.count
        labels = self._components.add(block, mask, values, least)
        planes = [(None, labels)] if labels.ndim == 2 else enumerate(labels[block.own[0]], block.start[0])
        for z, plane in planes:
            self._pieces[z] += [(before + number, line) for number, line in trace_plane(plane, block)]

    def objects(self, class_index: int, settings: ObjectSettings) -> list[SegmentedObject]:
        if not self._components.count:
            return []
        count, groups = self._components.groups()
        known = Measures.joined(self._components.measures, groups, count)
        rings = self._rings(groups)
        score = known.total / np.maximum(known.voxels, 1) / self._scale
        spacing = settings.spacing or (1.0,) * len(self._shape)
        sizes = known.voxels * np.prod(spacing)
        diameters = 2 * np.sqrt(sizes / np.pi) if len(spacing) == 2 else np.cbrt(6 * sizes / np.pi)
        return [
            SegmentedObject(
                class_index, float(score[row]), float(known.peak[row] / self._scale), int(known.voxels[row]),
                tuple((known.sums[row] / known.voxels[row]).tolist()), float(diameters[row]), tuple(rings[row]),
            )
            for row in np.lexsort([*(known.sums / np.maximum(known.voxels, 1)[:, None]).T[::-1], -score])
            if known.voxels[row] >= settings.least_voxels
        ]  # fmt: skip

    def _rings(self, groups: NDArray[np.intp]) -> dict[int, list[NDArray[np.float64]]]:
        """Return the outlines of each object."""
        rings: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
        for z, pieces in self._pieces.items():
            by_object: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
            for number, line in pieces:
                by_object[int(groups[number - 1])].append(line)
            for number, lines in by_object.items():
                joined = join_pieces(lines)
                rings[number] += (
                    joined if z is None else [np.insert(ring, 0, float(z), axis=1) for ring in joined]
                )
        return rings
