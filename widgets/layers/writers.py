"""File → Save Selected Layers: images and labels as files that other programs read, each where it lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.geometry import Grid
from napari_medlab.images.image import Image
from napari_medlab.images.tiles import TileArray, Turned, tile_box
from napari_medlab.images.writers import SUFFIXES, write_image
from napari_medlab.images.writers.pyramid import level_shapes
from napari_medlab.widgets.layers.streaming import StreamedLevel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.geometry import Unit
    from napari_medlab.images.tiles import TileSource

    LayerData = tuple[Any, dict[str, Any], str]

__all__ = [
    "write_metaimage", "write_nifti", "write_ome_tiff", "write_ome_tiff_channels", "write_ome_zarr",
    "write_ome_zarr_channels",
]  # fmt: skip

TILE = 1024
LOOK_MS = 100
SAME = 1e-6
"""How far two matrices may differ, relative to a voxel, and still be the same."""
MIRRORED = "shown mirrored"
NO_PLACE = "Where it lies in the patient is not known: it begins at the viewer's origin, with axes as shown."
SIZES_ONLY = "OME-TIFF holds sizes alone: where the volume lies in the patient is not in the file."
NARROWER = {"int64": np.int32, "uint64": np.uint32}
"""What numbers of labels are narrowed to for OME-TIFF, which has no 64 bits, as long as they fit."""


def write_nifti(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one layer as NIfTI; see :func:`write_ome_tiff`."""
    return _save(path, ".nii.gz", [_Shown.of(data, attributes)])


