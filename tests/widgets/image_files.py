"""The folders and files that the window is given: exam, series, slides, photos, and what is broken."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from dicom_phantom import Series, encoded, mammogram, write
from PIL import Image as Pictures
from pydicom.uid import JPEGLSLossless, generate_uid

from napari_medlab.phantoms.mammogram import mammogram_exam

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["EXAM_MM", "SLIDE", "exam_pixels", "slide_pixels", "write_all"]

EXAM_MM = 0.1
SLIDE = (4400, 3900)
"""More than 16 million pixels: what is made of them is kept on disk."""


@lru_cache(maxsize=1)
def exam_pixels() -> dict[str, NDArray[np.uint16]]:
    """Return the four views as they are to be seen, of different heights, each with a level below it."""
    cut = {"RCC": 0, "LCC": 160, "RMLO": 80, "LMLO": 0}
    views = mammogram_exam(11).views
    return {v.name: np.repeat(np.repeat(v.pixels, 2, 0), 2, 1)[: 2048 - cut[v.name]].copy() for v in views}


def write_all(root: Path) -> None:
    """Write everything below a folder, one sub-folder for each kind."""
    write_exam(root / "exam")
    for number, count in ((1, 12), (2, 8)):
        ct_series(root / "two series", count, number=number, size=3)
    ct_series(root / "gap", 7, heights=(0, 2, 4, 9, 11, 13, 15))
    write_slides(root / "slides")
    photos = root / "photos"
    photos.mkdir()
    for name, value in (("a", 40), ("b", 90)):
        Pictures.fromarray(np.full((90, 120, 3), value, np.uint8)).save(photos / f"{name}.png")
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:40])
    os.mkfifo(photos / "never written.png")
    (root / "more").mkdir()
    for number in range(40):
        (root / "more" / f"{number}.png").write_bytes((photos / "a.png").read_bytes())
    (root / "empty").mkdir()
    (root / "empty" / "notes.txt").write_text("no image", encoding="utf-8")


def write_exam(folder: Path) -> None:
    folder.mkdir(parents=True)
    study = generate_uid()
    for number, (name, pixels) in enumerate(exam_pixels().items()):
        is_turned, is_inverted = name == "LCC", name == "RMLO"
        stored = np.ascontiguousarray(pixels[:, ::-1]) if is_turned else pixels
        dataset = mammogram(
            4095 - stored if is_inverted else stored, "MONOCHROME1" if is_inverted else "MONOCHROME2"
        )
        if name == "LMLO":
            dataset = encoded(dataset, JPEGLSLossless)
        dataset.ImageLaterality, dataset.ViewPosition = name[0], name[1:]
        dataset.StudyInstanceUID, dataset.PatientID = study, "P1"
        dataset.ImagerPixelSpacing = [EXAM_MM, EXAM_MM]
        outwards = {"R": ["P", "L"], "L": ["A", "R"]}[name[0]]
        dataset.PatientOrientation = ["P", "R"] if is_turned else outwards
        # in an order that is nobody's
        dataset.save_as(folder / f"{(number * 3) % 4}.dcm", enforce_file_format=True)


def ct_series(
    folder: Path, count: int, *, number: int = 1, size: int = 1, heights: tuple[float, ...] = ()
) -> None:
    """Write a CT series, each slice enlarged by ``size``, at heights (mm) of its own where they are given."""
    series = Series(count=count)
    slices = []
    for n in range(count):
        place = np.add(series.origin, (0, 0, heights[n])) if heights else None
        dataset = series.slice(n, place)
        pixels = np.frombuffer(dataset.PixelData, np.uint16).reshape(dataset.Rows, dataset.Columns)
        large = np.repeat(np.repeat(pixels, size, 0), size, 1)
        dataset.Rows, dataset.Columns = large.shape
        dataset.PixelData, dataset.SeriesNumber = large.tobytes(), number
        slices.append(dataset)
    write(folder, slices)


def write_slides(folder: Path) -> None:
    """Write a slide as a program that knows nothing of slides does, one in tiles without levels, and one with a size."""
    folder.mkdir()
    pixels = slide_pixels()
    tifffile.imwrite(folder / "flat.tif", pixels, photometric="rgb")
    tifffile.imwrite(folder / "tiles.tif", pixels, photometric="rgb", tile=(256, 256))
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(
        folder / "sized.ome.tif", pixels[:1500, :1400], photometric="rgb", tile=(256, 256), metadata=size
    )


@lru_cache(maxsize=1)
def slide_pixels() -> NDArray[np.uint8]:
    """Return pixels of which each says where it lies."""
    y, x = np.ogrid[: SLIDE[0], : SLIDE[1]]
    pixels = np.empty((*SLIDE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = y % 251, x % 241, (y // 251 * 16 + x // 241) % 256
    return pixels
