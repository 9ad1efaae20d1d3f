"""The pixels of a case, lazy, with their geometry."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.tiles import MemoryTiles, TileArray, Turned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import dask.array as da
    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images.tiles import TileSource

__all__ = ["Image", "ImageWarning", "Kind", "Window"]

Kind = Literal["volume", "slide", "mammogram", "photo"]


@dataclass(frozen=True)
class ImageWarning:
    """Something that the reader of an image should know, with a stable code for programs."""

    code: str
    message: str


@dataclass(frozen=True)
class Window:
    """Limits of brightness, in pixel values.

    Parameters
    ----------
    name : str
        Such as ``"lung"``; a DICOM header's own explanation, or empty.
    low, high : float
    curve : tuple of float
        Brightness, 0 to 1, at even steps from ``low`` to ``high`` where it is not a straight line (a VOI LUT).
    """

    name: str
    low: float
    high: float
    curve: tuple[float, ...] = ()


@dataclass(frozen=True)
class Image:
    """One image, opened: its header is read, none of its pixels decoded.

    Parameters
    ----------
    path : Path
        The file or folder that was opened.
    kind : {"volume", "slide", "mammogram", "photo"}
    modality : str
        The DICOM modality (``"CT"``), or ``""`` where it is unknown.
    sources : tuple of TileSource
        The pyramid, finest first, in tiles. Each is (z, y, x) for volumes; (y, x) or (y, x, channel) for planar
        images. Volumes of CT hold Hounsfield units, rescale slope and intercept applied; radiographs hold stored values.
    grid : Grid
        The geometry of level 0; its unit is ``"px"`` where the pixel size is unknown.
    windows : tuple of Window
        Limits of brightness to choose from, the one to begin with first; empty where the header states none.
    is_rgb : bool
        Whether the last axis holds red, green and blue.
    is_inverted : bool
        Whether high values are to be shown dark (MONOCHROME1); the values themselves are as stored.
    channel_names : tuple of str
        What the channels of the last axis are called; empty where they have no names.
    warnings : tuple of ImageWarning
    details : dict
        What the window shows about the image and nothing else needs, as JSON values; no patient data.
    decisions : Decisions
        The explicit choices by which it was opened.
    lineage : tuple of str
        What was done to the pixels on the way, such as resampling; empty where they are as in the file.
    """

    path: Path
    kind: Kind
    modality: str
    sources: tuple[TileSource, ...]
    grid: Grid
    windows: tuple[Window, ...] = ()
    is_rgb: bool = False
    is_inverted: bool = False
    channel_names: tuple[str, ...] = ()
    warnings: tuple[ImageWarning, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    decisions: Decisions = AS_IS
    lineage: tuple[str, ...] = ()

    @classmethod
    def of_arrays(
        cls,
        arrays: Sequence[NDArray[Any]],
        grid: Grid,
        *,
        kind: Kind = "volume",
        **rest: Any,  # noqa: ANN401 - fields
    ) -> Image:
        """Return an image of levels that are in memory already."""
        from pathlib import Path

        path = rest.pop("path", Path("memory"))
        return cls(
            path, kind, rest.pop("modality", ""), tuple(MemoryTiles(array) for array in arrays), grid, **rest
        )

    @cached_property
    def arrays(self) -> tuple[TileArray, ...]:
        """The levels as arrays that decode what is sliced, at once and in several threads."""
        return tuple(TileArray(source) for source in self.sources)

    @cached_property
    def levels(self) -> tuple[da.Array, ...]:
        """The levels as dask arrays, decoded when they are computed."""
        return tuple(array.as_dask() for array in self.arrays)

    @property
    def window(self) -> tuple[float, float] | None:
        """The limits of brightness to begin with, or None."""
        return (self.windows[0].low, self.windows[0].high) if self.windows else None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of level 0, channels included."""
        return tuple(int(size) for size in self.sources[0].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel, which for CT is that of Hounsfield units."""
        dtype: np.dtype[Any] = np.dtype(self.sources[0].dtype)
        return dtype

    @property
    def estimated_bytes(self) -> int:
        """How much memory level 0 takes when it is decoded."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def decoded(self) -> NDArray[Any]:
        """Return all of level 0 as an array; its tiles are not kept in the cache, as nobody asks for them again."""
        return self.arrays[0].read(..., keep=False)

    def oriented(self) -> Image:
        """Return the same image with its array axes turned to run nearest to +S, +P, +L.

        Slices come out axial and no voxel changes. Planar images come back as they are.
        """
        order, flips = self.grid.canonical_axes()
        if self.grid.ndim != 3 or (order == (0, 1, 2) and flips == (1, 1, 1)):
            return self
        sources = tuple(Turned(array, order, flips) for array in self.arrays)
        return replace(self, sources=sources, grid=self.grid.reordered(order, flips))

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab inspect`` prints."""
        known = self.grid.unit != "px"
        return {
            "kind": self.kind,
            "modality": self.modality,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "levels": [[int(size) for size in source.shape] for source in self.sources],
            "spacing": list(self.grid.spacing) if known else None,
            "unit": self.grid.unit,
            "affine": self._affine_4x4() if known else None,
            "frame": "LPS",
            "estimated_bytes": self.estimated_bytes,
            "warnings": [{"code": w.code, "message": w.message} for w in self.warnings],
        }

    def _affine_4x4(self) -> list[list[float]]:
        """Return the affine padded to 4 × 4: for planar images index (0, y, x, 1) to world (x, y, 0)."""
        affine = np.asarray(self.grid.affine)
        if self.grid.ndim == 2:
            padded = np.zeros((4, 4))
            padded[:2, 1:3] = affine[:2, :2]
            padded[:2, 3] = affine[:2, 2]
            padded[2, 0] = padded[3, 3] = 1.0
            affine = padded
        rounded: list[list[float]] = affine.tolist()
        return rounded
