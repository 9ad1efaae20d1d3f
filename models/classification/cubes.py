"""Cubes around points of an image, at any spacing and size: what a classifier of candidates looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, resample
from napari_medlab.images import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Stop = Callable[[], None]
    Window = tuple[float, float]

__all__ = ["CubeSource", "PreparedVoxels", "cut_cubes"]


class PreparedVoxels(Protocol):
    """An image as a network sees it, read in blocks: such as :class:`napari_medlab.models.preprocessing.Prepared`."""

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        ...

    @property
    def channels(self) -> int:
        """How many values each voxel has."""
        ...

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        """Return a block, (channel, …)."""
        ...


CubeSource = Image | PreparedVoxels | tuple["NDArray[np.generic]", Grid]
"""A volume, opened; or an image that is prepared; or an array (z, y, x) or (y, x) with its grid."""


def cut_cubes(
    source: CubeSource, centres: ArrayLike, spacing_mm: float, shape: Sequence[int],
    window: Window | None = None, stop: Stop | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """Return cubes (or squares) around points; only the blocks that they cover are read.

    Parameters
    ----------
    source : Image, prepared voxels, or (array, Grid)
        Volumes are turned to (+S, +P, +L) axes first, so that a cube looks the same however its image was stored;
        prepared voxels are taken as they lie.
    centres : array (n, 3), world (x, y, z) in mm, or (n, 2), world (x, y)
    spacing_mm : float
        The distance between neighbours in the cubes, the same along every axis.
    shape : ints, (z, y, x) or (y, x)
        Sizes of the cubes in voxels. A point lies in its cube's middle: on a voxel where the size is odd, between two
        where it is even.
    window : (low, high), optional
        Pixel values that become 0 and 1; what lies beyond them is cut off. Values stay as they are without.
    stop : callable, optional
        Called before each block is read; it raises where the work is no longer wanted.

    Returns
    -------
    float32 array (n, channel, …shape). What lies outside the image is 0, which is the window's low end.

    Raises
    ------
    InputRefusedError
        Where an Image is not a volume, or the window is empty.
    ImageRefusedError
        Where the pixel size is unknown.
    """
    if window is not None and not window[1] > window[0]:
        raise InputRefusedError(f"The window {window[0]} … {window[1]} is empty.", code="window")
    blocks = _blocks_of(source, stop)
    grid = blocks.grid
    points = np.asarray(centres, dtype=np.float64).reshape(-1, grid.ndim)
    cubes = np.zeros((len(points), blocks.channels, *shape), np.float32)
    indices = grid.to_index(points)
    # slice by slice, so that each is decoded once
    for row in np.lexsort(indices.T[::-1]):
        if stop is not None:
            stop()
        cubes[row] = _cut(blocks, indices[row], spacing_mm, shape, window)
    return cubes


def _cut(
    blocks: PreparedVoxels,
    centre: NDArray[np.float64],
    spacing_mm: float,
    shape: Sequence[int],
    window: Window | None,
) -> NDArray[np.float32]:
    """Return one cube, (channel, …shape), around an index; as resampling the whole image would give it."""
    grid, sizes = blocks.grid, np.asarray(shape)
    ratio = spacing_mm / np.asarray(grid.spacing_mm)
    first = centre - (sizes - 1) / 2 * ratio
    affine = np.array(grid.affine)
    affine[: grid.ndim, : grid.ndim] *= ratio
    affine[: grid.ndim, grid.ndim] = grid.to_world(first)
    target = Grid(tuple(shape), affine, grid.unit)
    # as far as the smoothing and the interpolation look beyond the cube
    reach = 2 * np.maximum(ratio, 1)
    start = np.clip(np.floor(first - reach).astype(int), 0, grid.shape)
    end = np.clip(np.ceil(first + (sizes - 1) * ratio + reach).astype(int) + 1, 0, grid.shape)
    if (end <= start).any():
        return np.zeros((blocks.channels, *shape), np.float32)
    voxels = blocks.read(start.tolist(), end.tolist())
    low, high = window or (0.0, 1.0)
    if window is not None:
        voxels = np.clip(voxels, low, high)
    near = grid.cropped(start, voxels.shape[1:])
    return np.stack([(resample(channel, near, target, fill=low) - low) / (high - low) for channel in voxels])


def _blocks_of(source: CubeSource, stop: Stop | None) -> PreparedVoxels:
    if isinstance(source, Image):
        return _ImageBlocks(source, stop)
    if isinstance(source, tuple):
        return _ArrayBlocks(*source)
    return source


class _ImageBlocks:
    channels = 1

    def __init__(self, image: Image, stop: Stop | None) -> None:
        if image.kind != "volume":
            raise InputRefusedError(
                f"{image.path.name} is a {image.kind}; cubes are cut from volumes.", code="wrong-kind",
                hint="Prepare the image with the model's preprocessing first.",
            )  # fmt: skip
        oriented = image.oriented()
        self.grid = oriented.grid
        self._array, self._stop = oriented.arrays[0], stop

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return self._array.read(box, stop=self._stop)[None].astype(np.float32)


class _ArrayBlocks:
    channels = 1

    def __init__(self, array: NDArray[np.generic], grid: Grid) -> None:
        order, flips = grid.canonical_axes()
        self.grid = grid.reordered(order, flips)
        self._array = array.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
        box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        return cast("NDArray[np.float32]", self._array[box][None].astype(np.float32))
