"""What a file says about images as one message and arrays: how it comes back from the process that parsed the file."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import RegionTable
from napari_medlab.annotations.image_regions import ImageRegions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["packed", "renamed", "unpacked"]

PLAIN = ("case_id", "label_names")
"""The columns of a table that are no arrays."""
COLUMNS = tuple(field.name for field in fields(RegionTable) if field.name not in PLAIN)


def packed(images: Sequence[ImageRegions]) -> tuple[list[dict[str, Any]], list[NDArray[Any]]]:
    """Return a message of JSON values for each image, and the arrays that belong to all of them, in order."""
    messages, arrays = [], []
    for image in images:
        columns = [np.ascontiguousarray(getattr(image.regions, name)) for name in COLUMNS]
        columns.append(np.ascontiguousarray(image.is_excluded))
        arrays += columns
        messages.append({
            "image": image.image, "label_names": list(image.regions.label_names),
            "shape": list(image.shape) if image.shape is not None else None, "is_complete": image.is_complete,
            "extra": image.extra, "forms": [[column.dtype.str, list(column.shape)] for column in columns],
        })  # fmt: skip
    return messages, arrays


def unpacked(messages: Sequence[dict[str, Any]], arrays: Sequence[NDArray[np.uint8]]) -> list[ImageRegions]:
    """Read what :func:`packed` wrote.

    Raises
    ------
    ValueError
        Where message and arrays do not fit together.
    """
    per_image = len(COLUMNS) + 1
    images = []
    for number, message in enumerate(messages):
        given = arrays[number * per_image : (number + 1) * per_image]
        *columns, is_excluded = [
            array.view(np.dtype(dtype)).reshape(shape)
            for array, (dtype, shape) in zip(given, message["forms"], strict=True)
        ]
        table = RegionTable(
            case_id=message["image"],
            label_names=tuple(message["label_names"]),
            **dict(zip(COLUMNS, columns, strict=True)),
        )
        shape = tuple(message["shape"]) if message["shape"] is not None else None
        images.append(
            ImageRegions(
                message["image"], table, is_excluded, shape, message["is_complete"], message["extra"]
            )
        )
    return images


def renamed(image: ImageRegions, name: str) -> ImageRegions:
    """Return what is said about an image under another name."""
    return replace(image, image=name, regions=replace(image.regions, case_id=name))
