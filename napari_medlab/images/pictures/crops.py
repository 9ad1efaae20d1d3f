"""Small pictures of places in images: three planes of a volume, one of everything else; and thumbnails of whole images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.geometry import index_at_level, level_factors
from napari_medlab.images.pictures.tones import MOST_CHANNELS, Tones, tones_of
from napari_medlab.images.tiles import MemoryTiles, TileArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image

__all__ = [
    "PADDING",
    "PLANES",
    "PlacePicture",
    "crop_planes",
    "crops_of_case",
    "is_mirrored",
    "side_around",
    "thumbnail",
]

PLANES = ("axial", "coronal", "sagittal")
PADDING = 64
"""The grey of what lies outside the image: neither air nor tissue."""
SIZE_PX = 128
LEAST_SIDE = {"mm": 40.0, "um": 150.0, "px": 96.0}
"""A picture shows at least this much around an object, by unit of the image."""
SIDES_PER_DIAMETER = 2.5
USUAL_SIDE = {"R": "right", "L": "left"}
"""Where the chest wall is of each breast, as exams hang."""


@dataclass(frozen=True, eq=False)
class PlacePicture:
    """What an image shows around one place, which lies in the middle of every plane.

    Parameters
    ----------
    planes : uint8 array (plane, y, x) or (plane, y, x, 3)
        Three planes of a volume in the order of ``PLANES``, the head up in the last two; one of any other image.
    pixel_size : float
        How far one pixel of the picture goes, in the unit of the image's grid.
    """

    planes: NDArray[np.uint8]
    pixel_size: float


def side_around(grid: Grid, diameter: float) -> float:
    """Return how much of an image to show around an object, in the unit of its grid; -1 is an unknown diameter."""
    return max(LEAST_SIDE[grid.unit], SIDES_PER_DIAMETER * diameter)


def crop_planes(
    image: Image,
    centre: ArrayLike,
    side: float,
    *,
    size_px: int = SIZE_PX,
    tones: Tones | None = None,
    stop: Callable[[], None] | None = None,
) -> PlacePicture:
    """Return the picture of a place; nothing is read but the tiles that it lies in.

    The planes of a volume run along its own axes, turned to lie nearest to the patient's, as the window shows them.
    Pixels are square: between slices that lie far apart, values are interpolated linearly. Mammograms hang as in the
    window, the chest wall of the right breast to the right.

    Parameters
    ----------
    image : Image
    centre : (x, y, z) or (x, y)
        In world coordinates.
    side : float
        Width and height of what is shown, in the unit of the image's grid.
    size_px : int
        Width and height of each plane in pixels.
    tones : Tones, optional
        From :func:`~napari_medlab.images.pictures.tones.tones_of`, which reads a little of the image where it has no window.
    stop : callable, optional
        Called before each tile is decoded; it raises where nobody wants the picture any more.
    """
    chosen = tones or tones_of(image)
    steps = side / size_px / np.asarray(image.grid.spacing)
    place = image.grid.to_index(np.asarray(centre, dtype=np.float64)[: image.grid.ndim])
    show = _volume_planes if image.kind == "volume" else _planar_plane
    return PlacePicture(show(image, place, steps, _Paper(size_px, chosen, stop)), side / size_px)


def crops_of_case(
    image: Image,
    centres: ArrayLike,
    sides: Sequence[float],
    *,
    size_px: int = SIZE_PX,
    stop: Callable[[], None] | None = None,
) -> Iterator[tuple[int, PlacePicture]]:
    """Yield (row, picture) of several places in one image, along the slices: each is decoded once.

    Parameters
    ----------
    image : Image
    centres : (n, 3) or (n, 2) float array
        In world coordinates, (x, y[, z]).
    sides : sequence of n floats
        As in :func:`crop_planes`.
    size_px, stop
        As in :func:`crop_planes`.
    """
    points = np.asarray(centres, dtype=np.float64)
    image = _decoded_once(image)
    tones = tones_of(image)
    index = image.grid.to_index(points[:, : image.grid.ndim])
    for row in np.lexsort(index.T[::-1]).tolist():
        if stop is not None:
            stop()
        yield row, crop_planes(image, points[row], sides[row], size_px=size_px, tones=tones, stop=stop)


def thumbnail(image: Image, size_px: int, *, stop: Callable[[], None] | None = None) -> NDArray[np.uint8]:
    """Return a small picture of an image: the middle axial slice of a volume, all of anything else.

    Parameters
    ----------
    image : Image
    size_px : int
        The longer side of the picture.
    stop
        As in :func:`crop_planes`.

    Returns
    -------
    uint8 array (y, x) or (y, x, 3)
    """
    tones = tones_of(image)
    image = image if image.kind == "volume" else _whole_view(image)
    order, flips = image.grid.canonical_axes()
    shown = image.grid.reordered(order, flips)
    extent = np.asarray(shown.spacing[-2:]) * shown.shape[-2:]
    pixel = float(extent.max()) / size_px
    sizes = np.maximum(1, np.rint(extent / pixel)).astype(int).tolist()
    rows, columns = (
        _Line((count - 1) / 2, count / size, size)
        for count, size in zip(shown.shape[-2:], sizes, strict=True)
    )
    if image.kind == "volume":
        lines = [_Line((shown.shape[0] - 1) // 2), rows, columns]
        block = _Block.around(image.arrays[0], lines, (order, flips), stop)
        return tones(block.sampled(lines)[0])
    lines = [rows, replace(columns, is_reversed=is_mirrored(image))]
    return tones(_Block.around(image.arrays[0], lines, (order, flips), stop).sampled(lines))


@dataclass(frozen=True)
class _Paper:
    """What a picture is made on: its side in pixels, its tones, and when to give up."""

    size_px: int
    tones: Tones
    stop: Callable[[], None] | None


@dataclass(frozen=True)
class _Line:
    """Where the pixels of a picture lie along one axis of an array: ``size`` of them around ``centre``, a ``step`` apart."""

    centre: float
    step: float = 1.0
    size: int = 1
    is_reversed: bool = False

    @property
    def parts(self) -> int:
        """How many values are averaged for each pixel, where pixels of the picture are larger than those of the array."""
        return max(1, round(self.step)) if self.size > 1 else 1

    @property
    def positions(self) -> NDArray[np.float64]:
        """The middles of the pixels, as indices."""
        return self._lattice(1)

    @property
    def fine(self) -> NDArray[np.float64]:
        """The middles of all parts of the pixels, as indices."""
        return self._lattice(self.parts)

    def inside(self, count: int) -> NDArray[np.bool_]:
        """Tell which pixels lie on an axis of ``count``."""
        at = self.positions
        return (at >= -0.5) & (at < count - 0.5)

    def _lattice(self, parts: int) -> NDArray[np.float64]:
        count = self.size * parts
        at: NDArray[np.float64] = self.centre + (np.arange(count, dtype=np.float64) - (count - 1) / 2) * (
            self.step / parts
        )
        return at[::-1] if self.is_reversed else at


@dataclass(frozen=True)
class _Block:
    """A piece of an array that lines run through.

    Parameters
    ----------
    pixels : float32 array, spatial axes first
    first : tuple of int
        The index in the whole array, as shown, of its first voxel.
    shape : tuple of int
        The spatial shape of the whole array, as shown.
    """

    pixels: NDArray[np.float32]
    first: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def around(
        cls, array: TileArray, lines: Sequence[_Line], turn: tuple[tuple[int, ...], tuple[int, ...]],
        stop: Callable[[], None] | None,
    ) -> _Block:  # fmt: skip
        """Read what lines, one along each axis as shown, run through; ``turn`` is how stored axes become shown ones."""
        order, flips = turn
        shape = tuple(array.shape[axis] for axis in order)
        stored: list[slice] = [slice(None)] * len(order)
        first = []
        for axis, flip, count, line in zip(order, flips, shape, lines, strict=True):
            at = line.fine
            low = int(np.clip(np.floor(at.min()), 0, count - 1))
            high = int(np.clip(np.ceil(at.max()) + 1, low + 1, count))
            first.append(low)
            stored[axis] = slice(low, high) if flip > 0 else slice(count - high, count - low)
        channels = (slice(0, MOST_CHANNELS),) if array.ndim > len(order) else ()
        read = array.read((*stored, *channels), stop=stop)
        turned = read.transpose((*order, *range(len(order), array.ndim)))
        pixels = turned[tuple(slice(None, None, flip) for flip in flips)]
        return cls(np.asarray(pixels, dtype=np.float32), tuple(first), shape)

    def sampled(self, lines: Sequence[_Line]) -> NDArray[np.float32]:
        """Return the values on a lattice of lines, linear between voxels and even beyond the last one."""
        values = self.pixels
        # the thinnest first, so that there is least to do for the others
        for axis in sorted(range(len(lines)), key=lambda number: lines[number].size):
            line = lines[axis]
            values = _interpolated(values, axis, line.fine - self.first[axis])
            if line.parts > 1:
                grouped = values.reshape(
                    *values.shape[:axis], line.size, line.parts, *values.shape[axis + 1 :]
                )
                values = grouped.mean(axis=axis + 1, dtype=np.float32)
        return values

    def outside(self, lines: Sequence[_Line]) -> NDArray[np.bool_]:
        """Tell which places of a lattice lie outside of the whole array."""
        inside = np.ones((1,) * len(lines), bool)
        for axis, (line, count) in enumerate(zip(lines, self.shape, strict=True)):
            along = [1] * len(lines)
            along[axis] = line.size
            inside = inside & line.inside(count).reshape(along)
        return ~inside


def _volume_planes(
    image: Image, place: NDArray[np.float64], steps: NDArray[np.float64], paper: _Paper
) -> NDArray[np.uint8]:
    """Return three planes; ``place`` and ``steps`` along the stored axes."""
    turn = order, flips = image.grid.canonical_axes()
    last = np.asarray(image.shape[:3]) - 1
    at = [
        float(place[axis] if flip > 0 else last[axis] - place[axis])
        for axis, flip in zip(order, flips, strict=True)
    ]
    across = [_Line(at[n], float(steps[order[n]]), paper.size_px) for n in range(3)]
    points = [_Line(centre) for centre in at]
    upwards = replace(across[0], is_reversed=True)
    block = _Block.around(image.arrays[0], across, turn, paper.stop)
    views: list[list[_Line]] = [
        [points[0], across[1], across[2]], [upwards, points[1], across[2]], [upwards, across[1], points[2]]
    ]  # fmt: skip
    return np.stack([_picture(block, lines, paper.tones, normal) for normal, lines in enumerate(views)])


def _planar_plane(
    image: Image, place: NDArray[np.float64], steps: NDArray[np.float64], paper: _Paper
) -> NDArray[np.uint8]:
    """Return the one plane of a planar image, from the coarsest level that is fine enough."""
    factors = level_factors([array.shape[:2] for array in image.arrays])
    fitting = [n for n, factor in enumerate(factors) if max(factor) <= float(steps.min()) * (1 + 1e-6)]
    level = max(fitting, default=0)
    centre = index_at_level(place, factors[level])
    rows, columns = (
        _Line(float(at), float(step / factor), paper.size_px)
        for at, step, factor in zip(centre, steps, factors[level], strict=True)
    )
    lines = [rows, replace(columns, is_reversed=is_mirrored(image))]
    block = _Block.around(image.arrays[level], lines, ((0, 1), (1, 1)), paper.stop)
    return _picture(block, lines, paper.tones, None)[np.newaxis]


def _picture(block: _Block, lines: list[_Line], tones: Tones, normal: int | None) -> NDArray[np.uint8]:
    """Return a plane in its tones, grey outside of the image."""
    values, outside = block.sampled(lines), block.outside(lines)
    if normal is not None:
        values, outside = values.squeeze(axis=normal), outside.squeeze(axis=normal)
    picture = tones(values)
    picture[outside] = PADDING
    return picture


def _interpolated(values: NDArray[np.float32], axis: int, at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return values at fractional indices along an axis."""
    last = values.shape[axis] - 1
    clipped = np.clip(at, 0, last)
    below = np.floor(clipped).astype(int)
    share = (clipped - below).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(values.ndim)])
    lower: NDArray[np.float32] = values.take(below, axis=axis)
    if not share.any():
        return lower
    upper: NDArray[np.float32] = values.take(np.minimum(below + 1, last), axis=axis)
    between: NDArray[np.float32] = lower + (upper - lower) * share
    return between


