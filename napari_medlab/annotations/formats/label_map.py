"""Label maps: whole numbers on the voxels of an image, 0 where there is nothing.

A map holds classes (every nodule is 1) or instances (the first nodule is 1, the second 2), as the table of names that
comes with it tells: a file such as NIfTI or MHA holds numbers alone. Arrays come from and go to
:mod:`napari_medlab.images`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.annotations.formats.voxel_outlines import (
    Patch,
    image_regions,
    patch_of_region,
    region_of_patch,
    separate,
)
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.annotations.objects import Region

__all__ = ["IGNORED", "LabelMap", "class_map", "instance_map", "regions_of_labels"]

IGNORED = "ignore"
"""The class of voxels that count neither way, as nnU-Net calls it."""
MOST_VALUES = 65535
"""Up to here the place of each value is looked up in one pass over the map."""
SHOWN = 10


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map and what its numbers mean.

    Parameters
    ----------
    labels : uint8, uint16 or uint32 array, (z, y, x) or (y, x)
        The smallest type that holds the numbers; 0 is the background.
    names : dict of int to str
        The class of each number; several numbers of one class are its instances.
    """

    labels: NDArray[np.unsignedinteger]
    names: dict[int, str]


def regions_of_labels(
    image: str,
    labels: ArrayLike,
    names: Mapping[int, str] | None = None,
    *,
    split: bool = True,
    ignored: Collection[str] = (IGNORED,),
) -> ImageRegions:
    """Return the objects of a label map as outlines that cover just its voxels.

    Parameters
    ----------
    image : str
        The name of the image.
    labels : integer, bool or float array, (z, y, x) or (y, x)
        Floats must be whole numbers.
    names : mapping of int to str, optional
        The class of each number, 0 left out or not; ``"label 3"`` and so on where there is no table.
    split : bool
        Whether each connected component of a number is an object of its own (voxels that share a corner are
        connected), as in a map of classes; otherwise each number is one object, as in a map of instances.
    ignored : collection of str
        Classes whose regions are marked as excluded.

    Returns
    -------
    ImageRegions
        In the order of the numbers; ``extra["values"]`` has the number of each region by its id. An empty map gives
        no regions.

    Raises
    ------
    InputRefusedError
        With code ``"labels"`` where the array is none of whole numbers from 0, or has numbers that are not in the
        table.
    """
    array = _whole_numbers(image, np.asarray(labels))
    table = None if names is None else {int(value): name for value, name in names.items() if value}
    regions: list[Region] = []
    values: dict[str, int] = {}
    unknown: list[int] = []
    for value, patch in _patches(array):
        if table is not None and value not in table:
            unknown.append(value)
            continue
        label = f"label {value}" if table is None else table[value]
        for part in separate(patch) if split else [patch]:
            regions.append(region_of_patch(image, part, label))
            values[regions[-1].region_id] = value
    if unknown:
        raise _refused(
            f"{image}: the label map holds {_listed(unknown)}, and its table names {_listed(sorted(table or ()))}.",
            "Give the table that belongs to this map, or none.",
        )
    excluded = [region.label in ignored for region in regions]
    return image_regions(image, regions, array.shape, excluded, {"values": values})


def class_map(
    regions: ImageRegions,
    shape: Sequence[int],
    classes: Mapping[str, int],
    *,
    overlap: Literal["refuse", "last"] = "refuse",
) -> LabelMap:
    """Return outlines as a map of classes.

    Parameters
    ----------
    regions : ImageRegions
    shape : sequence of int
        Of the image, (z, y, x) or (y, x).
    classes : mapping of str to int
        The number of each class, from 1.
    overlap : {"refuse", "last"}
        What to do where objects of different classes share voxels: a map holds one number for each. ``"last"`` gives
        the voxel to the later one.

    Raises
    ------
    InputRefusedError
        With code ``"labels"`` for a class without a number, ``"overlap"`` where objects of different classes share
        voxels.
    """
    names = _names(regions)
    missing = sorted(set(names) - set(classes))
    if missing:
        raise _refused(
            f"{regions.image}: the classes {_listed(missing)} have no number in {_listed(sorted(classes))}.",
            "Give every class a number.",
        )
    values = [classes[name] for name in names]
    labels = _painted(regions, shape, values, max([*classes.values(), 0]), overlap)
    return LabelMap(labels, {value: name for name, value in classes.items()})


