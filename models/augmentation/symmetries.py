"""The symmetries of a square and a cube: exact, invertible, and carried by arrays, boxes, points and vectors alike."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations, product
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    Array = TypeVar("Array", NDArray[Any], torch.Tensor)

__all__ = ["GROUPS", "Symmetry", "by_name", "group"]

AXES = {2: "yx", 3: "zyx"}
GROUPS = ("cube", "cube rotations", "flips", "prism", "prism rotations", "square", "square rotations")
"""The names that :func:`group` knows."""


@dataclass(frozen=True)
class Symmetry:
    """A permutation of the spatial axes, then flips of some of them.

    The spatial axes are the last ``dims`` axes of an array; whatever comes before them (batch, channel) stays.
    Axis ``i`` of what comes out is axis ``permutation[i]`` of what went in, turned around where ``flips[i]``.

    Parameters
    ----------
    permutation : tuple of int
        Each of 0 … dims - 1 once.
    flips : tuple of bool, as long

    Raises
    ------
    ValueError
        Where these are no permutation or differ in length.
    """

    permutation: tuple[int, ...]
    flips: tuple[bool, ...]

    def __post_init__(self) -> None:
        if sorted(self.permutation) != list(range(len(self.flips))):
            msg = f"{self.permutation} does not name each of {len(self.flips)} axes once."
            raise ValueError(msg)

    @property
    def dims(self) -> int:
        """The number of spatial axes."""
        return len(self.permutation)

    @property
    def is_rotation(self) -> bool:
        """Whether it is proper: no mirror image."""
        swaps = sum(a > b for i, a in enumerate(self.permutation) for b in self.permutation[i + 1 :])
        return (swaps + sum(self.flips)) % 2 == 0

    @property
    def name(self) -> str:
        """The name that :func:`by_name` reads: a common one where there is one, else signed axes such as ``"z,-x,y"``."""
        for name in _COMMON[self.dims]:
            if _COMMON[self.dims][name] == self:
                return name
        axes = AXES[self.dims]
        return ",".join(
            ("-" if f else "") + axes[p] for p, f in zip(self.permutation, self.flips, strict=True)
        )

    @property
    def inverse(self) -> Symmetry:
        """The symmetry that undoes this one."""
        order = sorted(range(self.dims), key=self.permutation.__getitem__)
        return Symmetry(tuple(order), tuple(self.flips[axis] for axis in order))

    def compose(self, following: Symmetry) -> Symmetry:
        """Return the symmetry that does this one first, then ``following``."""
        return Symmetry(
            tuple(self.permutation[p] for p in following.permutation),
            tuple(self.flips[p] != f for p, f in zip(following.permutation, following.flips, strict=True)),
        )

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Return the spatial shape that an array of the given spatial shape gets."""
        return tuple(int(shape[p]) for p in self.permutation)

    def keeps(self, shape: Sequence[int]) -> bool:
        """Return whether an array of this spatial shape keeps it."""
        return self.shape(shape) == tuple(shape)

    def apply(self, array: Array) -> Array:
        """Return the array turned: a view where the library has views; (…, spatial axes), numpy or torch."""
        lead: int = array.ndim - self.dims
        order = (*range(lead), *(lead + p for p in self.permutation))
        turned = tuple(lead + axis for axis, flipped in enumerate(self.flips) if flipped)
        if isinstance(array, np.ndarray):
            return np.flip(array.transpose(order), turned)
        permuted = array.permute(order)
        return permuted.flip(turned) if turned else permuted

    def apply_vectors(self, vectors: Array) -> Array:
        """Return vectors (…, dims), in array order, as they are after turning; displacements, normals and the like."""
        signs = [-1.0 if flipped else 1.0 for flipped in self.flips]
        return cast("Array", vectors[..., list(self.permutation)] * _like(vectors, signs))

    def apply_points(self, points: Array, shape: Sequence[int]) -> Array:
        """Return index coordinates (…, dims) as they are after turning.

        Parameters
        ----------
        points : floating array or tensor (…, dims), 0 at a voxel's centre
        shape : the spatial shape of the array before it is turned
        """
        sizes = self.shape(shape)
        offsets = [n - 1.0 if flipped else 0.0 for n, flipped in zip(sizes, self.flips, strict=True)]
        return cast("Array", self.apply_vectors(points) + _like(points, offsets))

    def apply_boxes(self, boxes: Array, shape: Sequence[int]) -> Array:
        """Return boxes (…, 2 · dims), start corners then stop corners, as they are after turning.

        Parameters
        ----------
        boxes : floating array or tensor; the box of one voxel reaches 0.5 to each side
        shape : the spatial shape of the array before it is turned
        """
        first = self.apply_points(boxes[..., : self.dims], shape)
        second = self.apply_points(boxes[..., self.dims :], shape)
        # a flip exchanges the two ends of an axis
        columns = [axis + self.dims * flipped for axis, flipped in enumerate(self.flips)]
        columns += [axis + self.dims * (not flipped) for axis, flipped in enumerate(self.flips)]
        return cast("Array", _side_by_side(first, second)[..., columns])


