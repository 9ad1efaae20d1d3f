"""The levels of a TIFF's image, decoded tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.images.refusals import check_shape, reading
from napari_medlab.images.slides.tiff_planes import plane_of
from napari_medlab.images.tiles import tile_box

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.slides.tiff_directories import Directory
    from napari_medlab.images.slides.tiff_planes import Plane

__all__ = ["Stacked", "TiffTiles"]

Stacked = Literal["", "c", "z"]
"""What lies one behind the other in several directories: nothing, channels, or slices."""


class TiffTiles:
    """One level, its channels last; strips are joined to tiles as wide as the image.

    Parameters
    ----------
    directories : sequence of Directory
        One, or one for each channel or slice.
    stacked : {"", "c", "z"}
    level : int
        Its number, for the cache.
    blank_absent : bool
        Whether tiles that were never written are 0; they are an error otherwise.

    Attributes
    ----------
    missing : int
        How many tiles were never written.
    """

    def __init__(
        self, directories: Sequence[Directory], stacked: Stacked, level: int, *, blank_absent: bool = False
    ) -> None:
        first = directories[0]
        self._file = first.file
        self._level, self._blank_absent = level, blank_absent
        size = first.height, first.width
        check_shape(self._file.path, (*size, first.samples, len(directories)))
        self._planes = _planes(directories)
        plane = self._planes[0]
        self.dtype: np.dtype[Any] = plane.coding.dtype
        self._depth = plane.coding.channels
        sides = tuple(min(side, whole) for side, whole in zip(plane.tile, size, strict=True))
        self.shape, self.tile = self._form(size, sides, stacked)
        self.missing = sum(plane.missing for plane in self._planes)

    @property
    def key(self) -> Hashable:
        """What its tiles are called in the cache."""
        return str(self._file.path), self._file.stamp, self._level, self.shape

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one tile (y, x), (y, x, channel) or (z, y, x)."""
        with reading(self._file.path):
            self._file.check()
            sides = tuple(box.stop - box.start for box in tile_box(self, index))
            is_volume = len(self.shape) == 3 and self._stacked_first
            place, size = (index[1:3], sides[1:3]) if is_volume else (index[:2], sides[:2])
            number = index[0] if is_volume else index[2] if len(self._planes) > 1 else 0
            plane = self._planes[number]
            pixels = plane.read(*place, blank=self._blank_absent)[: size[0], : size[1]]
            if pixels.shape != (*size, self._depth):
                raise ValueError(
                    f"tile {index} of level {self._level} decodes to {pixels.shape}, expected {sides}"
                )
            return np.ascontiguousarray(pixels).reshape(sides)

    def _form(
        self, size: tuple[int, ...], sides: tuple[int, ...], stacked: Stacked
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape of the level and of its tiles."""
        count = len(self._planes)
        self._stacked_first = stacked == "z"
        if stacked == "z":
            return (count, *size), (1, *sides)
        if stacked == "c" or count > 1:
            return (*size, count), (*sides, 1)
        return (size, sides) if self._depth == 1 else ((*size, self._depth), (*sides, self._depth))


def _planes(directories: Sequence[Directory]) -> tuple[Plane, ...]:
    """Return the planes of all directories, which must be alike."""
    first = directories[0]
    apart = first.samples if first.whole(284, 1) == 2 else 1
    planes = tuple(plane_of(directory, number) for directory in directories for number in range(apart))
    for directory in directories:
        if (directory.height, directory.width) != (first.height, first.width):
            raise ValueError("the planes of a level differ in size")
    form = {(plane.coding.dtype, plane.coding.channels, plane.tile) for plane in planes}
    if len(form) > 1:
        raise ValueError(f"the planes of a level differ in type or tile: {form}")
    return planes
