"""Several volumes in one file: which of them is meant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.images.decisions import Decisions

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["chosen_volume"]

MAX_OPTIONS = 200


def chosen_volume(path: Path, sizes: tuple[int, ...], chosen: int | None) -> int | None:
    """Return which volume of a file is meant; None where there is one only.

    Parameters
    ----------
    path : Path
    sizes : (x, y, z, volumes, ...)
        From the fastest axis to the slowest.
    chosen : int or None

    Raises
    ------
    ImageRefusedError
        With code ``four-d`` and an option for each volume, where none of them was chosen.
    """
    count = math.prod(sizes[3:])
    if any(size != 1 for size in sizes[4:]):
        raise ImageRefusedError(
            f"{path.name} has {len(sizes)} dimensions: {' by '.join(map(str, sizes))}.",
            code="unsupported",
            hint="Images with several values a voxel are not read: save one value a voxel.",
        )
    if count == 1:
        return None
    if chosen is not None and 0 <= chosen < count:
        return chosen
    raise ImageRefusedError(
        f"{path.name} holds {count} volumes one after the other: {' by '.join(map(str, sizes))}.",
        code="four-d",
        hint="Choose one of them.",
        options=tuple(
            Option(f"Volume {number + 1} of {count}", Decisions(phase=number).as_json())
            for number in range(min(count, MAX_OPTIONS))
        ),
    )
