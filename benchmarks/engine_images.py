"""The volume and the slides of the engine's benchmark: made of phantoms, or of a patient's CT where there is one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.tiles import halved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["chest", "write_section"]

TILE, LEVELS, SIDE = 512, 6, 2048
"""The side of a section's repeated part is a multiple of a tile's on each level down to an eighth."""
MPP = 0.5


def chest(shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return a patient's chest CT where ``MEDLAB_TEST_DATA`` names a folder of samples, and else that of a phantom."""
    data = os.environ.get("MEDLAB_TEST_DATA")
    return _large_chest(shape) if data is None else _real_chest(Path(data), shape)


def _large_chest(shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return a chest phantom, made larger by interpolation, with a scanner's noise, int16 (z, y, x)."""
    from scipy import ndimage

    from napari_medlab.phantoms.chest_ct import chest_phantom

    small = chest_phantom(7, "benchmark").volume
    factors = (np.asarray(shape) + 0.5) / small.shape
    large = ndimage.zoom(small.astype(np.float32), factors, order=1)[tuple(map(slice, shape))]
    large += np.random.default_rng(7).normal(0, 20, large.shape).astype(np.float32)
    return np.asarray(np.clip(large, -1024, 3071).astype(np.int16))


def _real_chest(data: Path, shape: tuple[int, ...]) -> NDArray[np.int16]:
    """Return the chest CT of a folder of samples, brought to a shape by interpolation, int16 (z, y, x), head upwards."""
    import tarfile
    import tempfile

    from scipy import ndimage

    from napari_medlab.images import open_here

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(next((data / "ct_lung").glob("*.tar.xz"))) as archive:
            archive.extractall(folder, filter="data")
        volume = open_here(Path(folder)).oriented().decoded()
    factors = (np.asarray(shape) + 0.5) / volume.shape
    return np.asarray(ndimage.zoom(volume, factors, order=1)[tuple(map(slice, shape))], np.int16)


def write_section(path: Path, side: int) -> None:
    """Write a square slide, a tiled pyramid in JPEG: part of a kidney's section again and again, glass all around."""
    import tifffile

    from napari_medlab.phantoms.slide import slide_phantom

    part = slide_phantom(3, shape=(SIDE, SIDE)).pixels
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for level in range(LEVELS):
            length = -(-side // 2**level)
            file.write(
                _tiles(part, length, level), shape=(length, length, 3), dtype=np.uint8, tile=(TILE, TILE),
                photometric="rgb", compression="jpeg", compressionargs={"level": 85}, metadata=None,
                subfiletype=int(level > 0), resolution=(1e4 / MPP / 2**level,) * 2, resolutionunit="CENTIMETER",
            )  # fmt: skip
            part = halved(part)


def _tiles(part: NDArray[Any], length: int, level: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the tiles of one level row by row: tissue within an ellipse that fills most of the slide."""
    rng = np.random.default_rng(level)
    for top in range(0, length, TILE):
        for left in range(0, length, TILE):
            y, x = np.arange(top, top + TILE), np.arange(left, left + TILE)
            tile = part[np.ix_(y % len(part), x % len(part))]
            around = ((y[:, None] + 0.5) / length - 0.5) ** 2 / 0.42**2 + (
                (x + 0.5) / length - 0.5
            ) ** 2 / 0.36**2
            if around.max() > 1:
                glass = rng.integers(242, 247, tile.shape, dtype=np.uint8)
                tile = np.where((around > 1)[..., None], glass, tile)
            yield np.ascontiguousarray(tile)
