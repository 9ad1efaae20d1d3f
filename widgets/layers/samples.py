"""File → Open Sample: phantoms with known truth, of each kind of image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.widgets.layers.readers import add_layers, in_background

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_medlab.annotations import Finding
    from napari_medlab.geometry import Grid

    LayerData = tuple[Any, ...]

__all__ = ["chest_sample", "mammogram_sample", "slide_sample"]

SEED = 7
ONE_MOMENT = "one moment: the phantom is being made"
COLOUR = "#009E73"


def chest_sample() -> list[LayerData]:
    """Return a chest CT phantom with the marks of its nodules."""
    return _made(_chest, 3)


def mammogram_sample() -> list[LayerData]:
    """Return the four views of a mammography phantom, hung as usual, with its masses and calcifications."""
    return _made(_mammogram, 2)


def slide_sample() -> list[LayerData]:
    """Return a phantom of a kidney section as a pyramid, with its glomeruli."""
    return _made(_slide, 2)


def _made(make: Callable[[], list[LayerData]], ndim: int) -> list[LayerData]:
    """Make layers in the background where a window is up, here where there is none."""
    import napari

    def swap(layers: list[LayerData]) -> None:
        viewer = napari.current_viewer()
        if viewer is not None and ONE_MOMENT in viewer.layers:
            viewer.layers.remove(ONE_MOMENT)
        add_layers(layers)

    # napari takes no sample without a layer
    placeholder: LayerData = (np.zeros((0, ndim)), {"name": ONE_MOMENT, "ndim": ndim}, "points")
    return [placeholder] if in_background(make, swap) else make()


def _chest() -> list[LayerData]:
    from napari_medlab.phantoms.chest_ct import REFERENCE_SITE, chest_phantom

    phantom = chest_phantom(SEED, "sample", REFERENCE_SITE)
    image = {
        **_settings("chest CT phantom", phantom.grid),
        "contrast_limits": (-1000, 400),
        "colormap": "gray",
    }
    return [(phantom.volume, image, "image"), _marks("nodules", phantom.findings, phantom.grid)]


def _mammogram() -> list[LayerData]:
    from napari_medlab.phantoms.mammogram import mammogram_exam
    from napari_medlab.widgets.layers.case_view import CaseView
    from napari_medlab.widgets.layers.hanging import hang

    exam = mammogram_exam(SEED)
    views = {v.name: (v.name, CaseView("", v.name, "mammogram", [[v.pixels]], v.grid)) for v in exam.views}
    places = hang(views)
    layers: list[LayerData] = []
    for view in exam.views:
        place = {"translate": places[view.name]}
        limits = tuple(float(value) for value in np.percentile(view.pixels, (5, 99.8)))
        image = {**_settings(view.name, view.grid), **place, "contrast_limits": limits, "colormap": "gray"}
        layers.append((view.pixels, image, "image"))
        if view.findings:
            data, settings, kind = _marks(f"{view.name} findings", view.findings, view.grid)
            layers.append((data, {**settings, **place}, kind))
    return layers


def _slide() -> list[LayerData]:
    from napari_medlab.images.slides.pyramids import COARSEST
    from napari_medlab.images.tiles import halved
    from napari_medlab.phantoms.slide import slide_phantom

    phantom = slide_phantom(SEED)
    levels = [phantom.pixels]
    while max(levels[-1].shape[:2]) > COARSEST:
        levels.append(halved(levels[-1]))
    image = {**_settings("kidney section phantom", phantom.grid), "rgb": True, "multiscale": True}
    return [(levels, image, "image"), _marks("glomeruli", phantom.findings, phantom.grid)]


def _settings(name: str, grid: Grid) -> dict[str, Any]:
    unit = {"mm": "mm", "um": "um", "px": "pixel"}[grid.unit]
    return {
        "name": name, "scale": grid.spacing, "units": (unit,) * grid.ndim, "axis_labels": ("z", "y", "x")[-grid.ndim :],
        "metadata": {"affine_lps": grid.affine.tolist(), "unit": grid.unit, "notes": []},
    }  # fmt: skip


def _marks(name: str, findings: Iterable[Finding], grid: Grid) -> LayerData:
    found = list(findings)
    centres = np.asarray([finding.centre[: grid.ndim] for finding in found]).reshape(-1, grid.ndim)
    settings = _settings(name, grid) | {
        "size": [finding.diameter / grid.spacing[-1] for finding in found], "face_color": "transparent",
        "border_color": COLOUR, "border_width": 0.1, "projection_mode": "all", "ndim": grid.ndim,
    }  # fmt: skip
    return (grid.to_index(centres), settings, "points")
