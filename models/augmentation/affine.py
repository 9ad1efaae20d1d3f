"""Rotations by any angle and scaling, with linear interpolation, about the middle of the image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.augmentation.carrying import carried
from napari_medlab.models.augmentation.symmetries import AXES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["Affine", "Rotate", "Zoom", "box_of_moved", "warped"]

OBJECTS = ("ellipsoid", "box")


def warped(sample: Sample, matrix: NDArray[Any], objects: str = "ellipsoid") -> Sample:
    """Return the sample moved by a linear map about the middle of its image, in the same shape.

    Parameters
    ----------
    sample : Sample
    matrix : float array (dims, dims)
        Takes a place before to the place after, both from the middle, in voxels and array order.
    objects : {"ellipsoid", "box"}
        What fills a box, so that its box after the move can be told exactly.
    """
    from scipy.ndimage import affine_transform

    middle = (np.asarray(sample.shape) - 1) / 2
    back = np.linalg.inv(matrix)
    offset = middle - back @ middle
    source = sample.image.astype(np.float32, copy=False)
    fill = float(source.min())
    image = np.stack(
        [affine_transform(c, back, offset, order=1, mode="grid-constant", cval=fill) for c in source]
    )
    mask = sample.mask
    if mask is not None:
        mask = np.stack(
            [affine_transform(c, back, offset, order=0, mode="grid-constant", cval=0) for c in mask]
        )
    return carried(sample, image, mask, box_of_moved(sample.boxes, matrix, middle, objects))


def box_of_moved(
    boxes: NDArray[Any], matrix: NDArray[Any], middle: NDArray[Any], objects: str = "ellipsoid"
) -> NDArray[np.float32]:
    """Return the boxes around objects that a linear map about ``middle`` has moved.

    Parameters
    ----------
    boxes : floating array (n, 2 · dims)
    matrix : float array (dims, dims)
    middle : float array (dims,)
    objects : {"ellipsoid", "box"}
        Lesions are round rather than square: the box of a ball that is turned by 45° is no larger than before, but
        that of a cube is 1.4 times as large.
    """
    dims = len(middle)
    centres = ((boxes[:, :dims] + boxes[:, dims:]) / 2 - middle) @ matrix.T + middle
    halves = (boxes[:, dims:] - boxes[:, :dims]) / 2
    reach = halves @ np.abs(matrix).T if objects == "box" else np.sqrt(halves**2 @ (matrix**2).T)
    moved: NDArray[np.float32] = np.concatenate([centres - reach, centres + reach], axis=1).astype(np.float32)
    return moved


@dataclass(frozen=True)
class Affine:
    """Rotation and scaling at once, so that the image is interpolated once only.

    Parameters
    ----------
    degrees : float
        The widest angle to either side, drawn evenly for each plane.
    scale : (least, greatest)
        Above 1 things grow; drawn evenly on a logarithmic scale, so that growing is as likely as shrinking.
    planes : sequence of str
        The planes that are turned, by their axes: ``"yx"`` alone is right where voxels are longer along z; with
        ``("zy", "zx", "yx")`` a volume turns any way.
    each_axis : bool
        Whether every axis is scaled by a factor of its own.
    objects : {"ellipsoid", "box"}
        What is taken to fill a box, see :func:`box_of_moved`.
    """

    degrees: float = 15.0
    scale: Sequence[float] = (0.8, 1.25)
    planes: Sequence[str] = ("yx",)
    each_axis: bool = False
    objects: str = "ellipsoid"

    def __post_init__(self) -> None:
        least, greatest = self.scale
        pairs = {a + b for a, b in product("zyx", repeat=2) if a != b}
        if not 0 < least <= greatest or not set(self.planes) <= pairs or self.objects not in OBJECTS:
            msg = (
                f"Scales rise from above 0, planes are two of z, y and x, objects one of {', '.join(OBJECTS)}; "
                f"got {self.scale}, {self.planes} and {self.objects!r}"
            )
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample turned and scaled."""
        dims = sample.dims
        low, high = np.log(self.scale)
        factors = np.exp(rng.uniform(low, high, dims if self.each_axis else 1))
        matrix = np.diag(np.broadcast_to(factors, dims))
        for plane in self.planes:
            matrix = _rotation(plane, rng.uniform(-self.degrees, self.degrees), dims) @ matrix
        return warped(sample, matrix, self.objects)


def _rotation(plane: str, degrees: float, dims: int) -> NDArray[np.float64]:
    letters = AXES[dims]
    if not set(plane) <= set(letters):
        msg = f"An image of {dims} dimensions has no plane {plane!r}."
        raise ValueError(msg)
    first, second = letters.index(plane[0]), letters.index(plane[1])
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(dims)
    matrix[[first, first, second, second], [first, second, first, second]] = [cosine, -sine, sine, cosine]
    return matrix


class Rotate(Affine):
    """Rotation by any angle up to ``degrees`` to either side, in the planes that are named."""

    def __init__(
        self, degrees: float = 15.0, planes: Sequence[str] = ("yx",), objects: str = "ellipsoid"
    ) -> None:
        super().__init__(degrees, (1.0, 1.0), planes, objects=objects)


class Zoom(Affine):
    """Scaling about the middle; the shape stays, what comes in from outside is the image's least value."""

    def __init__(self, scale: Sequence[float] = (0.8, 1.25), each_axis: bool = False) -> None:
        super().__init__(0.0, scale, each_axis=each_axis)
