"""Label maps as files: opened like any image, laid on the lattice of the case that they are about, and written."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.annotations.formats.json_files import as_object, read_json
from napari_medlab.annotations.formats.json_files import number as in_bounds
from napari_medlab.annotations.formats.label_map import regions_of_labels
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.naming import stems_of
from napari_medlab.exchange.picture_masks import is_picture, look_like_masks, read_picture
from napari_medlab.exchange.placing import grid_of
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.project import CaseRecord

__all__ = [
    "TABLE", "aligned", "is_picture", "look_like_masks", "number_table", "read_label_map", "read_numbers", "sniff",
    "write_label_image",
]  # fmt: skip

TABLE = "labels.json"
"""What the numbers of the maps in a folder mean, by case: beside the maps, or one folder further up."""
ENDINGS = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
OFF_LATTICE = 0.1
"""How far, in voxels, a corner of the map may lie from that of the image."""
LONGEST_NUMBER = 9


def sniff(path: str | Path) -> bool:
    """Tell by its name whether a file may be a label map."""
    return Path(path).name.lower().endswith(ENDINGS)


def read_label_map(path: Path, case: CaseRecord) -> ImageRegions:
    """Return the objects of a label map as outlines on the image of a case.

    Where a table ``labels.json`` names the numbers of the case's map, each is an object; otherwise each connected part of
    a number is one, of the class ``"label 1"`` and so on. A picture that holds nothing but 0 and its type's greatest value
    is a mask of one class, ``"label 1"``.

    Parameters
    ----------
    path : Path
    case : CaseRecord

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.images.open_image` and
        :func:`napari_medlab.annotations.formats.label_map.regions_of_labels`; ``grid`` where the map does not lie on the
        voxels of the case's image; for a picture as :func:`napari_medlab.exchange.picture_masks.read_picture`.
    """
    table = _table_of(path)
    if table is None:
        return read_numbers(path, case, None, split=True)
    read = read_numbers(path, case, {number: one.label for number, one in table.items()}, split=False)
    rows = [table[read.extra["values"][region_id.decode()]] for region_id in read.regions.ids.tolist()]
    scored = replace(read.regions, scores=np.asarray([row.score for row in rows], dtype=np.float64))
    return replace(
        read, regions=scored, is_excluded=np.asarray([row.is_excluded for row in rows], dtype=np.bool_)
    )


def read_numbers(path: Path, case: CaseRecord, names: dict[int, str] | None, *, split: bool) -> ImageRegions:
    """Return the objects of a label map whose numbers have these names; ``split`` is for maps of classes.

    Raises
    ------
    InputRefusedError
        As :func:`read_label_map`.
    """
    from napari_medlab.images import open_image

    wanted = grid_of(case)
    if wanted.ndim == 2 and is_picture(path):
        labels = read_picture(path, wanted.shape)
        if names is None:
            labels = _without_white(labels)
    else:
        image = open_image(path)
        labels = aligned(image.decoded(), image.grid, wanted, path.name)
    return regions_of_labels(path.name, labels, names, split=split)


def aligned(labels: NDArray[Any], grid: Grid, wanted: Grid, name: str) -> NDArray[Any]:
    """Return a map in the order of the voxels of another lattice, which must have the same voxels.

    A map of one slice is one of a planar image.

    Raises
    ------
    InputRefusedError
        ``grid`` where the two do not have the same voxels.
    """
    if wanted.ndim == 2:
        plane = labels[0] if labels.ndim == 3 and len(labels) == 1 else labels
        if plane.shape != wanted.shape:
            raise _elsewhere(name, plane.shape, wanted.shape)
        return plane
    if grid.ndim != 3:
        raise _elsewhere(name, labels.shape, wanted.shape)
    turned, ours = grid.reordered(*grid.canonical_axes()), wanted.reordered(*wanted.canonical_axes())
    if turned.shape != ours.shape:
        raise _elsewhere(name, turned.shape, ours.shape)
    corners = np.stack(
        [np.zeros(3), np.asarray(ours.shape) - 1.0, *(np.eye(3) * (np.asarray(ours.shape) - 1))]
    )
    off = float(np.abs(ours.to_index(turned.to_world(corners)) - corners).max())
    if off > OFF_LATTICE:
        raise InputRefusedError(
            f"{name}: the corners of the map lie up to {off:.3g} voxels beside those of the case's image.",
            code="grid",
            hint="Use the map that was made on this image, without resampling it.",
        )
    order, flips = grid.canonical_axes()
    canonical = labels.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    back, turns = wanted.canonical_axes()
    flipped: NDArray[Any] = canonical[tuple(slice(None, None, turn) for turn in turns)]
    return flipped.transpose(np.argsort(back).tolist())


def write_label_image(labels: NDArray[Any], grid: Grid, path: Path) -> None:
    """Write a label map as a new image file, of the format that its name asks for, on a lattice.

    One of a planar image states no size of its pixels: formats of volumes have no words for micrometres.
    """
    from napari_medlab.images import Image
    from napari_medlab.images.writers import write_image

    if grid.ndim == 3:
        write_image(Image.of_arrays([labels], grid), path)
    else:
        pixels = Grid.axis_aligned(grid.shape, (1.0, 1.0), unit="px")
        write_image(Image.of_arrays([labels], pixels, kind="photo"), path)


def number_table(images: Sequence[ImageRegions]) -> dict[str, Any]:
    """Return what the numbers of maps of instances mean, as :func:`read_label_map` reads it beside the maps."""
    table: dict[str, Any] = {}
    for image in images:
        names, scores = image.regions.label_names, image.regions.scores.tolist()
        rows = zip(image.regions.labels.tolist(), scores, image.is_excluded.tolist(), strict=True)
        table[image.image] = {
            str(number): {"label": names[label]} | ({"score": score} if score == score else {})
            | ({"is_excluded": True} if excluded else {})
            for number, (label, score, excluded) in enumerate(rows, start=1)
        }  # fmt: skip
    return table


class _Number(NamedTuple):
    """What a number of a map means."""

    label: str
    score: float
    is_excluded: bool


def _table_of(path: Path) -> dict[int, _Number] | None:
    """Return what the numbers of a map mean, where a table says so."""
    table = next(
        (folder / TABLE for folder in path.absolute().parents[:2] if (folder / TABLE).is_file()), None
    )
    if table is None:
        return None
    try:
        cases = as_object(read_json(table), "the table")
        stem = next((stem for stem in stems_of(path) if stem in cases), None)
        return None if stem is None else _numbers(as_object(cases[stem], stem))
    except ValueError as error:
        if isinstance(error, InputRefusedError):
            raise
        raise InputRefusedError(
            f"{table.name}: {error}.", code="labels", hint="Correct the table, or take it away."
        ) from error


def _numbers(entries: dict[str, Any]) -> dict[int, _Number]:
    found = {}
    for number, entry in entries.items():
        about = as_object(entry, f"the number {shown(number)}")
        if not number.isdecimal() or len(number) > LONGEST_NUMBER:
            raise ValueError(f"{shown(number)} is no number of a map")
        score = about.get("score")
        found[int(number)] = _Number(
            checked_text(about.get("label")),
            math.nan if score is None else in_bounds(score, "score"),
            about.get("is_excluded") is True,
        )
    return found


def _without_white(labels: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Return a map of black and white as one of 0 and 1; others come back as they are."""
    white = np.iinfo(labels.dtype).max
    is_white = labels == white
    return is_white.astype(labels.dtype) if bool((is_white | (labels == 0)).all()) else labels


def _elsewhere(name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> InputRefusedError:
    stated, known = (" × ".join(map(str, shape)) for shape in (found, wanted))
    return InputRefusedError(
        f"{name}: the map has {stated} voxels, and the case's image {known}.",
        code="grid",
        hint="Use the map that was made on this image, without resampling it.",
    )
