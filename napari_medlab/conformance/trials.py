"""Images on which models are tried: small, with known truth, and the same image once more in another place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Finding
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.tiles import MemoryTiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.images.image import Kind

__all__ = ["CASE", "CountingTiles", "Trial", "usual_trial"]

CASE = "trial"
"""The case id of every trial."""

SEED = 11
SLIDE_SIDE, MAMMOGRAM = 1024, (1024, 832)


@dataclass(frozen=True)
class Trial:
    """An image and what is known to be on it.

    Parameters
    ----------
    image : Image
        In memory.
    findings : tuple of Finding
        In the world of the image.
    """

    image: Image
    findings: tuple[Finding, ...]

    @classmethod
    def of_array(
        cls, array: NDArray[Any], spacing: Sequence[float], centres: ArrayLike, *, size: float, kind: Kind = "volume"
    ) -> Trial:  # fmt: skip
        """Return the trial of an array with objects of one size.

        Parameters
        ----------
        array : (z, y, x), (y, x) or (y, x, channel)
        spacing : in array order, millimetres
        centres : (n, 3) or (n, 2), voxel indices in array order
        size : diameter, millimetres
        kind : {"volume", "slide", "mammogram", "photo"}
        """
        dims = 3 if kind == "volume" else 2
        grid = Grid.axis_aligned(array.shape[:dims], spacing)
        world = grid.to_world(np.asarray(centres, np.float64).reshape(-1, dims))
        image = Image.of_arrays([array], grid, kind=kind, is_rgb=array.ndim == dims + 1)
        return cls(image, tuple(Finding(CASE, tuple(centre), size) for centre in world.tolist()))

    def moved(self, offset: Sequence[float]) -> Trial:
        """Return the same with its origin moved in the world by (x, y[, z])."""
        grid, by = self.image.grid, np.asarray(offset, np.float64)
        affine = np.array(grid.affine)
        affine[: grid.ndim, grid.ndim] += by
        findings = tuple(replace(one, centre=tuple((one.centre + by).tolist())) for one in self.findings)
        return Trial(replace(self.image, grid=Grid(grid.shape, affine, grid.unit)), findings)

    def turned(self) -> Trial:
        """Return the same volume stored in another order, its first two axes swapped and reversed: nothing moves in the world."""
        order, flips = (1, 0, 2), (-1, -1, 1)
        pixels = self.image.decoded().transpose(order)[::-1, ::-1]
        image = self.image
        return Trial(
            replace(image, sources=(MemoryTiles(np.ascontiguousarray(pixels)),), grid=image.grid.reordered(order, flips)),
            self.findings,
        )  # fmt: skip

    def with_pixels(self, pixels: NDArray[Any]) -> Trial:
        """Return the beginning of the same image filled with other pixels, and nothing known on it."""
        grid = self.image.grid
        grid = grid.cropped([0] * grid.ndim, pixels.shape[: grid.ndim])
        return Trial(replace(self.image, sources=(MemoryTiles(pixels),), grid=grid), ())

    def empty(self) -> Trial:
        """Return an image of the same size that is all of its lowest value."""
        return self.with_pixels(np.full_like(self.image.decoded(), self.image.decoded().min()))

    def tiny(self) -> Trial:
        """Return a corner of it, a few voxels wide: smaller than anybody's tile."""
        sides = (3, 5, 7)[-self.image.grid.ndim :]
        return self.with_pixels(self.image.decoded()[tuple(slice(side) for side in sides)].copy())

    def of_kind(self, kind: Kind) -> Trial:
        """Return an image of another kind, with nothing known on it."""
        flat = kind != "volume"
        pixels = np.zeros((64, 64) if flat else (16, 64, 64), np.uint8)
        grid = Grid.axis_aligned(pixels.shape, [0.5] * pixels.ndim, unit="um" if kind == "slide" else "mm")
        return Trial(Image.of_arrays([pixels], grid, kind=kind), ())


class CountingTiles:
    """An array that takes note of which of its tiles were read; fulfils :class:`napari_medlab.images.tiles.TileSource`."""

    key = None

    def __init__(self, pixels: NDArray[Any], side: int) -> None:
        self._pixels = pixels
        self.shape: tuple[int, ...] = pixels.shape
        self.dtype: np.dtype[Any] = pixels.dtype
        self.tile = (side, side, *pixels.shape[2:])
        self.read: set[tuple[int, ...]] = set()

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return int(np.prod([-(-size // side) for size, side in zip(self.shape, self.tile, strict=True)]))

    def read_tile(self, index: Sequence[int]) -> NDArray[Any]:
        """Return a tile."""
        self.read.add(tuple(index))
        box = (slice(n * side, (n + 1) * side) for n, side in zip(index, self.tile, strict=True))
        tile: NDArray[Any] = self._pixels[tuple(box)]
        return tile


def usual_trial(kind: Kind) -> Trial:
    """Return a phantom of a kind of image: a chest CT with nodules, a slide or photo with glomeruli, a mammogram with masses."""
    if kind == "volume":
        return _chest()
    if kind == "mammogram":
        return _mammogram()
    from napari_medlab.phantoms.slide import slide_phantom

    slide = slide_phantom(SEED, CASE, shape=(SLIDE_SIDE, SLIDE_SIDE))
    image = Image.of_arrays([slide.pixels], slide.grid, kind=kind, is_rgb=True)
    return Trial(image, tuple(slide.findings))


def _chest() -> Trial:
    from napari_medlab.phantoms.chest_ct import Site, chest_phantom

    for seed in range(SEED, SEED + 50):
        phantom = chest_phantom(seed, CASE, Site(shape=(32, 80, 88), subsolid=0.0))
        if len(phantom.findings) > 1:
            break
    image = Image.of_arrays([phantom.volume], phantom.grid, modality="CT")
    return Trial(image, phantom.findings)


def _mammogram() -> Trial:
    from napari_medlab.phantoms.mammogram import mammogram_exam

    for seed in range(SEED, SEED + 50):
        views = mammogram_exam(seed, CASE, shape=MAMMOGRAM).views
        view = max(views, key=lambda each: len(each.findings))
        if view.findings:
            break
    image = Image.of_arrays([view.pixels], view.grid, kind="mammogram", modality="MG")
    return Trial(image, tuple(replace(one, case_id=CASE) for one in view.findings))
