"""A case made ready for drawing: its pixels, and the way between world and what the viewer shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images import open_image
from napari_medlab.images.budget import fits_in_memory

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.geometry import Grid

__all__ = ["CaseView", "load_case_view"]

LUNG_WINDOW = (-1000.0, 400.0)


@dataclass(frozen=True, eq=False)
class CaseView:
    """One image as the window draws it.

    What the viewer calls world is the array index times the spacing, in the image's own axes: napari does not slice
    oblique volumes rightly, so the patient's axes stay in ``grid``.

    Parameters
    ----------
    case_id, title : str
    kind : str
        As in :class:`~napari_medlab.images.Image`.
    levels : list of arrays
        Axial for volumes, (z, y, x); decoded where memory allows, lazy otherwise.
    grid : Grid
        The geometry of ``levels[0]``.
    window : (low, high)
    is_rgb : bool
    order, flips : tuples of int
        How the stored array was turned to be shown, as :meth:`~napari_medlab.geometry.Grid.canonical_axes` says.
    """

    case_id: str
    title: str
    kind: str
    levels: list[Any]
    grid: Grid
    window: tuple[float, float]
    is_rgb: bool
    order: tuple[int, ...]
    flips: tuple[int, ...]

    def to_shown(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map indices (..., n) of the image as stored to indices of the array as shown; exact, as no voxel moves."""
        shown: NDArray[np.float64] = np.asarray(index, dtype=np.float64)[..., list(self.order)]
        return self._flipped(shown)

    def to_stored(self, shown: ArrayLike) -> NDArray[np.float64]:
        """Map indices (..., n) of the array as shown back to those of the image as stored."""
        back = np.argsort(self.order)
        stored: NDArray[np.float64] = self._flipped(np.asarray(shown, dtype=np.float64))[..., back]
        return stored

    def _flipped(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        last = np.asarray(self.grid.shape) - 1
        return np.where(np.asarray(self.flips) < 0, last - index, index)

    @property
    def scale(self) -> tuple[float, ...]:
        """The spacing in array order: millimetres, micrometres or pixels."""
        return self.grid.spacing

    @property
    def units(self) -> tuple[str, ...]:
        """The name of the unit, for each axis, as napari knows it."""
        name = {"mm": "mm", "um": "um", "px": "pixel"}[self.grid.unit]
        return (name,) * self.grid.ndim

    @property
    def axis_labels(self) -> tuple[str, ...]:
        """The names of the axes in array order."""
        return ("z", "y", "x")[-self.grid.ndim :]

    def to_display(self, world: ArrayLike) -> NDArray[np.float64]:
        """Map world coordinates (..., n), (x, y[, z]), to the viewer's (..., n), (z, y, x) or (y, x)."""
        points: NDArray[np.float64] = self.grid.to_index(world) * np.asarray(self.scale)
        return points

    def to_world(self, display: ArrayLike) -> NDArray[np.float64]:
        """Map the viewer's coordinates (..., n) back to world."""
        return self.grid.to_world(np.asarray(display, dtype=np.float64) / np.asarray(self.scale))


def load_case_view(path: Path, case_id: str, title: str) -> CaseView:
    """Open an image and decode it where it fits into the memory budget; call it off the GUI thread.

    Raises
    ------
    ImageRefusedError
        Where the image cannot be opened as it is.
    """
    stored = open_image(path)
    order, flips = stored.grid.canonical_axes()
    image = stored.oriented()
    levels: list[Any] = list(image.levels)
    if image.kind == "volume" and fits_in_memory(image):
        levels = [np.ascontiguousarray(image.levels[0])]
    elif image.kind != "volume" and max(image.levels[-1].shape[:2]) <= 1024:
        # napari reads the coarsest level on the GUI thread: it is decoded here instead
        levels[-1] = np.asarray(image.levels[-1])
    window = image.window or (LUNG_WINDOW if image.modality == "CT" else _range_of(levels[-1]))
    return CaseView(case_id, title, image.kind, levels, image.grid, window, image.is_rgb, order, flips)


def _range_of(coarsest: Any) -> tuple[float, float]:
    """Return the limits between which 99 of 100 pixels of the coarsest level lie."""
    step = tuple(slice(None, None, max(1, size // 256)) for size in coarsest.shape[:2])
    sample = np.asarray(coarsest[step])
    low, high = np.percentile(sample, (0.5, 99.5))
    return (float(low), float(max(high, low + 1)))
