"""COCO JSON: annotations of a set of images, and results, the candidates of a model for such a set.

Source: "Data format" and "Results format" at cocodataset.org, and the code of cocoapi (pycocotools).

**Counting.** Points are (x, y) from the image's **upper left corner**, so that the first pixel's centre is (0.5, 0.5);
half a pixel is taken off when reading and put on when writing. A box ``[x, y, width, height]`` covers whole pixels where
its numbers are whole. Run lengths (compressed or not) hold pixels column by column; their outlines follow
:func:`~napari_medlab.geometry.mask_to_rings`, so that the mask is exactly the same again.

**Meaning.** A list of polygons is their union. ``iscrowd`` and ``ignore`` make an outline excluded. An annotation
without segmentation is its box. Every image of the file counts as looked at, with annotations or without.

**Exactness.** Vertices come back as they were written where half a pixel can be added to them without rounding (any
multiple of 2⁻²⁴ px), others to the last digit of a float. COCO knows no holes: an outline with holes is written as run
lengths, with its vertices beside them under the key ``rings``, which other programs leave alone and which is trusted only
while it has the same mask. pycocotools' own mask of a *polygon* is drawn on a grid of fifths of a pixel and differs from
ours in pixels through which the outline runs; polygons along pixels' edges are the same. Run lengths have one mask
everywhere: ``as_rle`` writes nothing else.

**Lost**: whether an image was looked at to the end, ``info``, ``licenses``, keypoints, captions, and what is said of an
image beside its name, id and size. Ids that are no numbers stand under ``region_id`` and ``owner_id``, scores under
``score``.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats import coco_rle
from napari_medlab.annotations.formats.coco_sets import HINT, LARGEST_SIDE, CocoImage, read_set, section
from napari_medlab.annotations.formats.coco_writing import write, write_results
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning, collector_paused
from napari_medlab.annotations.formats.json_files import (
    FARTHEST,
    as_list,
    as_object,
    integer,
    number,
    numbers,
    read_json,
)
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, check_ring
from napari_medlab.annotations.formats.ring_parts import united
from napari_medlab.geometry import corners_to_centres

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["read", "read_results", "sniff", "sniff_results", "write", "write_results"]

SECTION = re.compile(rb'"(images|annotations|categories)"\s*:\s*\[')
OTHER_FORMAT = re.compile(rb'"(shapes|FeatureCollection|imageData)"')
RESULT = re.compile(rb'\s*\[\s*\{[^{}]*"(image_id|category_id|score)"\s*:')


def sniff(path: str | Path) -> bool:
    """Tell by its beginning whether a file is one of annotations."""
    start = beginning(Path(path))
    return (
        start.lstrip()[:1] == b"{"
        and SECTION.search(start) is not None
        and OTHER_FORMAT.search(start) is None
    )


def sniff_results(path: str | Path) -> bool:
    """Tell by its beginning whether a file is one of results: :func:`read_results` needs the annotations too."""
    return RESULT.match(beginning(Path(path))) is not None


@collector_paused()
def read(path: str | Path) -> list[ImageRegions]:
    """Return what a file of annotations says about each of its images, in its order.

    Parameters
    ----------
    path : path

    Returns
    -------
    list of ImageRegions
        ``image`` is the file's name of it; ``extra`` holds its ``image_id``, the ``categories`` of the file, and as ``areas``
        the area that the file states of each outline, in square pixels, None where it states none.

    Raises
    ------
    InputRefusedError
        With code ``"coco"`` and up to ten faulty places; otherwise as
        :func:`~napari_medlab.annotations.formats.json_files.read_json`.
    """
    path = Path(path)
    faults = Faults(path, "coco", HINT)
    whole, dataset = read_set(path, faults)
    taken: set[int] = set()
    for position, entry in enumerate(section(whole, "annotations", faults)):
        try:
            annotation = as_object(entry, "the annotation")
            image, label = dataset.place(annotation)
            key = integer(annotation.get("id", position + 1), "id")
            if key in taken:
                raise ValueError(f"the id {key} is there twice")
            taken.add(key)
            outline, area = _annotation(annotation, label, image.shape, key), _area(annotation)
            image.outlines.append(outline)
            image.areas.append(area)
        except ValueError as error:
            faults.note(f"annotations[{position}]", error)
    faults.refuse()
    return dataset.as_regions()


@collector_paused()
def read_results(path: str | Path, reference: str | Path) -> list[ImageRegions]:
    """Return a model's candidates for the images of a file of annotations, in the order of that file.

    Parameters
    ----------
    path : path
        A list of results, with boxes or run lengths; scores are needed.
    reference : path
        The annotations, for the names and sizes of the images and the names of the categories.

    Returns
    -------
    list of ImageRegions
        One for every image of the reference, as COCO's evaluation takes it: one without results has no candidate. Behind
        them one for each image that only the results know, called by its number, ``"image_id 7"``.

    Raises
    ------
    InputRefusedError
        As :func:`read`, for either file; results none of which is about an image of the reference are refused, too.
    """
    path, reference = Path(path), Path(reference)
    reference_faults = Faults(reference, "coco", HINT)
    _, dataset = read_set(reference, reference_faults)
    reference_faults.refuse()
    faults = Faults(
        path, "coco", f"Compare it with {reference.name}, whose images and categories it must name."
    )
    results = read_json(path)
    if not isinstance(results, list):
        raise faults.refused(f"it holds {shown(results)}, expected a list of results")
    known = set(dataset.images)
    is_about_known = any(
        isinstance(entry, dict) and _is_one_of(entry.get("image_id"), known) for entry in results
    )
    for position, entry in enumerate(results):
        try:
            result = as_object(entry, "the result")
            if is_about_known:
                key = integer(result.get("image_id"), "image_id")
                dataset.images.setdefault(key, CocoImage(f"image_id {key}", None, key))
            image, label = dataset.place(result)
            number(result.get("score"), "score")
            image.outlines.append(_annotation(result, label, image.shape, position + 1))
        except ValueError as error:
            faults.note(f"[{position}]", error)
    faults.refuse()
    return dataset.as_regions()


def _is_one_of(value: object, known: set[int]) -> bool:
    return isinstance(value, int | float) and value in known


def _annotation(entry: dict[str, Any], label: str, shape: tuple[int, int] | None, key: int) -> Outline:
    score = entry.get("score")
    owner = entry.get("owner_id")
    return Outline(
        rings=_rings(entry, shape),
        label=label,
        region_id=checked_text(entry.get("region_id", str(key)), "region_id"),
        score=math.nan if score is None else number(score, "score"),
        is_excluded=_flag(entry, "iscrowd") or _flag(entry, "ignore"),
        owner_id="" if owner is None else checked_text(owner, "owner_id"),
    )


def _area(entry: dict[str, Any]) -> float | None:
    """Return the area that an annotation states; None for none, and for a negative one, which some writers give."""
    value = entry.get("area")
    area = None if value is None else number(value, "area", FARTHEST**2)
    return None if area is None or area < 0 else area


def _flag(entry: dict[str, Any], name: str) -> bool:
    value = entry.get(name) or 0
    return value is True or integer(value, name, most=1) == 1


def _rings(entry: dict[str, Any], shape: tuple[int, int] | None) -> list[NDArray[np.float64]]:
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict):
        return _rings_of_rle(segmentation, entry.get("rings"), shape)
    if segmentation:
        return united([[ring] for ring in _polygons(segmentation, "segmentation")])
    box = numbers(entry.get("bbox"), "bbox")
    if len(box) != 4 or (box[2:] < 0).any():
        raise ValueError(f"bbox is {entry['bbox']}, expected x, y, width and height")
    left, top, right, bottom = corners_to_centres([box[0], box[1], box[0] + box[2], box[1] + box[3]])
    return [box_ring(left, top, right, bottom)]


def _polygons(value: object, what: str) -> list[NDArray[np.float64]]:
    rings = []
    for position, polygon in enumerate(as_list(value, what)):
        place = f"{what}[{position}]"
        flat = numbers(polygon, place)
        if len(flat) % 2:
            raise ValueError(f"{place} has {len(flat)} numbers, expected x and y in turn")
        rings.append(check_ring(corners_to_centres(flat.reshape(-1, 2)[:, ::-1]), place))
    return rings


def _rings_of_rle(
    segmentation: dict[str, Any], rings: object, shape: tuple[int, int] | None
) -> list[NDArray[np.float64]]:
    size = [
        integer(side, "segmentation.size", 1, LARGEST_SIDE)
        for side in as_list(segmentation.get("size"), "size")
    ]
    if len(size) != 2 or (shape is not None and (size[0], size[1]) != shape):
        raise ValueError(f"segmentation.size is {size}, and the image has {shape} (height, width)")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        lengths = coco_rle.decompress(counts)
    else:
        lengths = numbers(counts, "segmentation.counts", FARTHEST**2).astype(np.int64)
    runs = coco_rle.runs_of_counts(lengths, (size[0], size[1]))
    if rings is not None:
        exact = _polygons(rings, "rings")
        if np.array_equal(coco_rle.runs_of_rings(exact, (size[0], size[1])), runs):
            return exact
    return coco_rle.rings_of_runs(runs, size[0])