def _like(array: NDArray[Any] | torch.Tensor, values: Sequence[float]) -> Any:  # noqa: ANN401 - of the array's library
    if isinstance(array, np.ndarray):
        return np.asarray(values, dtype=array.dtype)
    return array.new_tensor(values)


def _side_by_side(first: Any, second: Any) -> Any:  # noqa: ANN401 - of either library
    if isinstance(first, np.ndarray):
        return np.concatenate([first, second], axis=-1)
    import torch

    return torch.cat([first, second], dim=-1)


def _signed(dims: int) -> list[Symmetry]:
    orders = permutations(range(dims))
    return [Symmetry(order, flips) for order in orders for flips in product((False, True), repeat=dims)]


def group(name: str, dims: int) -> list[Symmetry]:
    """Return the elements of a group by its name, the identity first.

    Parameters
    ----------
    name : str
        ``"square"`` (8) and ``"square rotations"`` (4) in 2D; ``"cube"`` (48), ``"cube rotations"`` (24), ``"prism"``
        (16, which keep the z axis) and ``"prism rotations"`` (8) in 3D; ``"flips"`` (4 or 8) in both.
    dims : 2 or 3

    Raises
    ------
    InputRefusedError
        Where there is no such group in as many dimensions.
    """
    kind, _, proper = name.partition(" ")
    needed = {"square": 2, "cube": 3, "prism": 3, "flips": dims}.get(kind)
    if needed != dims or name not in GROUPS:
        raise InputRefusedError(
            f"There is no group of symmetries called {name!r} in {dims} dimensions; known are {', '.join(GROUPS)}.",
            code="unknown-symmetry",
            hint="Squares are of 2 dimensions, cubes and prisms of 3.",
        )
    members = _signed(dims)
    if kind == "prism":
        members = [m for m in members if m.permutation[0] == 0]
    if kind == "flips":
        members = [m for m in members if m.permutation == tuple(range(dims))]
    return [m for m in members if m.is_rotation or not proper]


def by_name(name: str, dims: int) -> Symmetry:
    """Return one symmetry by its name.

    Parameters
    ----------
    name : str
        ``"identity"``, ``"flip x"``, ``"flip y"``, ``"flip z"``, ``"rot90"``, ``"rot180"``, ``"rot270"`` (in the plane of y
        and x, as :func:`numpy.rot90` turns), ``"transpose"`` (y and x exchanged), ``"anti-transpose"``; or the axes as they
        come out, signed, such as ``"z,-x,y"``: the first axis is z, the second x turned around, the third y.
    dims : 2 or 3

    Raises
    ------
    InputRefusedError
        Where the name is none of these.
    """
    common = _COMMON.get(dims, {})
    if name in common:
        return common[name]
    letters = AXES.get(dims, "")
    parts = [part.strip() for part in name.split(",")]
    axes = [part.lstrip("+-") for part in parts]
    if sorted(axes) == sorted(letters) and all(re.fullmatch("[+-]?[zyx]", part) for part in parts):
        return Symmetry(tuple(letters.index(a) for a in axes), tuple(part.startswith("-") for part in parts))
    raise InputRefusedError(
        f"There is no symmetry called {name!r} in {dims} dimensions; known are {', '.join(sorted(common))}, "
        f"and signed axes such as {','.join(letters)}.",
        code="unknown-symmetry",
    )


def _common(dims: int) -> dict[str, Symmetry]:
    lead = tuple(range(dims - 2))
    kept, swapped = (*lead, dims - 2, dims - 1), (*lead, dims - 1, dims - 2)
    still = (False,) * len(lead)
    named = {
        "identity": Symmetry(kept, (*still, False, False)),
        "flip x": Symmetry(kept, (*still, False, True)),
        "flip y": Symmetry(kept, (*still, True, False)),
        "rot90": Symmetry(swapped, (*still, True, False)),
        "rot180": Symmetry(kept, (*still, True, True)),
        "rot270": Symmetry(swapped, (*still, False, True)),
        "transpose": Symmetry(swapped, (*still, False, False)),
        "anti-transpose": Symmetry(swapped, (*still, True, True)),
    }
    if dims == 3:
        named["flip z"] = Symmetry(kept, (True, False, False))
    return named


_COMMON = {2: _common(2), 3: _common(3)}
