"""The images and the categories that a COCO file names, without its annotations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medlab.annotations.formats.json_files import as_object, integer, read_json
from napari_medlab.annotations.formats.labels import checked_name, checked_text, shown
from napari_medlab.annotations.formats.outline_rows import Outline, image_regions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.formats.faults import Faults
    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["HINT", "LARGEST_SIDE", "CocoImage", "CocoSet", "read_set", "section"]

HINT = "Correct the file, or export it again from its source."
LARGEST_SIDE = 10_000_000


@dataclass(frozen=True)
class CocoImage:
    """An image: its name, its size (height, width) where it is told, its id, and what was found about it so far.

    ``areas`` holds for each outline the area that the file states, None where it states none.
    """

    name: str
    shape: tuple[int, int] | None
    number: int
    outlines: list[Outline] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)

    @property
    def extra(self) -> dict[str, Any]:
        """What is told beside the outlines."""
        is_stated = any(area is not None for area in self.areas)
        return {"image_id": self.number} | ({"areas": self.areas} if is_stated else {})


@dataclass(frozen=True)
class CocoSet:
    """The images of a file by id, its categories' names by id, and the categories as they are written again."""

    images: dict[int, CocoImage]
    categories: dict[int, str]
    kept: list[dict[str, Any]]

    def as_regions(self) -> list[ImageRegions]:
        """Return all images with what was found about them, in the order of the file."""
        return [
            image_regions(
                image.name,
                image.outlines,
                shape=image.shape,
                extra=image.extra | {"categories": self.kept},
            )
            for image in self.images.values()
        ]

    def place(self, entry: dict[str, Any]) -> tuple[CocoImage, str]:
        """Return the image and the label of an annotation; raise ValueError where there is no such one."""
        image = self.images.get(integer(entry.get("image_id"), "image_id"))
        label = self.categories.get(integer(entry.get("category_id"), "category_id"))
        if image is None:
            raise ValueError(f"image_id is {entry['image_id']}, and there is no such image")
        if label is None:
            raise ValueError(f"category_id is {entry['category_id']}, and there is no such category")
        return image, label


def read_set(path: Path, faults: Faults) -> tuple[dict[str, Any], CocoSet]:
    """Return what a file holds, and the images and categories in it; single faults are noted, not raised.

    Raises
    ------
    InputRefusedError
        Where it is no JSON, or no object with lists of images and categories.
    """
    whole = read_json(path)
    if not isinstance(whole, dict):
        raise faults.refused(
            f"it holds {shown(whole)}, expected an object with images, categories and annotations"
        )
    images: dict[int, CocoImage] = {}
    names: set[str] = set()
    for position, entry in enumerate(section(whole, "images", faults)):
        try:
            image = _image(as_object(entry, "the image"))
            if image.number in images or image.name in names:
                raise ValueError(
                    f"the image {shown(image.name)}, id {image.number}, is there twice by name or id"
                )
            names.add(image.name)
            images[image.number] = image
        except ValueError as error:
            faults.note(f"images[{position}]", error)
    categories, kept = _categories(whole, faults)
    return whole, CocoSet(images, categories, kept)


def section(whole: dict[str, Any], name: str, faults: Faults) -> list[Any]:
    """Return one of the lists of a file."""
    found = whole.get(name)
    if not isinstance(found, list):
        raise faults.refused(f"{name} is {shown(found)}, expected a list")
    return found


def _image(entry: dict[str, Any]) -> CocoImage:
    shape = None
    if entry.get("height") is not None or entry.get("width") is not None:
        sides = [integer(entry.get(side), side, least=1, most=LARGEST_SIDE) for side in ("height", "width")]
        shape = (sides[0], sides[1])
    return CocoImage(checked_name(entry.get("file_name"), "file_name"), shape, integer(entry.get("id"), "id"))


def _categories(whole: dict[str, Any], faults: Faults) -> tuple[dict[int, str], list[dict[str, Any]]]:
    categories: dict[int, str] = {}
    labels: set[str] = set()
    kept = []
    for position, entry in enumerate(section(whole, "categories", faults)):
        try:
            category = as_object(entry, "the category")
            key, name = integer(category.get("id"), "id"), checked_text(category.get("name"), "name")
            if key in categories or name in labels:
                raise ValueError(f"the category {shown(name)}, id {key}, is there twice by name or id")
            labels.add(name)
            categories[key] = name
            parent = category.get("supercategory")
            is_text = isinstance(parent, str) and parent.isprintable() and len(parent) <= 256
            kept.append({"id": key, "name": name} | ({"supercategory": parent} if is_text else {}))
        except ValueError as error:
            faults.note(f"categories[{position}]", error)
    return categories, kept
