"""YOLO: a folder with a text file for each image, in which every line is a box or a polygon.

Source: "Detection / Segmentation datasets" at docs.ultralytics.com. ``labels/NAME.txt`` belongs to the image ``NAME.*``;
the names of the classes stand in ``data.yaml`` (``names``, a list or a mapping) or in ``classes.txt``, one on each line.

**Counting.** A line is ``class x_centre y_centre width height`` or ``class x1 y1 x2 y2 x3 y3 …``, each with a score behind
it where it is a prediction: five or six words are a box, and of more an even number ends with a score. All numbers are
fractions of the image's width or height from its **upper left corner**, so that sizes are needed to read them. Half a
pixel is taken off when reading and put on when writing.

**Exactness.** Numbers are written with all their digits and rounded to 2⁻²⁴ of a pixel when read, so that every vertex
that is a multiple of it comes back exactly. A line has one ring: further parts and holes are joined to the first ring by
bridges without width (the mask is the same by the even-odd rule, by which trainers fill), and parted again when read.
What lies outside of the image is moved to its border, because trainers refuse such files.

**Lost**: ids (an outline is numbered by its line), owners, and excluded outlines, which are not written.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning, read_text
from napari_medlab.annotations.formats.labels import checked_name, checked_text, shown
from napari_medlab.annotations.formats.outline_rows import (
    Outline,
    box_ring,
    check_ring,
    image_regions,
    outlines_of,
)
from napari_medlab.annotations.formats.plain_numbers import finite_numbers, whole_number
from napari_medlab.annotations.formats.ring_parts import bridged, without_bridges
from napari_medlab.durable import make_folder, new_folder, write_file
from napari_medlab.geometry import centres_to_corners, corners_to_centres
from napari_medlab.safe_paths import safe_join

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["class_names", "read", "sniff", "write"]

LINE = re.compile(rb"\s*\d+([ \t]+[-+.\deE]+){4,}[ \t]*(\r?\n|$)")
CLASS_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "labels/classes.txt")
MOST_LABEL_BYTES = 1 << 28
MOST_CLASS_BYTES = 1 << 20
MOST_FILES = 2_000_000
SNIFFED_FILES = 5000
SNIFFED_LABELS = 64
FINEST = 2.0**24
"""Vertices are read as multiples of one part of this of a pixel."""
NOTHING_HELD_OUT = "All images are in one folder: hold some out before a figure on val says anything."
HINT = "Expected lines such as '0 0.5 0.5 0.2 0.1' or '0 0.1 0.1 0.2 0.1 0.2 0.3', in fractions of the image's sides."


def sniff(path: str | Path) -> bool:
    """Tell whether a folder (or a single text file) has labels in it, by the first files in it."""
    path = Path(path)
    try:
        if not path.is_dir():
            return path.suffix.lower() == ".txt" and LINE.match(beginning(path, 4096)) is not None
        found = _label_files(path, most=SNIFFED_FILES)
        if found and (path / "data.yaml").is_file():
            return True
        return any(LINE.match(beginning(file, 4096)) for file in found[:SNIFFED_LABELS])
    except OSError:
        return False


def class_names(folder: str | Path) -> list[str]:
    """Return the names of a folder's classes, in order.

    Raises
    ------
    InputRefusedError
        With code ``"yolo"`` where no file names them, or names are missing, the same, or no printable text.
    """
    folder = Path(folder)
    for relative in CLASS_FILES:
        path = folder / relative
        if path.is_file():
            return _names_of(path)
    raise Faults(folder, "yolo", "Hand in the names of the classes, in order.").refused(
        f"none of {', '.join(CLASS_FILES)} is there to name the classes"
    )


def read(
    folder: str | Path, shapes: Mapping[str, tuple[int, int]], names: Sequence[str] | None = None
) -> list[ImageRegions]:
    """Return the outlines of a folder's label files, image by image in the order of their names.

    Parameters
    ----------
    folder : path
        With label files in it or in folders below; folders that are links are not entered.
    shapes : mapping of str to (height, width)
        The images' sizes by file name. A label file belongs to the image of its name, folders between included where
        several images have it.
    names : sequence of str, optional
        The classes in order; from :func:`class_names` where they are left out.

    Returns
    -------
    list of ImageRegions
        One for each label file, an empty one included: the image was looked at.

    Raises
    ------
    InputRefusedError
        With code ``"yolo"`` and up to ten faulty lines, for a file without an image, and where there is no label file.
    """
    folder = Path(folder)
    faults = Faults(folder, "yolo", HINT)
    labels = [checked_text(name) for name in (class_names(folder) if names is None else names)]
    by_name = _ImageNames(shapes)
    images: dict[str, ImageRegions] = {}
    for path in sorted(_label_files(folder)):
        place = path.relative_to(folder).as_posix()
        try:
            image = by_name.of(PurePosixPath(place))
            if image in images:
                raise ValueError(f"the image {shown(image)} has labels twice")
        except ValueError as error:
            faults.note(place, error)
        else:
            images[image] = _read_file(path, place, image, shapes[image], labels, faults)
    if not images:
        faults.note("", "there is no label file")
    faults.refuse()
    return list(images.values())


def write(
    folder: str | Path, images: Sequence[ImageRegions], kind: Literal["segment", "detect"] = "segment"
) -> None:
    """Write a new folder with ``data.yaml``, ``classes.txt`` and ``labels/``; the images belong into ``images/``.

    Parameters
    ----------
    folder : path
    images : sequence of ImageRegions
        With their shapes. Where outlines have scores, these are written behind them.
    kind : {"segment", "detect"}
        Polygons, or their boxes.

    Raises
    ------
    InputRefusedError
        With code ``"exists"``; with ``"yolo"`` where an image has no size, no name that a file has on every system, or
        shares its label file.
    """
    folder = Path(folder)
    faults = Faults(
        folder, "yolo", "Give the images their sizes and names of their own, and mend the outlines."
    )
    names = sorted({row.label for image in images for row in outlines_of(image)})
    numbers = {name: position for position, name in enumerate(names)}
    files: dict[str, str] = {}
    for image in images:
        try:
            place = PurePosixPath(checked_name(image.image)).with_suffix(".txt").as_posix()
            safe_join(folder, place)
            if place.lower() in map(str.lower, files):
                raise ValueError(f"its label file {place} would be another image's too")
            files[place] = _text(image, numbers, kind)
        except ValueError as error:
            faults.note(f"image {shown(image.image)}", error)
    faults.refuse()
    with new_folder(folder) as partial:
        make_folder(partial / "labels")
        for place, text in files.items():
            make_folder((partial / "labels" / place).parent)
            write_file(partial / "labels" / place, text.encode())
        write_file(partial / "classes.txt", "".join(f"{name}\n" for name in names).encode())
        write_file(partial / "data.yaml", _yaml(names).encode())


class _ImageNames:
    """Finds the image that a label file belongs to."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._by_stem: dict[str, list[PurePosixPath]] = {}
        self._names = {}
        for name in names:
            path = PurePosixPath(name.replace("\\", "/"))
            self._names[path] = name
            self._by_stem.setdefault(path.stem, []).append(path)

    def of(self, place: PurePosixPath) -> str:
        """Return the image of a label file; raise ValueError where there is none, or more than one."""
        found = self._by_stem.get(place.stem, [])
        if len(found) > 1:
            likeness = [_likeness(path.parent, place.parent) for path in found]
            found = [path for path, each in zip(found, likeness, strict=True) if each == max(likeness)]
        if len(found) != 1:
            raise ValueError(
                f"{len(found) or 'no'} images are called {shown(place.stem)}, expected one with its size"
            )
        return self._names[found[0]]


