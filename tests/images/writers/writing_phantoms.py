"""Images to write, in memory or made plane by plane while somebody counts."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.tiles import MemoryTiles, PlaneTiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from napari_medlab.geometry.frames import Unit
    from napari_medlab.images.tiles import TileSource

PLAIN_TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def image_from(sources: tuple[TileSource, ...], grid: Grid, **rest: Any) -> Image:  # noqa: ANN401 - fields
    """Return an image; the one place where the tests build one."""
    kind = rest.pop("kind", "volume" if grid.ndim == 3 else "slide")
    return Image(path=Path("source"), kind=kind, modality="", sources=sources, grid=grid, **rest)


def image_of(*levels: NDArray[Any], grid: Grid, **rest: Any) -> Image:  # noqa: ANN401 - fields
    """Return an image of levels in memory."""
    return image_from(tuple(MemoryTiles(level) for level in levels), grid, **rest)


def planar(
    pixels: NDArray[Any],
    spacing: tuple[float, float] = (0.25, 0.5),
    unit: Unit = "um",
    **rest: Any,  # noqa: ANN401 - fields
) -> Image:
    """Return a planar image of pixels in memory."""
    return image_of(pixels, grid=Grid.axis_aligned(pixels.shape[:2], spacing, unit=unit), **rest)


def volume(pixels: NDArray[Any], affine: NDArray[np.float64] | None = None, **rest: Any) -> Image:  # noqa: ANN401 - fields
    """Return a volume of pixels in memory; slanted where no affine is given."""
    return image_of(pixels, grid=Grid(pixels.shape, slanted() if affine is None else affine), **rest)


def stack(shape: tuple[int, int, int], read: Callable[[int], NDArray[Any]], dtype: str = "int16") -> Image:
    """Return a volume whose planes are made when they are asked for."""
    return image_from((PlaneTiles(shape, dtype, read),), Grid(shape, slanted()))


def speckle(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[Any]:
    """Return pixels that use all the bits of their type."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(0, 1e4, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)


def slanted() -> NDArray[np.float64]:
    """Return an oblique matrix, index (z, y, x, 1) to LPS mm."""
    return affine_of((0.9, 0.1, -0.2, 0.3), (2.5, 0.8, 0.7), (-90.0, -120.0, 300.0))


def affine_of(
    quaternion: tuple[float, ...],
    spacing: tuple[float, ...],
    origin: tuple[float, ...],
    order: tuple[int, ...] = (0, 1, 2),
    flips: tuple[int, ...] = (1, 1, 1),
) -> NDArray[np.float64]:
    """Return the matrix of a rotation, after its axes were put in another order and some turned round."""
    a, b, c, d = np.asarray(quaternion) / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation[:, list(order)] * flips * spacing
    affine[:3, 3] = origin
    return affine


part = st.floats(-1, 1, allow_subnormal=False)
affines = st.builds(
    affine_of,
    st.tuples(part, part, part, part).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.tuples(*[st.floats(0.05, 8)] * 3),
    st.tuples(*[st.floats(-900, 900)] * 3),
    st.permutations((0, 1, 2)).map(tuple),
    st.tuples(*[st.sampled_from((1, -1))] * 3),
)


class LivePlanes:
    """Makes planes and counts how many of them were alive at once.

    Parameters
    ----------
    shape : (y, x)
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape, self.asked, self.alive, self.most = shape, list[int](), 0, 0

    def read(self, number: int) -> NDArray[Any]:
        """Return plane ``number``."""
        plane = np.full(self.shape, number, np.int16)
        self.asked.append(number)
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(plane, self._died)
        return plane

    def _died(self) -> None:
        self.alive -= 1


class MadeTiles:
    """A planar level whose tiles are made when they are asked for; one of them may fail.

    Parameters
    ----------
    shape : (y, x)
    fails : tuple of int, optional
        The tile that cannot be read.
    """

    key = None
    dtype = np.dtype(np.uint8)

    def __init__(self, shape: tuple[int, int], fails: tuple[int, int] | None = None) -> None:
        self.shape, self.tile, self._fails = shape, (256, 256), fails

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a tile in one shade."""
        if index == self._fails:
            raise ValueError("this tile is broken")
        sides = (min(256, size - 256 * at) for size, at in zip(self.shape, index, strict=True))
        return np.full(tuple(sides), (7 * index[0] + index[1]) % 256, np.uint8)
