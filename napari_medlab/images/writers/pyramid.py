"""A pyramid, written while it is read: each level is made from the blocks of the one above as these pass by."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.tiles import halved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.image import Image

    Box = tuple[slice, ...]

__all__ = ["Pyramid", "box_count", "boxes", "level_shapes"]

COARSEST = 1024
"""Levels are added until the longer side of the coarsest is at most this many pixels."""


class Pyramid:
    """The levels of an image, each half as high and as wide as the one above; stacks keep their depth.

    An image's own levels are used as long as each has the size that half the one above would have.

    Parameters
    ----------
    image : Image
    new_level : callable
        Takes the number and the shape of a level that the image lacks, and returns something to write it to and to
        read it from by slices.
    """

    def __init__(self, image: Image, new_level: Callable[[int, tuple[int, ...]], Any]) -> None:
        self.y_axis = image.grid.ndim - 2
        self.shapes = level_shapes(image.shape, self.y_axis)
        ready = itertools.takewhile(
            lambda pair: tuple(pair[0].shape) == pair[1], zip(image.levels, self.shapes, strict=False)
        )
        self._levels: list[Any] = [level for level, _ in ready]
        self._ready = len(self._levels)
        for number in range(self._ready, len(self.shapes)):
            self._levels.append(new_level(number, self.shapes[number]))

    def is_ready(self, number: int) -> bool:
        """Tell whether a level is the image's own."""
        return number < self._ready

    def blocks(self, number: int, wanted: Iterable[Box]) -> Iterator[NDArray[Any]]:
        """Read boxes of a level one after the other, and write the half of each to the next level where that is made.

        Boxes begin at even numbers along y and x. All boxes of a level have to pass before the next level is read.
        """
        below = number + 1
        is_made = below < len(self._levels) and not self.is_ready(below)
        for box in wanted:
            block = np.asarray(self._levels[number][box])
            if is_made:
                self._levels[below][self._half(box)] = halved(block, self.y_axis)
            yield block

    def _half(self, box: Box) -> Box:
        return tuple(
            slice(part.start // 2, -(-part.stop // 2)) if axis in (self.y_axis, self.y_axis + 1) else part
            for axis, part in enumerate(box)
        )


def level_shapes(shape: tuple[int, ...], y_axis: int) -> list[tuple[int, ...]]:
    """Return the shapes of all levels, finest first; halves are rounded up."""
    shapes = [shape]
    while max(shapes[-1][y_axis : y_axis + 2]) > COARSEST:
        height, width = shapes[-1][y_axis : y_axis + 2]
        shapes.append((*shape[:y_axis], -(-height // 2), -(-width // 2), *shape[y_axis + 2 :]))
    return shapes


def boxes(shape: Sequence[int], sides: Sequence[int], order: Sequence[int] | None = None) -> Iterator[Box]:
    """Cut a shape into boxes of at most the given sides.

    Parameters
    ----------
    shape, sides : sequences of int, axis by axis
    order : sequence of int, optional
        The axes from the slowest to the fastest; as they come where it is left out.
    """
    axes = tuple(range(len(shape)) if order is None else order)
    cuts = [
        [slice(at, min(at + sides[axis], shape[axis])) for at in range(0, shape[axis], sides[axis])]
        for axis in axes
    ]
    for parts in itertools.product(*cuts):
        yield tuple(parts[axes.index(axis)] for axis in range(len(shape)))


def box_count(shape: Sequence[int], sides: Sequence[int]) -> int:
    """Return how many boxes :func:`boxes` makes."""
    return math.prod(-(-size // side) for size, side in zip(shape, sides, strict=True))