def _likeness(first: PurePosixPath, second: PurePosixPath) -> tuple[bool, int]:
    """Tell whether two folders are the same but for ``images`` and ``labels``, and in how many parts their ends agree."""
    one, other = (
        [part for part in path.parts if part not in ("images", "labels")] for path in (first, second)
    )
    ends = [a == b for a, b in zip(reversed(one), reversed(other), strict=False)]
    return one == other, (ends.index(False) if False in ends else len(ends))


def _label_files(folder: Path, most: int = MOST_FILES) -> list[Path]:
    """Return the text files in a folder that may be labels: those in folders called labels, where there are any.

    The walk ends where more than ``most`` files of any kind were seen.
    """
    found: list[Path] = []
    seen = 0
    for place, _, files in os.walk(folder):
        found += [
            Path(place, name) for name in files if name.lower().endswith(".txt") and name != "classes.txt"
        ]
        seen += len(files)
        if seen > most:
            break
    return [path for path in found if "labels" in path.relative_to(folder).parts[:-1]] or found


def _read_file(
    path: Path, place: str, image: str, shape: tuple[int, int], labels: Sequence[str], faults: Faults
) -> ImageRegions:
    outlines = []
    for number, line in enumerate(read_text(path, "yolo", MOST_LABEL_BYTES).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            label = labels[_class(words[0], len(labels))]
            rings, score = _shape_of(words[1:], shape)
            outlines.append(Outline(rings, label, str(number), score))
        except ValueError as error:
            faults.note(f"{place} line {number}", error)
    return image_regions(image, outlines, shape=shape)


def _class(word: str, count: int) -> int:
    return whole_number(word, "the class", most=count - 1)


def _shape_of(words: Sequence[str], shape: tuple[int, int]) -> tuple[list[NDArray[np.float64]], float]:
    """Return the rings of a line, and its score, nan where there is none."""
    if len(words) < 4:
        raise ValueError(f"{len(words)} numbers behind the class, expected 4 or more")
    is_scored = len(words) % 2 == 1
    score = float(finite_numbers(words[-1:], "the score")[0]) if is_scored else math.nan
    values = finite_numbers(words[:-1] if is_scored else words, "the line", most=2)
    height, width = shape
    if len(values) > 4:
        ring = _indices(values.reshape(-1, 2)[:, ::-1] * (height, width))
        return without_bridges(check_ring(ring)), score
    x, y, box_width, box_height = values
    if box_width < 0 or box_height < 0:
        raise ValueError("the box is of negative size")
    sides = np.asarray([[y - box_height / 2, x - box_width / 2], [y + box_height / 2, x + box_width / 2]])
    (top, left), (bottom, right) = _indices(sides * (height, width))
    return [box_ring(left, top, right, bottom)], score


def _indices(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    return corners_to_centres(np.round(corners * FINEST) / FINEST)


def _text(image: ImageRegions, numbers: Mapping[str, int], kind: Literal["segment", "detect"]) -> str:
    if image.shape is None:
        raise ValueError("fractions need the image's height and width, which are not known")
    lines = []
    for outline in outlines_of(image):
        if outline.is_excluded:
            continue
        for ring in outline.rings:
            check_ring(ring)
        if not outline.rings:
            raise ValueError(f"the outline {outline.region_id!r} has no points")
        corners = np.clip(centres_to_corners(bridged(outline.rings)), 0, image.shape) / image.shape
        values = corners[:, ::-1].ravel() if kind == "segment" else _box(corners)
        words = [str(numbers[outline.label]), *map(repr, values.tolist())]
        if math.isfinite(outline.score):
            words.append(repr(outline.score))
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def _box(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    (top, left), (bottom, right) = corners.min(axis=0), corners.max(axis=0)
    return np.asarray([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def _names_of(path: Path) -> list[str]:
    faults = Faults(path, "yolo", "Expected the names of the classes, in order.")
    text = read_text(path, "yolo", MOST_CLASS_BYTES)
    lines: list[object] = [line for line in text.splitlines() if line.strip()]
    given = lines if path.suffix == ".txt" else _names_in_yaml(text, faults)
    names = []
    for position, name in enumerate(given):
        try:
            names.append(checked_text(name))
        except ValueError as error:
            faults.note(f"class {position}", error)
    if len(set(names)) < len(names):
        faults.note("", "two classes have the same name")
    faults.refuse()
    return names


def _names_in_yaml(text: str, faults: Faults) -> list[object]:
    """Return the classes of a data.yaml: a list, or a mapping from 0 on."""
    import yaml

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise faults.refused(f"it is no YAML: {str(error).splitlines()[0]}") from error
    given = value.get("names") if isinstance(value, dict) else None
    if isinstance(given, dict) and set(given) == set(range(len(given))):
        return [given[position] for position in range(len(given))]
    if isinstance(given, list):
        return given
    raise faults.refused(f"names is {shown(given)}, expected a list, or a mapping with the numbers from 0 on")


def _yaml(names: Sequence[str]) -> str:
    lines = [f"  {position}: {json.dumps(name)}\n" for position, name in enumerate(names)]
    return f"# {NOTHING_HELD_OUT}\npath: .\ntrain: images\nval: images\nnames:" + (
        "\n" + "".join(lines) if lines else " {}\n"
    )
