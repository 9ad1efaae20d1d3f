"""Bundles and packages that exist in memory alone, for widgets that read nothing else of them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles import Bundle
from napari_medlab.models.training.packages import Example, Package
from napari_medlab.models.training.parts import BundlePart

if TYPE_CHECKING:
    from napari_medlab.models.training.parts import PartName

CUBES: dict[str, Any] = {
    "network": {"name": "cube-classifier", "arguments": {"sides": [8]}}, "shape": [8, 8, 8], "spacing_mm": 1.0,
    "window": [-1000.0, 400.0], "fusion": {"rule": "geometric mean"},
}  # fmt: skip


def detector(name: str = "scans", *, spacing_mm: float = 1.5, with_classifier: bool = False) -> Bundle:
    """Return a detector of nodules in scans."""
    spec: dict[str, Any] = {
        "schema": 2, "name": name, "task": "detection", "classes": ["nodule"],
        "network": {"name": "centre-heatmap", "arguments": {"spatial_dims": 3}},
        "preprocessing": {"spacing_mm": spacing_mm, "window": [-1000.0, 400.0]}, "postprocessing": {}, "tiling": {},
    }  # fmt: skip
    if with_classifier:
        spec["classifier"] = CUBES
    return Bundle(Path("bundles") / name, spec, hashlib.sha256(name.encode()).hexdigest())


def package_of(bundle: Bundle, name: str, *, part: PartName = "network", held_out: int = 0) -> Package:
    """Return a package of six examples for a bundle, the last of which are held out."""
    of_part = BundlePart(bundle, part)
    about = {
        "part": part, "task": of_part.task, "classes": list(of_part.classes), "preprocessing": of_part.preprocessing,
        "model": {"name": bundle.name, "hash": bundle.hash},
    }  # fmt: skip
    examples = tuple(Example(f"examples/{k}.npz", "0" * 64, "miss", k >= 6 - held_out) for k in range(6))
    return Package(Path("exports") / name, hashlib.sha256(name.encode()).hexdigest(), about, examples)
