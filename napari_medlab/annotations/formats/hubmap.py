"""The masks of "HuBMAP: Hacking the Kidney": a table of run lengths, or polygons as JSON.

Source: the competition's data page at kaggle.com (2020 and, with the column ``rle``, 2022).

**The table** (``id,encoding``; submissions ``id,predicted``) has one line for each image. Its run lengths are pairs of a
first pixel and a length, where pixel **1** is the image's first and pixels go down the **columns**: pixel
``1 + x * height + y``. An empty cell means that there is nothing. The file says no image's size, so that sizes are needed
to read it. All objects of an image share one mask: reading takes pixels as one outline that share a side, so that objects
that touch come back as one, and vertices as :func:`~napari_medlab.geometry.mask_to_rings` puts them. The mask is exactly
the same again. Overlapping outlines are united; labels, ids and scores are lost.

**The polygons** (``<id>.json``) are QuPath's GeoJSON of its time, a list of features, and are read and written as
:mod:`~napari_medlab.annotations.formats.geojson` tells: vertices, classes and colours come back exactly.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats import coco_rle, geojson
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning, read_text, write_new
from napari_medlab.annotations.formats.json_files import write_json
from napari_medlab.annotations.formats.labels import checked_name, shown
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions, outlines_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["LABEL", "read", "sniff", "write", "write_polygons"]

LABEL = "glomerulus"
COLUMNS = ("encoding", "predicted", "rle")
HEADER = re.compile(rb'"?id"?,(?:[^\n]*,)?"?(encoding|predicted|rle)"?\s*[,\r\n]')
PAIRS = re.compile(r"(?:\d{1,15} +\d{1,15}(?: +|$))*", re.ASCII)
HINT = "Check the run lengths (pairs of a first pixel and a length, from 1 on, down the columns) and the image's size."


def sniff(path: str | Path) -> bool:
    """Tell by its first line whether a file is such a table; the polygons are GeoJSON."""
    return HEADER.match(beginning(Path(path), 4096)) is not None


def read(path: str | Path, shapes: Mapping[str, tuple[int, int]], label: str = LABEL) -> list[ImageRegions]:
    """Return the outlines of a table of run lengths, or of a file of polygons, which is named after its image.

    Parameters
    ----------
    path : path
    shapes : mapping of str to (height, width)
        The images' sizes by id, or by file name with any ending.
    label : str
        Of all outlines of a table.

    Raises
    ------
    InputRefusedError
        With code ``"hubmap"`` where run lengths do not fit, or a size is not known; for polygons as
        :func:`~napari_medlab.annotations.formats.geojson.read`.
    """
    path = Path(path)
    if path.suffix.lower() in (".json", ".geojson"):
        return geojson.read(path)
    faults = Faults(path, "hubmap", HINT)
    sizes = {_stem(name): shape for name, shape in shapes.items()} | dict(shapes)
    images: dict[str, ImageRegions] = {}
    for line, key, encoding in _rows(path, faults):
        try:
            name = checked_name(key, "id")
            if name in images:
                raise ValueError(f"the id {shown(name)} is there twice")
            images[name] = _image(name, encoding, _size(name, sizes), label)
        except ValueError as error:
            faults.note(f"line {line}", error)
    faults.refuse()
    return list(images.values())


def write(path: str | Path, images: Sequence[ImageRegions]) -> None:
    """Write a table of run lengths, one line for each image; excluded outlines are left out.

    Raises
    ------
    InputRefusedError
        With code ``"exists"``; with ``"hubmap"`` for images without a size, for two of one name, and for names that hold
        a comma or a quotation mark.
    """
    path = Path(path)
    faults = Faults(path, "hubmap", "Give the images their sizes and names of their own.")
    lines = {}
    for image in images:
        try:
            if image.image in lines or set(image.image) & set(',"\r\n'):
                raise ValueError("the name is there twice, or holds a comma or a quotation mark")
            lines[image.image] = f"{image.image},{_encoded(image)}\n"
        except ValueError as error:
            faults.note(f"image {shown(image.image)}", error)
    faults.refuse()
    write_new(path, ("id,encoding\n" + "".join(lines.values())).encode())


def write_polygons(path: str | Path, image: ImageRegions) -> None:
    """Write the outlines of one image as a list of features; raise as :func:`geojson.write`."""
    path = Path(path)
    write_json(path, geojson.features(path, image))


def _rows(path: Path, faults: Faults) -> Iterator[tuple[int, str, str]]:
    """Yield line, id and run lengths; cells may be in quotation marks."""
    lines = read_text(path, "hubmap").splitlines()
    header = [_bare(cell) for cell in lines[0].split(",")] if lines else []
    column = next((header.index(name) for name in COLUMNS if name in header), 0)
    if "id" not in header or not column:
        raise faults.refused(f"the columns are {shown(','.join(header))}, expected id and encoding", "line 1")
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if not line:
            continue
        if len(cells) != len(header):
            faults.note(f"line {number}", f"{len(cells)} cells, expected {len(header)}")
        else:
            yield number, _bare(cells[header.index("id")]), _bare(cells[column])


def _bare(cell: str) -> str:
    return cell.strip().removeprefix('"').removesuffix('"').strip()


def _stem(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[0]


def _size(name: str, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    size = sizes.get(name, sizes.get(_stem(name)))
    if size is None:
        raise ValueError(f"the size of the image {shown(name)} is not known")
    return size


def _image(name: str, encoding: str, shape: tuple[int, int], label: str) -> ImageRegions:
    parts = coco_rle.parts_of_runs(_runs(encoding, shape), shape[0])
    outlines = [
        Outline(coco_rle.rings_of_runs(part, shape[0]), label, str(number))
        for number, part in enumerate(parts, start=1)
    ]
    return image_regions(name, outlines, shape=shape)


def _runs(encoding: str, shape: tuple[int, int]) -> NDArray[np.int64]:
    if PAIRS.fullmatch(encoding) is None:
        raise ValueError(f"the run lengths are {shown(encoding)}, expected pairs of numbers")
    first, length = np.asarray(encoding.split(), dtype="S15").astype(np.int64).reshape(-1, 2).T
    if (first < 1).any():
        raise ValueError("a run begins at pixel 0, expected 1 or more")
    return coco_rle.checked_runs(np.stack([first - 1, first - 1 + length], axis=1), shape)


def _encoded(image: ImageRegions) -> str:
    if image.shape is None:
        raise ValueError("run lengths need the image's height and width, which are not known")
    shape = (int(image.shape[0]), int(image.shape[1]))
    kept = [coco_rle.runs_of_rings(row.rings, shape) for row in outlines_of(image) if not row.is_excluded]
    runs = coco_rle.union_of_runs(kept)
    return " ".join(map(str, np.stack([runs[:, 0] + 1, runs[:, 1] - runs[:, 0]], axis=1).ravel().tolist()))
