"""COCO JSON, the other way: outlines as annotations, and as results; :mod:`~napari_medlab.annotations.formats.coco` tells how."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.annotations.formats import coco_rle
from napari_medlab.annotations.formats.coco_sets import HINT, read_set
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import collector_paused
from napari_medlab.annotations.formats.json_files import number, write_json
from napari_medlab.annotations.formats.outline_rows import Outline, check_ring, outlines_of
from napari_medlab.annotations.formats.ring_parts import are_apart
from napari_medlab.geometry import centres_to_corners, ring_area

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["write", "write_results"]


@collector_paused()
def write(path: str | Path, images: Sequence[ImageRegions], *, as_rle: bool = False) -> None:
    """Write annotations.

    Parameters
    ----------
    path : path
        Of a new file.
    images : sequence of ImageRegions
        Ids and categories come from ``extra`` where the reader put them there; others are numbered from 1.
    as_rle : bool
        Whether all outlines are written as run lengths, which cuts off what lies outside of the image.

    Raises
    ------
    InputRefusedError
        With code ``"exists"``; with ``"coco"`` where two images have one name, an outline has fewer than three points,
        or run lengths are needed and the image has no size.
    """
    path = Path(path)
    faults = Faults(
        path, "coco", "Give the images their sizes and names of their own, and mend the outlines."
    )
    names = [image.image for image in images]
    if len(set(names)) < len(names):
        raise faults.refused("two images have the same name")
    numbers_of_images = _image_numbers(images)
    categories = _categories(images)
    category_numbers = {entry["name"]: entry["id"] for entry in categories}
    annotations: list[dict[str, Any]] = []
    keeps_ids = _have_own_numbers(images)
    for image, image_number in zip(images, numbers_of_images, strict=True):
        for outline in outlines_of(image):
            key = int(outline.region_id) if keeps_ids else len(annotations) + 1
            annotation = {"id": key, "image_id": image_number, "category_id": category_numbers[outline.label]}
            try:
                annotations.append(annotation | _written(outline, image.shape, as_rle=as_rle, key=key))
            except ValueError as error:
                faults.note(f"image {image.image!r} outline {outline.region_id!r}", error)
    faults.refuse()
    entries = [
        {"id": key, "file_name": image.image} | _size_entry(image.shape)
        for image, key in zip(images, numbers_of_images, strict=True)
    ]
    write_json(path, {"images": entries, "categories": categories, "annotations": annotations})


@collector_paused()
def write_results(
    path: str | Path,
    images: Sequence[ImageRegions],
    reference: str | Path,
    kind: Literal["bbox", "segm"] = "bbox",
) -> None:
    """Write a model's candidates as results for a file of annotations.

    Parameters
    ----------
    path : path
        Of a new file.
    images : sequence of ImageRegions
        All outlines need scores.
    reference : path
        The annotations that name the images and the categories.
    kind : {"bbox", "segm"}
        Boxes, or compressed run lengths; outlines themselves are no part of the format.

    Raises
    ------
    InputRefusedError
        With code ``"exists"``; with ``"coco"`` for images and labels that the reference does not name, for missing
        scores, and where run lengths need an image's size.
    """
    path, reference = Path(path), Path(reference)
    faults = Faults(reference, "coco", HINT)
    _, dataset = read_set(reference, faults)
    faults.refuse()
    known = {image.name: image for image in dataset.images.values()}
    categories = {name: key for key, name in dataset.categories.items()}
    faults = Faults(
        path, "coco", f"Choose the annotations that {path.name} is about; {reference.name} was given."
    )
    results = []
    for image in images:
        for outline in outlines_of(image):
            try:
                place = known.get(image.image)
                if place is None or outline.label not in categories:
                    raise ValueError(
                        f"{reference.name} has no such {'image' if place is None else 'category'}"
                    )
                entry = {"image_id": place.number, "category_id": categories[outline.label]}
                results.append(entry | _result(outline, place.shape or image.shape, kind))
            except ValueError as error:
                faults.note(f"image {image.image!r} {outline.label!r} {outline.region_id!r}", error)
    faults.refuse()
    write_json(path, results)


def _image_numbers(images: Sequence[ImageRegions]) -> list[int]:
    known = [image.extra.get("image_id") for image in images]
    if len(set(known)) == len(known) and all(type(key) is int for key in known):
        return [int(key) for key in known if key is not None]
    return list(range(1, len(images) + 1))


def _categories(images: Sequence[ImageRegions]) -> list[dict[str, Any]]:
    """Return the categories that the images bring along, and those of the other labels behind them."""
    kept: dict[str, dict[str, Any]] = {}
    for image in images:
        for entry in image.extra.get("categories", []):
            kept.setdefault(entry["name"], entry)
    if len({entry["id"] for entry in kept.values()}) < len(kept):  # the images come from several files
        kept = {
            name: entry | {"id": position} for position, (name, entry) in enumerate(kept.items(), start=1)
        }
    free = max((entry["id"] for entry in kept.values()), default=0) + 1
    others = sorted({name for image in images for name in image.regions.label_names} - set(kept))
    return [*kept.values(), *({"id": free + position, "name": name} for position, name in enumerate(others))]


def _have_own_numbers(images: Sequence[ImageRegions]) -> bool:
    """Tell whether the ids of all outlines are whole numbers, and no two the same."""
    ids = [key for image in images for key in image.regions.ids.tolist()]
    return len(set(ids)) == len(ids) and all(
        key.isdigit() and len(key) < 16 and key == b"%d" % int(key) for key in ids
    )


def _size_entry(shape: tuple[int, ...] | None) -> dict[str, int]:
    return {} if shape is None else {"width": int(shape[1]), "height": int(shape[0])}


def _written(outline: Outline, shape: tuple[int, ...] | None, *, as_rle: bool, key: int) -> dict[str, Any]:
    for ring in outline.rings:
        check_ring(ring)
    if not outline.rings:
        raise ValueError("the outline has no points")
    entry: dict[str, Any] = {"iscrowd": int(outline.is_excluded), "bbox": _box(outline.rings)}
    if as_rle or not are_apart([[ring] for ring in outline.rings]):
        entry |= _written_as_rle(outline.rings, shape, with_rings=not as_rle)
    else:
        entry["segmentation"] = [_flat(ring) for ring in outline.rings]
        entry["area"] = sum(abs(ring_area(ring)) for ring in outline.rings)
    if not math.isnan(outline.score):
        entry["score"] = number(outline.score, "the score")
    if outline.region_id != str(key):
        entry["region_id"] = outline.region_id
    if outline.owner_id:
        entry["owner_id"] = outline.owner_id
    return entry


def _written_as_rle(
    rings: Sequence[NDArray[np.float64]], shape: tuple[int, ...] | None, *, with_rings: bool
) -> dict[str, Any]:
    segmentation, runs, height = _rle(rings, shape)
    entry: dict[str, Any] = {"segmentation": segmentation, "area": int((runs[:, 1] - runs[:, 0]).sum())}
    if with_rings and not _are_same(coco_rle.rings_of_runs(runs, height), rings):
        entry["rings"] = [_flat(ring) for ring in rings]
    return entry


def _rle(
    rings: Sequence[NDArray[np.float64]], shape: tuple[int, ...] | None
) -> tuple[dict[str, Any], NDArray[np.int64], int]:
    if shape is None:
        raise ValueError("run lengths need the image's height and width, which are not known")
    size = (int(shape[0]), int(shape[1]))
    runs = coco_rle.runs_of_rings(rings, size)
    counts = coco_rle.compress(coco_rle.counts_of_runs(runs, size))
    return {"size": list(size), "counts": counts}, runs, size[0]


def _are_same(first: Sequence[NDArray[np.float64]], second: Sequence[NDArray[np.float64]]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def _result(outline: Outline, shape: tuple[int, ...] | None, kind: Literal["bbox", "segm"]) -> dict[str, Any]:
    if not math.isfinite(outline.score):
        raise ValueError("it has no score")
    place = (
        {"bbox": _box(outline.rings)} if kind == "bbox" else {"segmentation": _rle(outline.rings, shape)[0]}
    )
    return place | {"score": outline.score}


def _box(rings: Sequence[NDArray[np.float64]]) -> list[float]:
    """Return left, top, width and height, counted from the image's corner."""
    corners = centres_to_corners(np.concatenate(rings))
    (top, left), (bottom, right) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return [left, top, right - left, bottom - top]


def _flat(ring: NDArray[np.float64]) -> list[float]:
    """Return a ring as x and y in turn, counted from the image's corner."""
    flat: list[float] = centres_to_corners(ring)[:, ::-1].ravel().tolist()
    return flat
