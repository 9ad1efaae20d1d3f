"""What an object looks like and where it lies: size, brightness, contrast, edges, vessels, place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.hardcases.describing.surroundings import cut_crop, measure
from napari_medlab.hardcases.describing.table import ColumnTitle, DescriptorTable
from napari_medlab.hardcases.describing.tissue_edges import organ_edge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.hardcases.describing.surroundings import Measures
    from napari_medlab.images import Image

__all__ = ["DESCRIPTORS_VERSION", "ColumnTitle", "DescriptorTable", "describe", "radii_of"]

DESCRIPTORS_VERSION = 1
"""Rises whenever the same image gives other numbers: what was kept from before is then computed again."""

UNKNOWN_DIAMETER = {"volume": 6.0, "mammogram": 10.0, "slide": 100.0, "photo": 24.0}
"""What stands for an unknown diameter, in the unit of the grid, when the surroundings are measured."""

UNIT_SIGNS = {"mm": "mm", "um": "µm", "px": "px"}
EDGES = {
    "volume": "distance to the pleura",
    "mammogram": "distance to the skin",
    "slide": "distance to the tissue's edge",
}
VESSEL, FREE = "attached to a vessel", "not attached to a vessel"
PLACES = {
    3: ("position from feet (0) to head (1)", "position from front (0) to back (1)", "position from right (0) to left (1)"),
    2: ("position from top (0) to bottom (1)", "position from left (0) to right (1)"),
}  # fmt: skip


def describe(
    image: Image,
    centres: ArrayLike,
    diameters: ArrayLike,
    *,
    facts: Mapping[str, str] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> DescriptorTable:
    """Return the descriptors of objects on one image.

    Parameters
    ----------
    image : Image
        Only its surroundings of objects are read, slice by slice, and once a coarse copy of it.
    centres : (n, d) array
        World coordinates, ordered (x, y[, z]); further columns of planar images are left aside.
    diameters : (n,) array
        In the unit of the grid; -1 where unknown, which is measured as :data:`UNKNOWN_DIAMETER` says.
    facts : mapping, optional
        What is known about the case, such as ``{"view": "LMLO"}``: each becomes a column of categories.
        ``"modality"`` stands in where the image itself names none, as MetaImage and NIfTI never do.
    on_progress : callable, optional
        Called with the objects done and in all.
    stop : callable, optional
        Called between objects and tiles; it raises where nobody wants the answer any more.

    Returns
    -------
    DescriptorTable
        Numbers: ``diameter``, ``mean_intensity``, ``contrast``, ``contrast_to_noise``, ``noise``, ``edge_distance`` (from
        the object's rim, negative where it reaches beyond), ``vesselness``, ``sharpness``, ``slice_spacing``, ``spacing``,
        and ``position_z``, ``position_y``, ``position_x`` (fractions of the image; for volumes towards head, back and
        left). Categories: ``vessel`` and those of ``facts``. An object outside the image has nan in what is measured.
    """
    known = {name: str(value) for name, value in (facts or {}).items()}
    modality = image.modality or known.get("modality", "")
    image = image.oriented()
    grid = image.grid
    sizes = np.asarray(diameters, dtype=np.float64).reshape(-1)
    index = grid.to_index(_points(centres, len(sizes), grid.ndim))
    radii = radii_of(image, sizes)
    measures = _measured(image, index, radii, on_progress, stop)
    numbers = {
        "diameter": np.where(sizes > 0, sizes, np.nan),
        **_appearance(measures),
        "edge_distance": _edge_distance(image, modality, index, radii, stop),
        **_lattice(image, len(sizes)),
        **_positions(grid, index),
    }
    vessel = np.asarray(
        ["" if m is None else VESSEL if m.is_attached else FREE for m in measures], dtype=np.str_
    )
    categories = {"vessel": vessel, **{name: np.full(len(sizes), value) for name, value in known.items()}}
    return DescriptorTable(numbers, categories, _titles(image, modality), len(sizes))


def radii_of(image: Image, diameters: ArrayLike) -> NDArray[np.float64]:
    """Return radii, (n,), with :data:`UNKNOWN_DIAMETER` where a diameter is not positive."""
    sizes = np.asarray(diameters, dtype=np.float64).reshape(-1)
    return np.where(sizes > 0, sizes, UNKNOWN_DIAMETER[image.kind]) / 2


def _points(centres: ArrayLike, count: int, dims: int) -> NDArray[np.float64]:
    points = np.asarray(centres, dtype=np.float64)
    return points[:, :dims] if count else np.zeros((0, dims))


def _measured(
    image: Image,
    index: NDArray[np.float64],
    radii: NDArray[np.float64],
    on_progress: Callable[[int, int], None] | None,
    stop: Callable[[], None] | None,
) -> list[Measures | None]:
    """Measure one object after the other, along the first axis, so that each slice is decoded once."""
    measures: list[Measures | None] = [None] * len(radii)
    is_dark = image.is_inverted or image.kind in ("slide", "photo")
    for done, row in enumerate(np.lexsort(index.T[::-1]).tolist(), start=1):
        if stop is not None:
            stop()
        # far outside there is nothing to read, and nothing that an index could hold
        crop = (
            cut_crop(image, index[row], float(radii[row]), stop)
            if bool(image.grid.contains(index[row]))
            else None
        )
        if crop is not None:
            measures[row] = measure(crop, float(radii[row]), is_dark=is_dark)
        if on_progress is not None:
            on_progress(done, len(radii))
    return measures


def _appearance(measures: list[Measures | None]) -> dict[str, NDArray[np.float64]]:
    def column(name: str) -> NDArray[np.float64]:
        return np.asarray([np.nan if m is None else getattr(m, name) for m in measures], dtype=np.float64)

    contrast, noise = column("contrast"), column("noise")
    return {
        "mean_intensity": column("mean"),
        "contrast": contrast,
        "contrast_to_noise": np.divide(contrast, noise, out=np.full(len(noise), np.nan), where=noise > 0),
        "noise": noise,
        "vesselness": column("vesselness"),
        "sharpness": column("sharpness"),
    }


def _edge_distance(
    image: Image,
    modality: str,
    index: NDArray[np.float64],
    radii: NDArray[np.float64],
    stop: Callable[[], None] | None,
) -> NDArray[np.float64]:
    edge = organ_edge(image, modality, stop) if len(index) else None
    return np.full(len(index), np.nan) if edge is None else edge.distance(index) - radii


def _lattice(image: Image, count: int) -> dict[str, NDArray[np.float64]]:
    spacing = image.grid.spacing
    slices = spacing[0] if image.grid.ndim == 3 else np.nan
    return {"slice_spacing": np.full(count, slices), "spacing": np.full(count, spacing[-1])}


def _positions(grid: Grid, index: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    shares = index / np.maximum(np.asarray(grid.shape) - 1, 1)
    return {f"position_{axis}": shares[:, column] for column, axis in enumerate("zyx"[-grid.ndim :])}


def _titles(image: Image, modality: str) -> dict[str, ColumnTitle]:
    unit = UNIT_SIGNS[image.grid.unit]
    values = "HU" if modality == "CT" and image.kind == "volume" else ""
    titles = {
        "diameter": ColumnTitle("diameter", unit),
        "mean_intensity": ColumnTitle("mean", values) if values else ColumnTitle("mean intensity"),
        "contrast": ColumnTitle("contrast to the surroundings", values),
        "contrast_to_noise": ColumnTitle("contrast over noise"),
        "noise": ColumnTitle("noise", values),
        "edge_distance": ColumnTitle(EDGES.get(image.kind, "distance to the edge"), unit),
        "vesselness": ColumnTitle("vesselness around it"),
        "sharpness": ColumnTitle("sharpness of the rim", f"{values or '1'}/{unit}"),
        "slice_spacing": ColumnTitle("slice spacing", unit),
        "spacing": ColumnTitle("pixel spacing", unit),
    }
    axes = "zyx"[-image.grid.ndim :]
    return titles | {
        f"position_{axis}": ColumnTitle(title) for axis, title in zip(axes, PLACES[len(axes)], strict=True)
    }
