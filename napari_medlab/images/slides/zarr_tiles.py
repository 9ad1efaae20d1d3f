"""One level of an OME-Zarr, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.refusals import reading
from napari_medlab.images.slides.absent import never_written
from napari_medlab.images.stamps import stamp_of
from napari_medlab.images.tiles import tile_box

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from napari_medlab.images.slides.zarr_arrays import ZarrArray

__all__ = ["ZarrTiles"]


class ZarrTiles:
    """An array with its axes in our order, those that are not shown fixed.

    Parameters
    ----------
    array : ZarrArray
    kept : tuple of int
        Axis ``n`` of the result is axis ``kept[n]`` of the array.
    fixed : dict of int
        The index along each of the other axes.
    blank_absent : bool
        Whether chunks that were never written hold the array's fill value; they are an error otherwise.
    """

    def __init__(
        self, array: ZarrArray, kept: tuple[int, ...], fixed: dict[int, int], *, blank_absent: bool = False
    ) -> None:
        self.shape = tuple(array.shape[axis] for axis in kept)
        self.tile = tuple(min(array.chunk[axis], array.shape[axis]) for axis in kept)
        self.dtype: np.dtype[Any] = array.dtype.newbyteorder("=")
        self._array, self._kept, self._fixed = array, kept, fixed
        self._blank_absent = blank_absent
        self._stamp = stamp_of(array.folder)

    @property
    def key(self) -> Hashable:
        """What its tiles are called in the cache."""
        return str(self._array.folder), self._stamp, tuple(self._fixed.items())

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one tile, (y, x[, channel]) or (z, y, x)."""
        array = self._array
        number = dict(zip(self._kept, index, strict=True))
        number |= {axis: at // array.chunk[axis] for axis, at in self._fixed.items()}
        box = tile_box(self, index)
        with reading(array.root):
            chunk = array.read(tuple(number[axis] for axis in range(len(array.shape))))
            if chunk is None and not self._blank_absent:
                raise never_written(array.root, f"chunk {tuple(number.values())} of {array.folder.name}")
            if chunk is None:
                fill = array.fill if self.dtype.kind == "f" or np.isfinite(array.fill) else 0
                return np.full([side.stop - side.start for side in box], fill, self.dtype)
        place: list[int | slice] = [slice(None)] * len(array.shape)
        for axis, at in self._fixed.items():
            place[axis] = at % array.chunk[axis]
        # dropping the fixed axes leaves the kept ones in the order of the array
        order = np.argsort(np.argsort(self._kept))
        turned = chunk[tuple(place)].transpose(order)
        return np.ascontiguousarray(turned[tuple(slice(side.stop - side.start) for side in box)])
