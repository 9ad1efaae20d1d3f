"""What napari calls to open our files and samples: header first, pixels lazily, geometry always given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.widgets.layers.case_view import LUNG_WINDOW, CaseView, load_case_view

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    LayerData = tuple[Any, dict[str, Any], str]

__all__ = ["chest_sample", "get_reader"]


def get_reader(path: str | Sequence[str]) -> Callable[[str | Sequence[str]], list[LayerData]] | None:
    """Return the reader of a path, or None where it is not ours to read.

    Several paths at once are read one by one; a folder is read as a DICOM series.
    """
    paths = [path] if isinstance(path, str) else list(path)
    if not paths or any(Path(p).is_dir() and not any(Path(p).iterdir()) for p in paths):
        return None
    return _read


def _read(path: str | Sequence[str]) -> list[LayerData]:
    paths = [path] if isinstance(path, str) else list(path)
    return [image_layer(load_case_view(Path(p), "", Path(p).name)) for p in paths]


def image_layer(view: CaseView) -> LayerData:
    """Return a case as napari takes it: data, settings and the kind of layer."""
    multiscale = len(view.levels) > 1
    settings: dict[str, Any] = {
        "name": view.title,
        "scale": view.scale,
        "units": view.units,
        "axis_labels": view.axis_labels,
        "multiscale": multiscale,
        "rgb": view.is_rgb,
        "metadata": {"affine_lps": view.grid.affine.tolist(), "unit": view.grid.unit},
    }
    if not view.is_rgb:
        settings |= {"contrast_limits": view.window, "colormap": "gray"}
    return (view.levels if multiscale else view.levels[0], settings, "image")


def chest_sample() -> list[LayerData]:
    """Return a chest CT phantom with the marks of its nodules."""
    from napari_medlab.phantoms.chest_ct import REFERENCE_SITE, chest_phantom

    phantom = chest_phantom(7, "sample", REFERENCE_SITE)
    grid = phantom.grid
    view = CaseView("sample", "chest CT phantom", "volume", [phantom.volume], grid, LUNG_WINDOW, False, (0, 1, 2), (1, 1, 1))
    centres = np.asarray([f.centre for f in phantom.findings]).reshape(-1, 3)
    marks = {
        "name": "nodules", "size": [f.diameter for f in phantom.findings], "face_color": "transparent",
        "border_color": "#009E73", "border_width": 0.1, "scale": (1.0, 1.0, 1.0), "units": view.units,
        "axis_labels": view.axis_labels, "projection_mode": "all", "ndim": 3,
    }  # fmt: skip
    return [image_layer(view), (view.to_display(centres), marks, "points")]


