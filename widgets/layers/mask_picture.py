"""A model's mask as an image of labels that napari draws; filled in box by box, off the GUI thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.mask_store import MaskStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["UNSEEN", "MaskPicture", "colormap"]

UNSEEN = 255
"""The label of what the model has not looked at: that is not background."""
MOST_CLASSES = 254
MOST_CELLS = 1 << 26
"""So many cells are kept; a larger mask is drawn coarser."""
COARSEST = 1024
MOST = 255.0
"""What stands for a probability of 1."""
SLANT = 1e-3
"""Axes that run more aslant than by this part of a voxel cannot be drawn over one another."""
TOLD_SECONDS = 0.3
VEIL = (0.5, 0.5, 0.55, 0.4)
"""What lies over the parts that nobody looked at: red, green, blue and opacity."""

Box = tuple[tuple[int, ...], tuple[int, ...]]


class MaskPicture:
    """The labels of a store, where the viewer has them; make it off the GUI thread.

    A cell is one voxel of the store or, where that is large, a block of them: it shows the highest class that reaches its
    threshold anywhere in the block. In a volume the cells lie in the image's own slices along every axis on which the
    store is finer, as napari would step through the image by the finer of the two.

    Parameters
    ----------
    folder : Path
        Of a store, complete or partial.
    view : CaseView
        The image, as it is shown, that the mask is of.
    threshold : float or sequence of float
        The least probability, one for all classes or one for each.

    Attributes
    ----------
    levels : list of uint8 arrays
        Finest first; one alone for volumes. 0 for nothing, the number of the class from 1 on, :data:`UNSEEN`.
    scale, translate : tuple of float
        Of the finest level, in the viewer's coordinates.

    Raises
    ------
    InputRefusedError
        Where the folder holds no masks, or they lie aslant in the image.
    """

    def __init__(self, folder: Path, view: CaseView, threshold: float | Sequence[float]) -> None:
        self.folder, self.view = folder, view
        self._store = MaskStore.open(folder)
        self.classes = self._store.classes[:MOST_CLASSES]
        limits = np.broadcast_to(np.asarray(threshold, np.float64), len(self._store.classes))
        self.limits = limits[: len(self.classes)] * MOST
        self._axes = _axes(self._store.grid, view)
        self.scale = tuple(axis.scale for axis in self._axes)
        self.translate = tuple(axis.first for axis in self._axes)
        self.levels = [np.full([axis.size for axis in self._axes], UNSEEN, np.uint8)]
        while view.grid.ndim == 2 and (len(self.levels) == 1 or max(self.levels[-1].shape) > COARSEST):
            shape = [-(-size // 2) for size in self.levels[-1].shape]
            self.levels.append(np.full(shape, UNSEEN, np.uint8))
        self._todo: deque[Box] = deque()
        self._lock = threading.Lock()
        self._is_filling = False
        self._fill_blank()

    @property
    def share(self) -> float:
        """How much of the image the model has looked at, 0 … 1."""
        step = [max(1, size // 256) for size in self.levels[0].shape]
        sample = self.levels[0][tuple(slice(None, None, one) for one in step)]
        return float((sample != UNSEEN).mean()) if sample.size else 1.0

    @property
    def is_complete(self) -> bool:
        """Whether the model has looked at all of it, as the store said when it was read last."""
        return self._store.is_complete

    def boxes(self) -> list[Box]:
        """Return the parts of the store that hold something."""
        return [(box.start, box.stop) for box in self._store.boxes()]

    def renew(self) -> None:
        """Read again whether the store is complete, and what of it holds nothing."""
        self._store = MaskStore.open(self.folder)
        self._fill_blank()

    def add(self, boxes: Sequence[Box]) -> bool:
        """Put boxes of the store on the list; True where nobody is at it and :meth:`fill` is to be called."""
        with self._lock:
            self._todo.extend(boxes)
            is_idle, self._is_filling = not self._is_filling, True
        return is_idle

    def fill(self, told: Callable[[], None], now: Callable[[], float]) -> None:
        """Read what is on the list and draw it, until nothing is left; call it off the GUI thread.

        Parameters
        ----------
        told : callable
            Called now and then, and at the end: there is something new to draw.
        now : callable
            A clock in seconds.
        """
        last = now()
        for box in self._pending():
            self.draw(box)
            if now() - last > TOLD_SECONDS:
                last = now()
                told()
        told()

    def drop(self) -> None:
        """Let nothing more be read: nobody looks at it any more."""
        with self._lock:
            self._todo.clear()

    def draw(self, box: Box) -> None:
        """Read one box of the store, in voxels of it, and draw its labels; what cannot be read stays unseen."""
        try:
            values = self._store.read(*box)
        except InputRefusedError as error:
            if error.code == "partial":
                return
            raise
        self._put(self._labels(values), box)

    def _pending(self) -> Iterator[Box]:
        while True:
            with self._lock:
                if not self._todo:
                    self._is_filling = False
                    return
                box = self._todo.popleft()
            try:
                yield box
            except GeneratorExit:
                with self._lock:
                    self._is_filling = False
                raise

    def _labels(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        labels = np.zeros(values.shape[1:], np.uint8)
        best = np.zeros(values.shape[1:], np.uint8)
        for number, limit in enumerate(self.limits):
            own = np.where(values[number] >= limit, values[number], 0).astype(np.uint8)
            labels[own > best] = number + 1
            np.maximum(best, own, out=best)
        return labels

    def _fill_blank(self) -> None:
        blank = self._store.blank()
        for *others, first, last in _runs(blank):
            start = self._store.box((*others, first)).start
            stop = self._store.box((*others, last)).stop
            self._put(np.zeros([b - a for a, b in zip(start, stop, strict=True)], np.uint8), (start, stop))

    def _put(self, labels: NDArray[np.uint8], box: Box) -> None:
        """Put labels of the store's voxels into every level."""
        place: list[slice] = []
        for number, (axis, start, stop) in enumerate(zip(self._axes, *box, strict=True)):
            labels = _pooled(labels, number, axis.step)
            rows, cells = axis.cells(start, stop)
            place.append(rows)
            labels = np.take(labels, cells, axis=number)
        if not labels.size:
            return
        self.levels[0][tuple(place)] = labels
        for finer, coarser in zip(self.levels, self.levels[1:], strict=False):
            place = [slice(side.start // 2, -(-side.stop // 2)) for side in place]
            part = finer[tuple(slice(2 * side.start, 2 * side.stop) for side in place)]
            for number in range(part.ndim):
                part = _pooled(part, number, 2)
            coarser[tuple(place)] = part


class _Axis:
    """How one axis of a store lies along one of the image as shown.

    Parameters
    ----------
    size : int
        Voxels of the store.
    origin, pace : float
        The viewer's coordinate of the store's first voxel, and from one voxel to the next; negative where they run against
        one another.
    step : int
        How many voxels make a cell.
    slices : (int, float) or None
        How many slices the image has, and how far they are apart, where the cells are to lie in these.
    """

    def __init__(
        self, size: int, origin: float, pace: float, step: int, slices: tuple[int, float] | None
    ) -> None:
        self.step = step
        self._is_turned = pace < 0
        self._count = -(-size // step)
        whole = abs(pace) * step
        lowest = (
            origin + pace * (step - 1) / 2 + (pace * step * (self._count - 1) if self._is_turned else 0.0)
        )
        if slices is None:
            self.size, self.scale, self.first = self._count, whole, lowest
            self._nearest = np.arange(self._count)
        else:
            count, apart = slices
            nearest = np.rint((np.arange(count) * apart - lowest) / whole).astype(np.int64)
            within = np.flatnonzero((nearest >= 0) & (nearest < self._count))
            first = int(within[0]) if len(within) else 0
            self._nearest = nearest[within]
            self.size, self.scale, self.first = len(within), apart, first * apart
        if self._is_turned:
            self._nearest = self._count - 1 - self._nearest

    def cells(self, start: int, stop: int) -> tuple[slice, NDArray[np.int64]]:
        """Return which rows of the picture show voxels of a box, and the cell within the box that each of them shows."""
        first, last = start // self.step, -(-stop // self.step)
        within = np.flatnonzero((self._nearest >= first) & (self._nearest < last))
        rows = slice(int(within[0]), int(within[-1]) + 1) if len(within) else slice(0, 0)
        return rows, self._nearest[within] - first


def _axes(grid: Grid, view: CaseView) -> list[_Axis]:
    ndim = grid.ndim
    ends = view.to_display(grid.to_world(np.vstack([np.zeros(ndim), np.eye(ndim)])))
    paces = ends[1:] - ends[0]
    straight = np.diag(paces)
    aslant = np.abs(paces - np.diag(straight)).max(axis=1) * np.asarray(grid.shape)
    if ndim != view.grid.ndim or (aslant > np.abs(straight) * (0.5 + SLANT)).any():
        raise InputRefusedError(
            "The mask lies aslant in the image and cannot be drawn over it.", code="aslant",
            hint="Its outlines can be shown.",
        )  # fmt: skip
    step = 1
    while np.prod([-(-size // step) for size in grid.shape], dtype=np.float64) > MOST_CELLS:
        step *= 2
    axes = []
    for size, origin, pace, count, apart in zip(
        grid.shape, ends[0], straight, view.grid.shape, view.scale, strict=True
    ):
        is_finer = ndim == 3 and abs(pace) * step < apart
        axes.append(_Axis(size, float(origin), float(pace), step, (count, apart) if is_finer else None))
    return axes


def _runs(blank: NDArray[np.bool_]) -> Iterator[tuple[int, ...]]:
    """Yield the stretches of neighbours along the last axis: the numbers along the others, the first and the last."""
    for others in np.ndindex(*blank.shape[:-1]):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], blank[others].astype(np.int8), [0]])))
        for first, stop in edges.reshape(-1, 2).tolist():
            yield (*others, first, stop - 1)


def _pooled(labels: NDArray[np.uint8], axis: int, step: int) -> NDArray[np.uint8]:
    """Return the highest of each ``step`` labels along an axis; the last may be of fewer."""
    if step == 1:
        return labels
    whole = labels.shape[axis] // step * step
    if whole < labels.shape[axis]:
        return np.maximum.reduceat(labels, np.arange(0, labels.shape[axis], step), axis=axis)
    # several times as fast as to reduce: whole rows or columns are compared at once
    parts = [labels[(slice(None),) * axis + (slice(first, whole, step),)] for first in range(step)]
    pooled = np.maximum(parts[0], parts[1])
    for part in parts[2:]:
        np.maximum(pooled, part, out=pooled)
    return pooled


def colours_of(count: int, colours: Sequence[str], opacity: float) -> NDArray[np.float32]:
    """Return what each of the 256 labels is drawn in, (256, 4): classes in colours, what nobody looked at under a veil."""
    table = np.zeros((256, 4), np.float32)
    for number in range(1, count + 1):
        colour = colours[(number - 1) % len(colours)]
        table[number, :3] = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
        table[number, 3] = opacity
    table[UNSEEN] = VEIL
    return table


def colormap(count: int, colours: Sequence[str], opacity: float) -> Any:
    """Return the colours of labels as napari takes them."""
    from napari.utils import Colormap

    # a value lies in the middle of its bin, so that no driver takes one for its neighbour
    controls = np.concatenate([[0.0], (np.arange(255) + 0.5) / 255, [1.0]])
    return Colormap(colours_of(count, colours, opacity), name="mask", interpolation="zero", controls=controls)
