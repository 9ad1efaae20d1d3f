"""A case made ready for drawing: its pixels, and the way between world and what the viewer shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import Grid
from napari_medlab.images import Window, memory_budget_bytes
from napari_medlab.images.slides.overview import Overview
from napari_medlab.images.tiles import Turned, tile_counts
from napari_medlab.widgets.layers.streaming import StreamedPyramid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.images import Image

__all__ = ["CT_LUNG", "CaseView", "view_of"]

USUAL_SIDE = {"R": "right", "L": "left"}
"""Where the chest wall is of each breast, as exams hang."""
SPACING_SOURCES = {"calibrated": "calibrated", "detector": "at the detector", "magnified": "magnification taken out",
                   "stated": "stated by hand"}  # fmt: skip
"""What the pixel size of a planar image means."""
UNITS = {"mm": "mm", "um": "µm"}
CT_LUNG = Window("lung", -1000, 400)
SLAB = 16
"""How many slices of a volume are read between two looks at whether somebody still wants them."""
FEW_TILES = 16
"""Images in no more tiles than this, such as a mammogram in one, are read as a whole before they are shown."""
PATCH, PATCHES = 256, 4
"""Limits of brightness are found in squares of this many pixels, so many a side, where an image is too large."""


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
    channels : sequence of lists of arrays
        What is drawn, one layer for each: the levels of a pyramid, finest first. Volumes are axial, (z, y, x).
    grid : Grid
        The geometry of the first level.
    windows : tuple of Window
        At least one; the first to begin with.
    is_rgb, is_inverted : bool
    channel_names : tuple of str
        As many as there are channels, where there are several.
    channel_limits : tuple of (low, high)
        The limits of brightness of each of them.
    order, flips : tuples of int
        How the stored array was turned to be shown, as :meth:`~napari_medlab.geometry.Grid.canonical_axes` says.
    step : int
        How many stored voxels lie along one shown, where the volume is too large to be shown as it is.
    pyramids : tuple of StreamedPyramid
        What reads tiles while they are looked at.
    overview : Overview or None
        The coarsest level, where it is still to be made.
    notes : tuple of str
        What the reader has to know: what the pixel size means, what was decided, what is left out.
    """

    case_id: str
    title: str
    kind: str
    channels: Sequence[list[Any]]
    grid: Grid
    windows: tuple[Window, ...] = (CT_LUNG,)
    is_rgb: bool = False
    is_inverted: bool = False
    channel_names: tuple[str, ...] = ()
    channel_limits: tuple[tuple[float, float], ...] = ()
    order: tuple[int, ...] = (0, 1, 2)
    flips: tuple[int, ...] = (1, 1, 1)
    step: int = 1
    pyramids: tuple[StreamedPyramid, ...] = ()
    overview: Overview | None = None
    notes: tuple[str, ...] = ()

    @property
    def levels(self) -> list[Any]:
        """The pyramid of the first channel."""
        return self.channels[0]

    @property
    def metadata(self) -> dict[str, Any]:
        """What a layer carries along, so that whoever saves it knows where it lies in the patient."""
        return {"affine_lps": self.grid.affine.tolist(), "unit": self.grid.unit, "notes": list(self.notes)}

    @property
    def nbytes(self) -> int:
        """How much memory its arrays take, what the cache of tiles keeps left out."""
        arrays = (level for levels in self.channels for level in levels if isinstance(level, np.ndarray))
        return sum(array.nbytes for array in arrays)

    def again(self) -> CaseView:
        """Return the same for another canvas, which asks for its tiles by itself."""
        pyramids = tuple(pyramid.again() for pyramid in self.pyramids)
        return replace(
            self, channels=[pyramid.levels for pyramid in pyramids] or self.channels, pyramids=pyramids
        )

    def to_shown(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map indices (..., n) of the image as stored to indices of the array as shown; exact, as no voxel moves."""
        shown: NDArray[np.float64] = np.asarray(index, dtype=np.float64)[..., list(self.order)]
        return self._flipped(shown) / self.step

    def to_stored(self, shown: ArrayLike) -> NDArray[np.float64]:
        """Map indices (..., n) of the array as shown back to those of the image as stored."""
        back = np.argsort(self.order)
        stored: NDArray[np.float64] = self._flipped(np.asarray(shown, dtype=np.float64) * self.step)[
            ..., back
        ]
        return stored

    def _flipped(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        last = (np.asarray(self.grid.shape) - 1) * self.step
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


def view_of(
    image: Image,
    case_id: str,
    title: str,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> CaseView:
    """Decode what an image needs to be shown; call it off the GUI thread.

    This is where it is decided what napari is handed: the array itself for volumes, which are shown in three planes
    at once; what reads tiles without a wait for everything planar (see ``benchmarks/open_slide.py``).

    Parameters
    ----------
    image : Image
        A planar one opened with ``pyramid=True``.
    case_id, title : str
    on_progress : callable, optional
        Called with (done, total) slices.
    stop : callable, optional
        Called now and then; it raises where nobody wants the case any more.
    """
    show = _volume if image.kind == "volume" else _planar
    return show(image, case_id, title, on_progress, stop)


def notes_of(image: Image) -> tuple[str, ...]:
    """Return what the reader has to know about an image."""
    source = str(image.details.get("spacing_source", ""))
    spacing: tuple[str, ...] = ()
    if source in SPACING_SOURCES:
        spacing = (f"{image.grid.spacing[-1]:.4g} {UNITS[image.grid.unit]}, {SPACING_SOURCES[source]}",)
    # a warning may say what the lineage says
    return tuple(dict.fromkeys((*spacing, *image.lineage, *(warning.message for warning in image.warnings))))


def _volume(
    image: Image,
    case_id: str,
    title: str,
    on_progress: Callable[[int, int], None] | None,
    stop: Callable[[], None] | None,
) -> CaseView:
    step = _step(image)
    stored, total = image.arrays[0], image.shape[0]
    shape = [len(range(0, size, step)) for size in image.shape]
    volume = np.empty(shape, image.dtype)
    # what is decoded in one piece is read in one
    slab = max(SLAB, -(-stored.tile[0] // step))
    for first in range(0, shape[0], slab):
        planes = slice(first * step, min((first + slab) * step, total), step)
        volume[first : first + slab] = stored.read(
            (planes, *(slice(None, None, step),) * 2), stop=stop, keep=False
        )
        if on_progress is not None:
            on_progress(min(planes.stop, total), total)
    grid = image.grid if step == 1 else _every(image.grid, step)
    order, flips = grid.canonical_axes()
    turned = volume.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    note = f"Every {step}th voxel is shown: all of it takes more memory than the budget allows."
    return CaseView(
        case_id, title, image.kind, [[np.ascontiguousarray(turned)]], grid.reordered(order, flips),
        image.windows or (_range_of(volume),), image.is_rgb, image.is_inverted, order=order, flips=flips, step=step,
        notes=(*((note,) if step > 1 else ()), *notes_of(image)),
    )  # fmt: skip


def _planar(
    image: Image,
    case_id: str,
    title: str,
    on_progress: Callable[[int, int], None] | None,
    stop: Callable[[], None] | None,
) -> CaseView:
    overview, flips, notes = _overview(image, on_progress, stop), (1, 1), notes_of(image)
    wall = str(image.details.get("chest_wall", "")) or _fuller_side(
        overview.pixels, is_inverted=image.is_inverted
    )
    if image.kind == "mammogram" and wall != USUAL_SIDE.get(
        str(image.details.get("laterality", ""))[:1], wall
    ):
        flips = (1, -1)
        turned = tuple(
            Turned(array, tuple(range(array.ndim)), (*flips, 1)[: array.ndim]) for array in image.arrays
        )
        image = replace(image, sources=turned, grid=image.grid.reordered((0, 1), flips))
        overview, notes = (
            _overview(image, on_progress, stop),
            (*notes, "shown mirrored, chest wall to the middle"),
        )
    is_single = image.is_rgb or len(image.shape) == 2
    channels = [None] if is_single else list(range(image.shape[2]))
    pyramids = tuple(StreamedPyramid(image.arrays, overview.pixels, channel) for channel in channels)
    is_guided = image.is_rgb or (is_single and image.windows)
    sample = overview.pixels if is_guided or overview.is_exact else _sample(image)
    limits = [] if is_single else [_range_of(sample[..., channel]) for channel in channels]
    names = (
        ()
        if is_single
        else image.channel_names or tuple(f"channel {number + 1}" for number in range(len(channels)))
    )
    return CaseView(
        case_id, title, image.kind, [pyramid.levels for pyramid in pyramids], image.grid,
        image.windows or (_range_of(sample),), image.is_rgb, image.is_inverted, channel_names=names,
        channel_limits=tuple((window.low, window.high) for window in limits), order=(0, 1), flips=flips,
        pyramids=pyramids, overview=None if overview.is_exact else overview, notes=notes,
    )  # fmt: skip


def _overview(
    image: Image, on_progress: Callable[[int, int], None] | None, stop: Callable[[], None] | None
) -> Overview:
    """Return the coarsest level, made at once where a preview of so few tiles would show nothing."""
    overview = Overview(image)
    base = image.sources[len(image.sources) - 1 - int(image.details.get("added_levels", 0))]
    if not overview.is_exact and np.prod(tile_counts(base)) <= FEW_TILES:
        for done, total in overview.steps():
            if stop is not None:
                stop()
            if on_progress is not None:
                on_progress(done, total)
    return overview


def _sample(image: Image) -> NDArray[Any]:
    """Return pixels (y, x) or (y, x, channel) from all over an image; a preview holds means, which say less of its range."""
    base = image.arrays[len(image.arrays) - 1 - int(image.details.get("added_levels", 0))]
    rows, columns = (
        np.linspace(0, max(0, size - PATCH), PATCHES).astype(int).tolist() for size in base.shape[:2]
    )
    return np.concatenate(
        [np.concatenate([base[y : y + PATCH, x : x + PATCH] for x in columns], axis=1) for y in rows], axis=0
    )


def _fuller_side(pixels: NDArray[Any], *, is_inverted: bool) -> str:
    """Return on which side of a mammogram the breast is, for headers that do not say where the chest wall is."""
    third = max(1, pixels.shape[1] // 3)
    left, right = float(pixels[:, :third].mean()), float(pixels[:, -third:].mean())
    return "left" if (left > right) != is_inverted else "right"


def _step(image: Image) -> int:
    """Return 1 where a volume fits into the budget, else of how many voxels along each axis one is shown."""
    step = 1
    while image.estimated_bytes / step**3 > memory_budget_bytes():
        step += 1
    return step


def _every(grid: Grid, step: int) -> Grid:
    affine = np.array(grid.affine)
    affine[:3, :3] *= step
    return Grid(tuple(len(range(0, size, step)) for size in grid.shape), affine, grid.unit)


def _range_of(pixels: NDArray[Any]) -> Window:
    """Return the limits between which 99 of 100 pixels lie."""
    sample = pixels[tuple(slice(None, None, max(1, size // 256)) for size in pixels.shape[:2])]
    finite = sample[np.isfinite(sample)] if sample.dtype.kind == "f" else sample
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    return Window("", float(low), float(max(high, low + 1)))