def instance_map(
    regions: ImageRegions, shape: Sequence[int], *, overlap: Literal["refuse", "last"] = "refuse"
) -> LabelMap:
    """Return outlines as a map of instances, numbered from 1 in their order.

    Parameters and errors are those of :func:`class_map`, objects of one class that share voxels being refused as well.
    """
    names = _names(regions)
    values = list(range(1, len(names) + 1))
    labels = _painted(regions, shape, values, len(values), overlap)
    return LabelMap(labels, dict(zip(values, names, strict=True)))


def _painted(
    regions: ImageRegions,
    shape: Sequence[int],
    values: Sequence[int],
    largest: int,
    overlap: Literal["refuse", "last"],
) -> NDArray[np.unsignedinteger]:
    labels = np.zeros(tuple(shape), dtype=np.min_scalar_type(largest))
    for row, value in enumerate(values):
        patch = patch_of_region(regions.regions.region(row), shape)
        if patch is None:
            continue
        part = labels[patch.box]
        taken = patch.mask & (part != 0) & (part != value)
        if overlap == "refuse" and taken.any():
            raise InputRefusedError(
                f"{regions.image}: outline {row + 1} shares {int(taken.sum())} voxels with another of a different number, "
                "and a label map holds one number for each voxel.",
                code="overlap",
                hint="Write DICOM-SEG or outlines, or let the later one have them.",
            )
        part[patch.mask] = value
    return labels


def _names(regions: ImageRegions) -> list[str]:
    table = regions.regions
    return [table.label_names[number] for number in table.labels.tolist()]


def _patches(labels: NDArray[np.integer]) -> Iterator[tuple[int, Patch]]:
    """Yield the voxels of each number, in the order of the numbers."""
    from scipy import ndimage

    largest = int(labels.max(initial=0))
    numbers: Sequence[int] = range(1, largest + 1)
    if largest > MOST_VALUES:  # ids may be sparse: number them anew
        filled = labels != 0
        found, places = np.unique(labels[filled], return_inverse=True)
        numbers = found.tolist()
        labels = np.zeros(labels.shape, dtype=np.int64)
        labels[filled] = places.reshape(-1) + 1
    for at, box in enumerate(ndimage.find_objects(labels)):
        if box is not None:
            corner = tuple(part.start for part in box)
            yield numbers[at], Patch(corner, labels[box] == at + 1)


def _whole_numbers(image: str, labels: NDArray[Any]) -> NDArray[np.integer]:
    """Return labels as integers, and refuse what they cannot be."""
    if labels.ndim not in (2, 3):
        raise _refused(
            f"{image}: a label map has 2 or 3 axes, this one has the shape {labels.shape}.",
            "Give one map for each image.",
        )
    if labels.dtype.kind == "f":
        return _checked(image, _rounded(image, labels))
    if labels.dtype.kind not in "iub":
        raise _refused(f"{image}: a label map holds whole numbers, got {labels.dtype}.", "Give a label map.")
    return _checked(image, labels.astype(np.uint8 if labels.dtype.kind == "b" else labels.dtype, copy=False))


def _rounded(image: str, labels: NDArray[Any]) -> NDArray[np.int64]:
    odd = labels[~((labels == np.trunc(labels)) & (np.abs(labels) < 2**53))]
    if len(odd):
        raise _refused(
            f"{image}: the values of the map are no whole numbers, such as {odd[0]:g}.",
            "A map of probabilities is read as a detection map, with a threshold.",
        )
    return labels.astype(np.int64)


def _checked(image: str, labels: NDArray[Any]) -> NDArray[np.integer]:
    lowest = int(labels.min(initial=0))
    if lowest < 0:
        raise _refused(
            f"{image}: the map holds {lowest}, and numbers below 0 mean nothing.",
            "Give a label map with 0 as the background.",
        )
    return labels


def _listed(values: Sequence[object]) -> str:
    shown = ", ".join(map(str, values[:SHOWN]))
    return f"{shown} and {len(values) - SHOWN} more" if len(values) > SHOWN else shown or "nothing"


def _refused(message: str, hint: str) -> InputRefusedError:
    return InputRefusedError(message, code="labels", hint=hint)
