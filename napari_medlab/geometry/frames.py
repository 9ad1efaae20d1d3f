"""Where the voxels of an image lie: index to world and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Grid", "Unit"]

Unit = Literal["mm", "um", "px"]
"""The unit of world coordinates: millimetres, micrometres, or pixels where the pixel size is unknown."""

MIN_SPACING, MAX_SPACING = 1e-3, 1e5
ORTHOGONALITY = 1e-3
"""How far the cosine between two axes may be from 0 before a grid counts as sheared."""


@dataclass(frozen=True, eq=False)
class Grid:
    """The lattice on which an image is sampled.

    Parameters
    ----------
    shape : tuple of int
        Spatial sizes in array order, (z, y, x) or (y, x).
    affine : (n + 1, n + 1) float64 array
        Maps a homogeneous array index, (z, y, x, 1) or (y, x, 1), to world. Rows come out as (x, y, z) in LPS
        millimetres for volumes, and as (x, y) for planar images.
    unit : {"mm", "um", "px"}
        What one step in world means. ``"px"`` says that the physical size is unknown: it is never invented.

    Raises
    ------
    ImageRefusedError
        Where the matrix is not finite, not invertible, or has a spacing outside 0.001 to 100,000.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    unit: Unit = "mm"

    def __post_init__(self) -> None:
        n = len(self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (n + 1, n + 1) or not np.isfinite(affine).all():
            raise ImageRefusedError(
                f"The geometry is not usable: expected a finite {n + 1} × {n + 1} matrix, got\n{affine}.",
                code="affine",
                hint="The header is damaged; export the image again from its source.",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(size) for size in self.shape))
        spacing = np.asarray(self.spacing)
        if not ((spacing >= MIN_SPACING) & (spacing <= MAX_SPACING)).all() or not self._invertible():
            raise ImageRefusedError(
                f"The geometry is not usable: voxel spacing {spacing.tolist()} {self.unit} in array order.",
                code="spacing",
                hint="Spacings must be positive and axes independent; check the header.",
            )

    @classmethod
    def axis_aligned(
        cls, shape: ArrayLike, spacing: ArrayLike, origin: ArrayLike = (), unit: Unit = "mm"
    ) -> Grid:
        """Return the grid whose array axes run along +z, +y, +x of the world.

        Parameters
        ----------
        shape, spacing : sequences in array order, (z, y, x) or (y, x)
        origin : world position (x, y, z) or (x, y) of index 0; zeros where left out
        unit : unit of ``spacing`` and ``origin``
        """
        steps = np.asarray(spacing, dtype=np.float64)
        n = len(steps)
        affine = np.eye(n + 1)
        affine[:n, :n] = np.fliplr(np.diag(steps[::-1]))
        affine[:n, n] = np.zeros(n) if len(np.atleast_1d(origin)) == 0 else origin
        sizes = np.asarray(shape).astype(int).tolist()
        return cls(tuple(sizes), affine, unit)

    @property
    def ndim(self) -> int:
        """The number of spatial axes: 2 or 3."""
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance between neighbours along each array axis, in ``unit``, in array order."""
        return tuple(np.linalg.norm(self.affine[: self.ndim, : self.ndim], axis=0).tolist())

    @property
    def spacing_mm(self) -> tuple[float, ...]:
        """The spacing in millimetres, in array order.

        Raises
        ------
        ImageRefusedError
            Where the physical pixel size is unknown.
        """
        scale = {"mm": 1.0, "um": 1e-3}.get(self.unit)
        if scale is None:
            raise ImageRefusedError(
                "This image has no known pixel size, so nothing can be measured on it in millimetres.",
                code="unknown-spacing",
                hint="Say it when the image is added: napari-medlab project add DIR PATH --pixel-size 8 (µm; "
                "predict takes it, too), or write OME-TIFF with PhysicalSizeX.",
            )
        return tuple(step * scale for step in self.spacing)

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit vectors of the array axes as columns, (n, n), world rows (x, y[, z])."""
        matrix: NDArray[np.float64] = self.affine[: self.ndim, : self.ndim] / np.asarray(self.spacing)
        return matrix

    @property
    def is_orthogonal(self) -> bool:
        """Whether the array axes stand at right angles to one another."""
        off_diagonal = self.direction.T @ self.direction - np.eye(self.ndim)
        return bool(np.abs(off_diagonal).max() < ORTHOGONALITY)

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map array indices (..., n) to world coordinates (..., n), ordered (x, y[, z])."""
        points = np.asarray(index, dtype=np.float64)
        n = self.ndim
        world: NDArray[np.float64] = points @ self.affine[:n, :n].T + self.affine[:n, n]
        return world

    def to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Map world coordinates (..., n), ordered (x, y[, z]), to fractional array indices (..., n)."""
        points = np.asarray(world, dtype=np.float64)
        n = self.ndim
        index: NDArray[np.float64] = (points - self.affine[:n, n]) @ np.linalg.inv(self.affine[:n, :n]).T
        return index

    def contains(self, index: ArrayLike) -> NDArray[np.bool_]:
        """Tell which fractional indices (..., n) lie inside some voxel of the grid."""
        points = np.asarray(index, dtype=np.float64)
        inside = ((points >= -0.5) & (points < np.asarray(self.shape) - 0.5)).all(axis=-1)
        return np.asarray(inside)

    def canonical_axes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tell how to turn the array so that its axes run nearest to +S, +P, +L.

        Returns
        -------
        order : tuple of int
            ``array.transpose(order)`` has axes (z, y, x) in the patient's sense.
        flips : tuple of int
            +1 or -1 for each axis *after* the transposition.
        """
        if self.ndim != 3:
            return tuple(range(self.ndim)), (1,) * self.ndim
        remaining, order, flips = [0, 1, 2], [], []
        for world_axis in (2, 1, 0):
            best = max(remaining, key=lambda axis: abs(self.direction[world_axis, axis]))
            remaining.remove(best)
            order.append(best)
            flips.append(1 if self.direction[world_axis, best] >= 0 else -1)
        return tuple(order), tuple(flips)

    def reordered(self, order: tuple[int, ...], flips: tuple[int, ...]) -> Grid:
        """Return the grid of ``array.transpose(order)`` with axes reversed where ``flips`` is -1.

        No voxel moves: every one keeps its place in the world.
        """
        n = self.ndim
        step = np.zeros((n + 1, n + 1))
        step[n, n] = 1.0
        shape = tuple(self.shape[axis] for axis in order)
        for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
            step[old, new] = flip
            step[old, n] = 0 if flip > 0 else shape[new] - 1
        return Grid(shape, self.affine @ step, self.unit)

    def cropped(self, start: ArrayLike, shape: ArrayLike) -> Grid:
        """Return the grid of the box that begins at array index ``start`` and has ``shape``."""
        affine = np.array(self.affine)
        affine[: self.ndim, self.ndim] = self.to_world(start)
        return Grid(tuple(np.asarray(shape).astype(int).tolist()), affine, self.unit)

    def as_json(self) -> dict[str, Any]:
        """Return shape, affine and unit as plain JSON values."""
        return {"shape": list(self.shape), "affine": self.affine.tolist(), "unit": self.unit}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Grid:
        """Read what :meth:`as_json` wrote."""
        return cls(tuple(value["shape"]), np.asarray(value["affine"], dtype=np.float64), value["unit"])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return (
            self.shape == other.shape
            and self.unit == other.unit
            and np.array_equal(self.affine, other.affine)
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.unit, self.affine.tobytes()))

    def _invertible(self) -> bool:
        return abs(float(np.linalg.det(self.direction))) > 1e-6