def write_metaimage(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one layer as MetaImage; see :func:`write_ome_tiff`."""
    return _save(path, ".mha", [_Shown.of(data, attributes)])


def write_ome_tiff(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one layer of an image or of labels as a pyramid in a new OME-TIFF.

    In a window whose events are being handled napari gets its answer at once, and goes on: the file is written in the
    background, with progress and a button to cancel it among napari's activities, and a notification tells of its end.
    What goes wrong is told there, too. Scripts wait until the file is complete, and get errors raised.

    Parameters
    ----------
    path : str
        What ends in none of the suffixes that are written gets the usual one.
    data : array or list of arrays
    attributes : dict
        The layer's settings, as napari hands them to writers.

    Returns
    -------
    list of str
        Where the file is, or will be.

    Raises
    ------
    MedlabError
        As :func:`~napari_medlab.images.writers.write_image`, and where a layer has axes or a place that no file can hold.
    """
    return _save(path, ".ome.tif", [_Shown.of(data, attributes)])


def write_ome_zarr(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write one layer as OME-Zarr; see :func:`write_ome_tiff`."""
    return _save(path, ".ome.zarr", [_Shown.of(data, attributes)])


def write_ome_tiff_channels(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write several planar layers as the channels of one OME-TIFF; see :func:`write_ome_tiff`."""
    return _save(path, ".ome.tif", [_Shown.of(data, attributes) for data, attributes, _ in layers])


def write_ome_zarr_channels(path: str, layers: Sequence[LayerData]) -> list[str]:
    """Write several planar layers as the channels of one OME-Zarr; see :func:`write_ome_tiff`."""
    return _save(path, ".ome.zarr", [_Shown.of(data, attributes) for data, attributes, _ in layers])


def _save(path: str, suffix: str, layers: list[_Shown]) -> list[str]:
    target = _named(Path(path), suffix)
    if not _has_window():
        write_image(_image_of(layers, target), target)
        return [str(target)]
    try:
        # a reader goes on painting while labels are written
        _write_in_background(
            _image_of([layer.frozen() for layer in layers], target), target, _remark(layers, target)
        )
    except MedlabError as error:
        from napari.utils.notifications import show_error

        show_error(
            str(error)
        )  # raised, or answered by nothing, it would come with a traceback or a second message
    return [str(target)]


def _named(path: Path, suffix: str) -> Path:
    """Return the path with a suffix that is written: napari's dialog adds none to a name without."""
    name = path.name.lower()
    if name.endswith(SUFFIXES):
        return path
    if suffix == ".ome.tif" and name.endswith((".tif", ".tiff")):
        return path.with_suffix(f".ome{path.suffix}")
    return path.with_name(path.name + suffix)


def _has_window() -> bool:
    import napari

    if napari.current_viewer() is None:
        return False
    from qtpy.QtCore import QThread

    return bool(QThread.currentThread().loopLevel())


def _write_in_background(image: Image, target: Path, remark: str) -> None:
    """Write an image in one of napari's workers: napari asks before it closes over one, and can end it."""
    from napari.qt.threading import create_worker
    from napari.utils.notifications import show_error, show_info
    from napari.utils.progress import cancelable_progress
    from qtpy.QtCore import QTimer

    bar = cancelable_progress(total=0, desc=f"Saving {target.name}", leave=False)
    writing = _Writing(image, target)
    worker = create_worker(writing, _start_thread=False)
    timer = QTimer()

    def look() -> None:
        writing.is_cancelled = bar.is_canceled or worker.abort_requested
        if writing.total:
            bar.total = writing.total
            bar.update(writing.done - bar.n)

    def over() -> None:
        timer.stop()
        bar.close()
        if writing.error is None:
            show_info(f"Saved {target}.{remark}")
        else:
            cancelled = isinstance(writing.error, MedlabError) and writing.error.code == "cancelled"
            (show_info if cancelled else show_error)(str(writing.error))

    timer.timeout.connect(look)
    timer.start(LOOK_MS)
    worker.finished.connect(over)
    worker.start()


class _Writing:
    """The writing of one file, to be called in a thread; napari shows its name where it asks before closing.

    An error is kept: where a worker raises one, napari 0.9.2 stumbles over it and takes the worker for busy for ever.
    """

    def __init__(self, image: Image, target: Path) -> None:
        self._image, self._target = image, target
        self.done = self.total = 0
        self.is_cancelled = False
        self.error: Exception | None = None

    def __str__(self) -> str:
        return f"saving {self._target}"

    def __call__(self) -> None:
        try:
            write_image(self._image, self._target, progress=self._count, cancel=lambda: self.is_cancelled)
        except Exception as error:  # noqa: BLE001 - told when the worker has finished
            self.error = error

    def _count(self, done: int, total: int) -> None:
        self.done, self.total = done, total


@dataclass(frozen=True, eq=False)
class _Shown:
    """A layer of an image or of labels, as a writer gets it.

    Parameters
    ----------
    levels : list of arrays
        Finest first; (z, y, x), (y, x) or (y, x, channel).
    attributes : dict
    ndim : int
        The number of axes in space.
    """

    levels: list[Any]
    attributes: dict[str, Any]
    ndim: int

    @classmethod
    def of(cls, data: Any, attributes: dict[str, Any]) -> _Shown:
        """Return a layer whose levels are all worth writing.

        The coarsest level of a streamed pyramid may still be a preview: the writer makes it from the one above.
        """
        levels = list(data) if attributes.get("multiscale") else [data]
        if isinstance(levels[0], StreamedLevel):
            levels = [level for level in levels if isinstance(level, StreamedLevel)]
        return cls(levels, attributes, len(levels[0].shape) - bool(attributes.get("rgb")))

    @property
    def name(self) -> str:
        return str(self.attributes.get("name", "layer"))

    @property
    def is_rgb(self) -> bool:
        return bool(self.attributes.get("rgb"))

    @property
    def is_labels(self) -> bool:
        return "contrast_limits" not in self.attributes and "rgb" not in self.attributes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of level 0 in space."""
        return tuple(int(size) for size in self.levels[0].shape[: self.ndim])

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(str(note) for note in _metadata(self.attributes).get("notes", ()))

    def frozen(self) -> _Shown:
        """Return the same layer with what a brush may change copied."""
        if not (self.is_labels and isinstance(self.levels[0], np.ndarray)):
            return self
        return replace(self, levels=[self.levels[0].copy()])

    def sources(self, *, narrow: bool) -> tuple[TileSource, ...]:
        """Return the levels in tiles; those of labels pick every other label, because a mean of two is a third."""
        dtype = np.dtype(self.levels[0].dtype)
        if dtype.kind == "b":
            dtype = np.dtype(np.uint8)
        if not self.is_labels:
            return tuple(_Tiles(level, dtype, self.ndim) for level in self.levels)
        if narrow:
            dtype = np.dtype(NARROWER.get(dtype.name, dtype))
        count = len(level_shapes(self.shape, self.ndim - 2))
        return tuple(_Tiles(self.levels[0], dtype, self.ndim, 2**number) for number in range(count))


def _image_of(layers: list[_Shown], target: Path) -> Image:
    """Return layers as one image, refused where its place cannot be written."""
    is_tiff = target.name.lower().endswith((".tif", ".tiff"))
    images = [_single(layer, target, narrow=is_tiff) for layer in layers]
    return images[0] if len(images) == 1 else _channels(images, layers)


def _single(layer: _Shown, target: Path, *, narrow: bool) -> Image:
    if layer.ndim not in (2, 3) or (layer.is_rgb and layer.ndim == 3):
        what = " with colours" if layer.is_rgb else ""
        raise _refused(
            f"“{layer.name}” has {layer.ndim} axes{what}; volumes with one value a voxel and planar images are written.",
            "Save a part of it, or a single time point.",
        )
    grid = _grid_of(layer, target)
    sources, lineage = layer.sources(narrow=narrow), layer.notes
    if layer.ndim == 2 and (flips := _flips(grid)) != (1, 1):
        # formats of slides know no mirror images, so that all are written as they were before they were hung
        order, all_flips = ((0, 1, 2), (*flips, 1)) if layer.is_rgb else ((0, 1), flips)
        sources = tuple(Turned(TileArray(source), order, all_flips) for source in sources)
        grid = grid.reordered((0, 1), flips)
        lineage = tuple(note for note in lineage if not note.startswith(MIRRORED))
    kind = "volume" if layer.ndim == 3 else "slide"
    return Image(target, kind, "", sources, grid, is_rgb=layer.is_rgb, lineage=lineage)  # type: ignore[arg-type]


def _channels(images: list[Image], layers: list[_Shown]) -> Image:
    first = images[0]
    if first.grid.ndim != 2 or any(image.is_rgb for image in images):
        raise _refused(
            "Only planar images of one value a pixel are written as channels of one file.",
            "Save them one by one.",
        )
    for image, layer in zip(images[1:], layers[1:], strict=True):
        if (image.shape, image.dtype, image.grid.unit) != (
            first.shape,
            first.dtype,
            first.grid.unit,
        ) or not _alike(image.grid.affine, first.grid.affine, min(first.grid.spacing)):
            raise _refused(
                f"“{layer.name}” is no channel of “{layers[0].name}”: {image.shape} of {image.dtype} against {first.shape} of "
                f"{first.dtype}, at {image.grid.spacing} against {first.grid.spacing} {first.grid.unit}, or elsewhere.",
                "Save them one by one.",
            )
    ready = list(zip(*(image.sources for image in images), strict=False))
    same = [level for level in ready if len({tuple(source.shape) for source in level}) == 1]
    stacked = tuple(_Stacked(level) for level in (same if len(same) == len(ready) else ready[:1]))
    notes = tuple(dict.fromkeys(note for image in images for note in image.lineage))
    return replace(first, sources=stacked, channel_names=tuple(layer.name for layer in layers), lineage=notes)


def _remark(layers: list[_Shown], target: Path) -> str:
    """Return what is to be known about a file that holds less than the window shows, or than one may think."""
    layer = layers[0]
    found = [note for note in layer.notes if note.startswith("Every ")]
    if layer.ndim == 3 and target.name.lower().endswith((".tif", ".tiff")):
        found.append(SIZES_ONLY)
    elif layer.ndim == 3 and _place_of(layer, _unit_of(layer)[0]) is None:
        found.append(NO_PLACE)
    return "".join(f"\n{line}" for line in found)


def _grid_of(layer: _Shown, target: Path) -> Grid:
    """Return where the voxels of a layer lie.

    What was opened here says where its array lies in the patient, and so do images of the same grid beside it, which
    labels and filtered images come from. What was done to the layer since (moved, cropped, scaled) goes on top.
    Otherwise the axes of the viewer, (z, y, x), are taken for the patient's.
    """
    unit, factors = _unit_of(layer)
    matrix = _matrix_of(layer.attributes, layer.ndim)
    matrix[:-1] *= factors[:, None]
    linear = matrix[:-1, :-1]
    is_straight = _alike(linear, np.diag(np.diag(linear)), np.abs(linear).max())
    if not (is_straight and (layer.ndim == 2 or (np.diag(linear) > 0).all())) and _drops_turns(
        target, layer.ndim, unit
    ):
        raise _refused(
            f"“{layer.name}” is turned, and {target.name} would not say how.",
            "Reset its transformation first, or save it as .nii.gz or .mha with a known pixel size.",
        )
    place = _place_of(layer, unit)
    affine = np.vstack([matrix[:-1][::-1], matrix[-1:]]) if place is None else _placed(place, matrix)
    grid = Grid(layer.shape, affine, unit)
    if not grid.is_orthogonal:
        raise _refused(
            f"“{layer.name}” is sheared, which other programs do not read.", "Reset its transformation first."
        )
    return grid


@dataclass(frozen=True, eq=False)
class _Place:
    """How the viewer's coordinates lie in the patient: where an image that was opened here lies in both."""

    grid: Grid
    hung_at: NDArray[np.float64]
    """Where a planar image hangs beside others, (y, x): that is no place. Zeros for volumes, whose moves are meant."""


def _placed(place: _Place, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix from index to world of what ``matrix`` puts into the viewer."""
    shown = np.diag([*place.grid.spacing, 1.0])
    moved = matrix.copy()
    moved[:-1, -1] -= place.hung_at
    if _alike(moved, shown, min(place.grid.spacing)):
        return np.array(place.grid.affine)
    affine: NDArray[np.float64] = place.grid.affine @ np.linalg.inv(shown) @ moved
    return affine


def _place_of(layer: _Shown, unit: Unit) -> _Place | None:
    """Return the place that a layer states, or the one that images of the same grid beside it agree on."""
    own = _stated(layer.attributes, layer.ndim, unit)
    if own is not None:
        return own
    beside = _beside(layer, unit)
    known = _different([place for place, _ in beside])
    if len(known) > 1:  # the one that is looked at is meant
        known = _different([place for place, is_visible in beside if is_visible])
    if len(known) > 1 or (beside and not known):
        raise _refused(
            f"{len(known) or len(beside)} images have the grid of “{layer.name}” and lie in different places: it may belong "
            "to any of them.",
            "Leave only the one visible that it belongs to.",
        )
    return known[0] if known else None


def _beside(layer: _Shown, unit: Unit) -> list[tuple[_Place, bool]]:
    """Return the places of the current viewer's layers of the same grid, and whether each of them is visible."""
    import napari

    viewer = napari.current_viewer()
    matrix = _matrix_of(layer.attributes, layer.ndim)
    found = []
    for other in viewer.layers if viewer is not None else ():
        attributes = {
            name: getattr(other, name)
            for name in ("affine", "metadata", "rotate", "scale", "shear", "translate")
        }
        place = _stated(attributes, layer.ndim, unit)
        if place is None or other.ndim != layer.ndim or not hasattr(other, "multiscale"):
            continue
        shape = tuple((other.data[0] if other.multiscale else other.data).shape[: layer.ndim])
        if shape == layer.shape and _alike(
            _matrix_of(attributes, layer.ndim), matrix, min(place.grid.spacing)
        ):
            found.append((place, bool(other.visible)))
    return found


def _different(places: list[_Place]) -> list[_Place]:
    kept: list[_Place] = []
    for place in places:
        if not any(_alike(place.grid.affine, known.grid.affine, min(known.grid.spacing)) for known in kept):
            kept.append(place)
    return kept


def _metadata(attributes: dict[str, Any]) -> dict[str, Any]:
    found = attributes.get("metadata")
    return found if isinstance(found, dict) else {}


def _stated(attributes: dict[str, Any], ndim: int, unit: Unit) -> _Place | None:
    """Return the place that the metadata of a layer states, in the unit of the layer; anybody may have written them."""
    metadata = _metadata(attributes)
    if metadata.get("unit") != unit:
        return None
    try:
        grid = Grid((1,) * ndim, np.asarray(metadata["affine_lps"], dtype=np.float64), unit)
    except (KeyError, TypeError, ValueError):  # a refusal of the grid is one of them
        return None
    moved = np.asarray(attributes.get("translate", np.zeros(ndim)), dtype=np.float64)
    return _Place(grid, moved if ndim == 2 else np.zeros(ndim))


def _matrix_of(attributes: dict[str, Any], ndim: int) -> NDArray[np.float64]:
    """Return the matrix from index to the viewer's world, both in array order, that a layer's settings make."""
    from napari.utils.transforms import Affine

    given = {
        name: attributes[name]
        for name in ("scale", "translate", "rotate", "shear")
        if attributes.get(name) is not None
    }
    inner = Affine(**{"scale": (1.0,) * ndim, "translate": (0.0,) * ndim, **given}, ndim=ndim).affine_matrix
    outer = attributes.get("affine")
    outer = np.eye(ndim + 1) if outer is None else np.asarray(getattr(outer, "affine_matrix", outer))
    matrix: NDArray[np.float64] = np.asarray(outer @ inner, dtype=np.float64)
    return matrix


def _unit_of(layer: _Shown) -> tuple[Unit, NDArray[np.float64]]:
    """Return the unit of a layer's world, and what each of its axes is to be multiplied by to be in it."""
    import pint

    units = layer.attributes.get("units") or "pixel"
    units = (units,) * layer.ndim if isinstance(units, str | pint.Unit) else tuple(units)
    registry: Any = pint.get_application_registry()  # type: ignore[no-untyped-call]
    steps = [registry.Quantity(1.0, str(unit)) for unit in units]
    if all(str(step.units) == "pixel" for step in steps):
        return "px", np.ones(layer.ndim)
    if not all(step.check("[length]") for step in steps):
        raise _refused(
            f"The axes of “{layer.name}” are in {', '.join(str(step.units) for step in steps)}.",
            "Give all of them a length, or all of them pixels.",
        )
    unit: Unit = "um" if all(str(step.units) == "micrometer" for step in steps) else "mm"
    return unit, np.asarray([step.to(unit).magnitude for step in steps])


def _flips(grid: Grid) -> tuple[int, int]:
    """Return along which axes a planar image is mirrored; (1, 1) for one that is turned."""
    steps = grid.affine[:2, :2][::-1]
    if not _alike(steps, np.diag(np.diag(steps)), min(grid.spacing)):
        return 1, 1
    return (1 if steps[0, 0] > 0 else -1), (1 if steps[1, 1] > 0 else -1)


def _drops_turns(target: Path, ndim: int, unit: Unit) -> bool:
    """Tell whether a file would not say how an image is turned."""
    name = target.name.lower()
    return unit == "px" or name.endswith((".tif", ".tiff")) or (ndim == 2 and name.endswith(".zarr"))


def _alike(one: NDArray[np.float64], other: NDArray[np.float64], voxel: float) -> bool:
    return bool(np.abs(one - other).max() <= SAME * voxel)


def _refused(message: str, hint: str) -> InputRefusedError:
    return InputRefusedError(message, code="unsupported-output", hint=hint)


class _Tiles:
    """Whatever napari shows, in tiles.

    Parameters
    ----------
    data : array-like
        NumPy, dask, zarr, or a streamed level, which is read past its cache.
    dtype : numpy dtype
        What the pixels become; refused where they do not fit.
    ndim : int
        The number of axes in space.
    step : int
        Of how many pixels along y and x one is taken.
    """

    key = None

    def __init__(self, data: Any, dtype: np.dtype[Any], ndim: int, step: int = 1) -> None:
        self.dtype, self._data = dtype, data
        self._steps = tuple(step if axis in (ndim - 2, ndim - 1) else 1 for axis in range(len(data.shape)))
        self.shape = tuple(-(-int(size) // by) for size, by in zip(data.shape, self._steps, strict=True))
        self.tile = tuple(min(pair) for pair in zip(_sides(data, ndim), self.shape, strict=True))

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one tile, with the true pixels."""
        box = tuple(
            slice(side.start * by, min(side.stop * by, int(size)), by)
            for side, by, size in zip(tile_box(self, index), self._steps, self._data.shape, strict=True)
        )
        is_streamed = isinstance(self._data, StreamedLevel) and self._data.array.ndim == len(box)
        pixels = np.asarray(self._data.array.read(box, keep=False) if is_streamed else self._data[box])
        if pixels.dtype.kind in "iu" and pixels.dtype.itemsize > self.dtype.itemsize and pixels.size:
            limits = np.iinfo(self.dtype)
            if pixels.min() < limits.min or pixels.max() > limits.max:
                raise _refused(
                    f"Labels reach from {pixels.min()} to {pixels.max()}, and OME-TIFF holds {limits.min} to {limits.max}.",
                    "Save them as .ome.zarr or .nii.gz.",
                )
        return pixels.astype(self.dtype, copy=False)


def _sides(data: Any, ndim: int) -> tuple[int, ...]:
    """Return the sides of tiles that are read at once: whole planes of volumes, and whole chunks where there are any."""
    if ndim == 3:
        return (_chunk(data, 0) or 1, int(data.shape[1]), int(data.shape[2]))
    sides = [(chunk := _chunk(data, axis) or TILE) * max(1, TILE // chunk) for axis in (0, 1)]
    return (*sides, *(int(size) for size in data.shape[2:]))


def _chunk(data: Any, axis: int) -> int:
    """Return how long chunks are along an axis; 0 where there are none."""
    chunks: Any = data.array.tile if isinstance(data, StreamedLevel) else getattr(data, "chunks", None)
    if not chunks:
        return 0
    return int(chunks[axis][0] if isinstance(chunks[axis], tuple) else chunks[axis])


class _Stacked:
    """Planar sources as the channels of one, (y, x, channel)."""

    key = None

    def __init__(self, sources: Sequence[TileSource]) -> None:
        self.shape = (*sources[0].shape, len(sources))
        self.tile = (*sources[0].tile, 1)
        self.dtype: np.dtype[Any] = np.dtype(sources[0].dtype)
        self._arrays = [TileArray(source) for source in sources]

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one tile of one channel."""
        rows, columns, _ = tile_box(self, index)
        return self._arrays[index[2]][rows, columns][..., None]
