"""The pixels of a case, lazy, with their geometry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import dask.array as da

    from napari_medlab.geometry import Grid

__all__ = ["Image", "ImageWarning", "Kind"]

Kind = Literal["volume", "slide", "mammogram", "photo"]


@dataclass(frozen=True)
class ImageWarning:
    """Something that the reader of an image should know, with a stable code for programs."""

    code: str
    message: str


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
    levels : tuple of dask arrays
        The pyramid, finest first. Each is (z, y, x) for volumes; (y, x) or (y, x, channel) for planar images.
        Volumes of CT hold Hounsfield units, rescale slope and intercept applied.
    grid : Grid
        The geometry of level 0; its unit is ``"px"`` where the pixel size is unknown.
    window : (low, high) or None
        The limits of brightness to begin with, in pixel values.
    is_rgb : bool
        Whether the last axis holds red, green and blue.
    warnings : tuple of ImageWarning
    details : dict
        What the window shows about the image and nothing else needs; no patient data.
    """

    path: Path
    kind: Kind
    modality: str
    levels: tuple[da.Array, ...]
    grid: Grid
    window: tuple[float, float] | None = None
    is_rgb: bool = False
    warnings: tuple[ImageWarning, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of level 0, channels included."""
        return tuple(int(size) for size in self.levels[0].shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel, which for CT is that of Hounsfield units."""
        dtype: np.dtype[Any] = np.dtype(self.levels[0].dtype)
        return dtype

    @property
    def estimated_bytes(self) -> int:
        """How much memory level 0 takes when it is decoded."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    def oriented(self) -> Image:
        """Return the same image with its array axes turned to run nearest to +S, +P, +L.

        Slices come out axial and no voxel changes. Planar images come back as they are.
        """
        from dataclasses import replace

        order, flips = self.grid.canonical_axes()
        if self.grid.ndim != 3 or (order == (0, 1, 2) and flips == (1, 1, 1)):
            return self
        index = tuple(slice(None, None, flip) for flip in flips)
        levels = tuple(level.transpose(order)[index] for level in self.levels)  # type: ignore[no-untyped-call]
        return replace(self, levels=levels, grid=self.grid.reordered(order, flips))

    def as_json(self) -> dict[str, Any]:
        """Return what ``napari-medlab inspect`` prints."""
        known = self.grid.unit != "px"
        return {
            "kind": self.kind,
            "modality": self.modality,
            "shape": list(self.shape),
            "dtype": str(self.dtype),
            "levels": [list(level.shape) for level in self.levels],
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
