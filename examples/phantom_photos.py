"""Photographs of a made-up sea floor, their reference, and what a detector made elsewhere has to say about them.

What :mod:`make_phantom_files` writes for the tutorial on photos. There are starfish, scallops and urchins, and stones that
look like urchins. The detector is made up, and wrong in ways that one can see: it takes stones for urchins, overlooks small
scallops, and marks a starfish that whoever drew the reference has overlooked. Its second version does better.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["write_photos"]

SHAPE = (480, 640)
CLASSES = ("starfish", "scallop", "urchin")
COLOURS = {
    "starfish": (196, 106, 52),
    "scallop": (206, 186, 158),
    "urchin": (44, 34, 46),
    "stone": (66, 60, 66),
}
SMALL = 17.0
"""Scallops of a smaller radius, in pixels, are overlooked by the first version."""


@dataclass(frozen=True)
class Thing:
    """Something on the sea floor: what it is, how large, and its outline, (n, 2) as (x, y) from the corner of the photo."""

    kind: str
    radius: float
    outline: NDArray[np.float64]

    @property
    def box(self) -> list[float]:
        """The box around it as COCO has it: x, y, width, height."""
        low, high = self.outline.min(axis=0), self.outline.max(axis=0)
        return [round(float(value), 2) for value in (*low, *(high - low))]


def write_photos(folder: Path, count: int) -> None:
    """Write the photos, ``reference.json`` in COCO's format, and ``theirs-1.json`` and ``theirs-2.json`` as COCO results."""
    (folder / "photos").mkdir()
    scenes = [scene(number) for number in range(count)]
    for number, things in enumerate(scenes):
        Image.fromarray(photo(number, things)).save(folder / "photos" / name_of(number))
    write_json(folder / "reference.json", reference(scenes))
    for version in (1, 2):
        write_json(folder / f"theirs-{version}.json", predictions(scenes, version))


def name_of(number: int) -> str:
    """Return the file name of a photo."""
    return f"frame-{number + 1:03}.png"


def scene(number: int) -> list[Thing]:
    """Return what lies on a part of the sea floor, nothing on anything else."""
    rng = np.random.default_rng([number, 77])
    kinds = ["starfish", "scallop", "urchin", *rng.choice([*CLASSES, "stone"], 4), "stone", "stone"]
    things: list[Thing] = []
    centres: list[tuple[float, float]] = []
    for kind in kinds:
        radius = float(rng.uniform(12, 30))
        centre = rng.uniform((45, 45), (SHAPE[1] - 45, SHAPE[0] - 45))
        if all(np.hypot(*(centre - other)) > 70 for other in centres):
            centres.append(tuple(centre))
            things.append(Thing(str(kind), radius, centre + outline(str(kind), radius, rng)))
    return things


def outline(kind: str, radius: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the outline of a thing around 0, (n, 2) as (x, y)."""
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    if kind == "starfish":
        radii = radius * (0.66 + 0.34 * np.cos(5 * angles))
    elif kind == "scallop":
        radii = radius * (0.93 + 0.05 * np.cos(12 * angles))
    elif kind == "urchin":
        radii = radius * (0.8 + 0.2 * np.cos(20 * angles))
    else:
        radii = radius * (0.85 + 0.1 * np.cos(2 * angles + 1) + 0.05 * np.cos(3 * angles))
    turned = angles + rng.uniform(0, 2 * np.pi)
    return np.stack([radii * np.cos(turned), radii * np.sin(turned)], axis=1)


def photo(number: int, things: list[Thing]) -> NDArray[np.uint8]:
    """Return a photo, (y, x, 3): sand under blue-green water, things on it."""
    from skimage.draw import polygon

    rng = np.random.default_rng([number, 78])
    sand = (
        gaussian_filter(rng.normal(0, 1, SHAPE), 12) * 180
        + gaussian_filter(rng.normal(0, 1, SHAPE), 1.5) * 24
    )
    pixels = np.array((92.0, 122.0, 118.0)) + sand[..., None]
    for thing in things:
        x, y = thing.outline.T - 0.5  # from the corner of the photo to the centres of its pixels
        inside = polygon(y, x, SHAPE)
        pixels[inside] = np.array(COLOURS[thing.kind]) + rng.normal(0, 9, (inside[0].size, 1))
    blurred = gaussian_filter(pixels, (0.8, 0.8, 0)) + rng.normal(0, 3, (*SHAPE, 3))
    shown: NDArray[np.uint8] = np.clip(blurred, 0, 255).astype(np.uint8)
    return shown


def reference(scenes: list[list[Thing]]) -> dict[str, Any]:
    """Return the reference as COCO has it; the first starfish of the first photo was overlooked."""
    overlooked = next(thing for thing in scenes[0] if thing.kind == "starfish")
    rows = [
        {"image_id": number + 1, "category_id": CLASSES.index(thing.kind) + 1, "bbox": thing.box, "iscrowd": 0,
         "area": thing.box[2] * thing.box[3], "segmentation": [np.round(thing.outline, 2).ravel().tolist()]}
        for number, things in enumerate(scenes) for thing in things
        if thing.kind in CLASSES and thing is not overlooked
    ]  # fmt: skip
    return {
        "images": [
            {"id": number + 1, "file_name": name_of(number), "height": SHAPE[0], "width": SHAPE[1]}
            for number in range(len(scenes))
        ],
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
        "annotations": [{"id": number, **row} for number, row in enumerate(rows, start=1)],
    }


def predictions(scenes: list[list[Thing]], version: int) -> list[dict[str, Any]]:
    """Return what a version of the detector says: boxes with scores, as COCO results."""
    rng = np.random.default_rng([version, 79])
    said: list[dict[str, Any]] = []
    for number, things in enumerate(scenes):
        for thing in things:
            label, low, high = opinion(thing, version)
            score = float(rng.uniform(low, high))
            if score > 0.02:
                box = [round(side + float(rng.normal(0, 1)), 2) for side in thing.box]
                category = CLASSES.index(label) + 1
                said.append(
                    {"image_id": number + 1, "category_id": category, "bbox": box, "score": round(score, 3)}
                )
    return said


def opinion(thing: Thing, version: int) -> tuple[str, float, float]:
    """Return the class that a version takes a thing for, and from where to where its scores go."""
    if thing.kind == "stone":
        return "urchin", *((0.3, 0.95) if version == 1 else (-0.3, 0.5))
    if thing.kind == "scallop" and thing.radius < SMALL:
        return "scallop", *((-0.2, 0.1) if version == 1 else (0.2, 0.8))
    return thing.kind, 0.6, 0.99


def write_json(path: Path, document: object) -> None:
    """Write a document as JSON."""
    path.write_text(json.dumps(document), encoding="utf-8")
