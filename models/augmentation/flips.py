"""Exact moves: flips, the symmetries of a square and a cube, and translation by whole voxels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.models.augmentation.carrying import shifted
from napari_medlab.models.augmentation.symmetries import AXES, Symmetry, by_name, group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.training.samples import Sample

__all__ = ["Flip", "Symmetries", "Translate", "turned"]


def turned(sample: Sample, symmetry: Symmetry) -> Sample:
    """Return the sample with its image, mask and boxes turned, exactly."""
    mask = None if sample.mask is None else np.ascontiguousarray(symmetry.apply(sample.mask))
    image = np.ascontiguousarray(symmetry.apply(sample.image))
    return replace(sample, image=image, mask=mask, boxes=symmetry.apply_boxes(sample.boxes, sample.shape))


@dataclass(frozen=True)
class Flip:
    """Turns each of the named axes around half of the time; all axes where none is named."""

    axes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in self.axes:
            by_name(f"flip {name}", 3)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample flipped."""
        letters = AXES[sample.dims]
        chosen = [(not self.axes or letter in self.axes) and rng.random() < 0.5 for letter in letters]
        return turned(sample, Symmetry(tuple(range(sample.dims)), tuple(bool(c) for c in chosen)))


@dataclass(frozen=True)
class Symmetries:
    """One of the symmetries of a group, each as often as any other that keeps the image's shape.

    Parameters
    ----------
    group : str
        As :func:`~napari_medlab.models.augmentation.symmetries.group` names them, such as ``"cube rotations"`` (24) or
        ``"prism"`` (those that keep z, for voxels that are longer along it); empty for all of a square or a cube.
    names : sequence of str
        Single symmetries by name instead, such as ``("identity", "rot180")``.
    """

    group: str = ""
    names: Sequence[str] = ()
    _members: dict[int, list[Symmetry]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample turned."""
        possible = [each for each in self._of(sample.dims) if each.keeps(sample.shape)]
        return turned(sample, possible[rng.integers(len(possible))]) if possible else sample

    def _of(self, dims: int) -> list[Symmetry]:
        if dims not in self._members:
            whole = self.group or {2: "square", 3: "cube"}[dims]
            self._members[dims] = [by_name(n, dims) for n in self.names] if self.names else group(whole, dims)
        return self._members[dims]


@dataclass(frozen=True)
class Translate:
    """Moves what is seen by whole voxels; what comes in from outside is the image's least value.

    Parameters
    ----------
    most : int, or one for each spatial axis
        The farthest move along an axis, in voxels.
    """

    most: int | Sequence[int]

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample moved."""
        reach = np.broadcast_to(np.asarray(self.most, dtype=int), sample.dims)
        start = rng.integers(-reach, reach + 1)
        return shifted(sample, start.tolist(), sample.shape, float(sample.image.min()))
