"""Which parts of a prepared image become samples: all of it, or tiles that overlap."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medlab.models.inference.skipping import Foreground

__all__ = ["MOST_VALUES", "holds_something", "tile_shape", "tile_starts"]

MOST_VALUES = 1 << 26
"""An image of more values than this is cut into tiles, even where nobody asks for them: 128 MB a sample."""
USUAL = {2: (1024, 1024), 3: (128, 192, 192)}


def tile_shape(
    shape: Sequence[int], channels: int, asked: Sequence[int], patch: Sequence[int]
) -> tuple[int, ...]:
    """Return how large the tiles of an image are: as large as it is where one is enough.

    Parameters
    ----------
    shape : of the prepared image
    channels : int
    asked : one size for all axes, one for each, or empty for tiles only where the image is too large
    patch : what the sampler cuts out of a sample; tiles that nobody asked for are no smaller. May be empty.

    Raises
    ------
    InputRefusedError
        Where the sizes asked for do not fit the image's axes.
    """
    dims = len(shape)
    if asked:
        sizes = tuple(asked) * dims if len(asked) == 1 else tuple(asked)
        if len(sizes) != dims or min(sizes) < 1:
            raise InputRefusedError(
                f"A tile has one size, or one for each of {dims} axes; got {', '.join(map(str, asked))}.",
                code="tile",
            )
    elif prod(shape) * channels <= MOST_VALUES:
        sizes = tuple(shape)
    else:
        sizes = tuple(np.maximum(USUAL[dims], patch if len(patch) == dims else 1).tolist())
    return tuple(min(size, side) for size, side in zip(sizes, shape, strict=True))


def tile_starts(
    shape: Sequence[int], tile: Sequence[int], overlap: float, *, is_shifted: bool = False
) -> list[tuple[int, ...]]:
    """Return where tiles begin that cover an image; the last along each axis ends where the image ends.

    Parameters
    ----------
    shape, tile : sizes in voxels, no tile larger than the image
    overlap : float, 0 … below 1
        The share of a tile that it has in common with its neighbour, at the least.
    is_shifted : bool
        Whether a second grid of tiles, half a step further along each axis, is added.
    """
    axes = [list(_along(side, size, overlap, 0)) for side, size in zip(shape, tile, strict=True)]
    starts = list(product(*axes))
    if is_shifted:
        moved = [list(_along(side, size, overlap, 1)) for side, size in zip(shape, tile, strict=True)]
        starts += list(product(*moved))
    return list(dict.fromkeys(starts))


def holds_something(foreground: Foreground | None, start: Sequence[int], shape: Sequence[int]) -> bool:
    """Tell whether a tile can hold anything but air or glass."""
    if foreground is None:
        return True
    stop = [a + size for a, size in zip(start, shape, strict=True)]
    return bool(foreground.along(0, start, stop, np.asarray([start[0], stop[0]])).any())


def _along(side: int, size: int, overlap: float, half_steps: int) -> Iterator[int]:
    """Yield where tiles begin along one axis; those of a grid that is half a step further lie between the ends."""
    step = max(1, int(size * (1 - overlap)))
    last = side - size
    if not half_steps or last == 0:
        yield from range(0, last, step)
        yield last
    else:
        yield from range(min(step // 2, last), last + 1, step)