def _decoded_once(image: Image) -> Image:
    """Return an image that can only be decoded as a whole, and is too large for the cache of tiles, in memory."""
    array = image.arrays[0]
    if (
        array.tile != array.shape
        or image.estimated_bytes <= array.cache.limit_bytes
        or array.source.key is None
    ):
        return image
    return replace(image, sources=(MemoryTiles(image.decoded()), *image.sources[1:]))


def _whole_view(image: Image) -> Image:
    """Return a planar image with its coarsest level alone, or a preview of it where it would take long to make."""
    from napari_medlab.images.slides.overview import Overview
    from napari_medlab.images.slides.pyramids import with_pyramid

    pixels: NDArray[Any] = Overview(with_pyramid(image)).pixels
    factor = level_factors([image.shape[:2], pixels.shape[:2]])[1]
    affine = np.array(image.grid.affine)
    affine[:2, :2] *= factor
    grid = replace(image.grid, shape=pixels.shape[:2], affine=affine)
    return replace(image, sources=(MemoryTiles(pixels),), grid=grid)


def is_mirrored(image: Image) -> bool:
    """Tell whether a mammogram is shown with its sides changed, so that it hangs as readers are used to."""
    wall = str(image.details.get("chest_wall", ""))
    usual = USUAL_SIDE.get(str(image.details.get("laterality", ""))[:1], wall)
    return image.kind == "mammogram" and bool(wall) and wall != usual
