"""What is known to lie on a case, as networks learn it: boxes, classes and masks on the lattice that they see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import rings_to_mask
from napari_medlab.models.predicting.outlines import moved_rings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import FindingTable, Region
    from napari_medlab.geometry import Grid

    Rings = tuple[NDArray[np.float64], ...]

__all__ = ["ClassRule", "KnownObject", "Lattices", "known_objects", "painted"]

USUAL_MM = 10.0
"""How large an object that does not count is taken to be where nobody measured it, as packages of hard examples do."""


@dataclass(frozen=True)
class ClassRule:
    """Which class a label is, and what becomes of labels that are none.

    Parameters
    ----------
    classes : tuple of str
        Of the configuration.
    first : int
        The number of the first of them: 1 for a classifier of one class, whose 0 is none.
    other : {"refuse", "ignore"}
        Whether objects of other labels are refused, or are neither lesion nor background.
    is_one : bool
        Whether all classes are one to the network, which tells lesion from none. Where there is but one by name, it takes
        objects of any label.
    """

    classes: tuple[str, ...]
    first: int = 0
    other: Literal["refuse", "ignore"] = "refuse"
    is_one: bool = False

    def number_of(self, label: str) -> int | None:
        """Return the number of a label's class; None for one that is to be ignored."""
        if self.is_one:
            return self.first if label in self.classes or len(self.classes) == 1 else None
        return self.classes.index(label) + self.first if label in self.classes else None

    def check(self, labels: Iterable[str]) -> None:
        """Refuse labels that are no class, unless they are to be ignored.

        Raises
        ------
        InputRefusedError
            With code ``"classes"`` and their names.
        """
        strange = sorted({*labels} - {*self.classes})
        if strange and self.other == "refuse":
            raise InputRefusedError(
                f"The reference holds {', '.join(map(repr, strange))}; the configuration knows {', '.join(self.classes)}.",
                code="classes",
                hint="Add the class to the configuration, or ignore what is of other classes (--other ignore).",
            )


@dataclass(frozen=True, eq=False)
class KnownObject:
    """One object of the reference.

    Parameters
    ----------
    box : float64 array (2 · dims,)
        Starts, then stops, as indices of the lattice.
    number : int
        Of its class; 0 where it is ignored and of no class.
    is_ignored : bool
    outlines : tuple of rings
        Of each region that outlines it, as indices of the lattice; empty where it is not outlined.
    """

    box: NDArray[np.float64]
    number: int
    is_ignored: bool
    outlines: tuple[Rings, ...] = ()


@dataclass(frozen=True)
class Lattices:
    """That of the image, in whose indices outlines are, and that which the network sees."""

    image: Grid
    seen: Grid


def known_objects(
    findings: FindingTable, regions: Sequence[Region], lattices: Lattices, rule: ClassRule
) -> tuple[list[KnownObject], int]:
    """Return the objects of a case, and how many of them were ignored because nobody said how large they are.

    An outlined finding has the box of its outlines, which is exact; any other the box around its centre that has its
    diameter. An outline that belongs to no finding is an object of its own.

    Parameters
    ----------
    findings : of the case, those that are not to count as excluded
    regions : of the case, each owned by one of the findings, or by none
    lattices : Lattices
    rule : ClassRule

    Raises
    ------
    InputRefusedError
        Where an outline is of a class that is refused.
    """
    owned: dict[str, list[Region]] = {}
    for region in regions:
        if region.rings:
            owned.setdefault(region.owner_id, []).append(region)
    alone = owned.pop("", [])
    rule.check(region.label for region in alone)
    objects, unmeasured = [], 0
    for row, finding_id in enumerate(findings.ids.tolist()):
        number = rule.number_of(str(findings.labels[row]))
        is_ignored = bool(findings.is_excluded[row]) or number is None
        outlines = owned.get(finding_id, [])
        diameter = float(findings.diameters[row])
        if outlines:
            box = _box_of_rings(outlines, lattices)
        else:
            is_measured = diameter > 0
            unmeasured += not is_measured and not is_ignored
            is_ignored |= not is_measured
            box = _box_around(
                findings.centres[row], diameter if is_measured else _usual(lattices.seen), lattices.seen
            )
        objects.append(KnownObject(box, number or 0, is_ignored, _moved(outlines, lattices)))
    for region in alone:
        number = rule.number_of(region.label)
        objects.append(
            KnownObject(
                _box_of_rings([region], lattices), number or 0, number is None, _moved([region], lattices)
            )
        )
    return objects, unmeasured


def painted(
    objects: Iterable[KnownObject], start: Sequence[int], shape: Sequence[int], classes: int
) -> NDArray[np.uint8]:
    """Return the masks (class, …shape) of the outlined objects that count, of the part of the lattice from ``start`` on.

    Regions of one class are united; within a region, a ring inside another is a hole.
    """
    mask = np.zeros((classes, *shape), np.uint8)
    for one in objects:
        if not one.is_ignored:
            for rings in one.outlines:
                _paint(mask[one.number], rings, np.asarray(start, np.float64))
    return mask


def _paint(mask: NDArray[np.uint8], rings: Rings, start: NDArray[np.float64]) -> None:
    """Set what rings enclose; ``start`` is the index of the mask's first voxel."""
    planes: Mapping[int | None, list[NDArray[np.float64]]] = _by_plane(rings)
    for z, flat in planes.items():
        row = None if z is None else z - int(start[0])
        if row is not None and not 0 <= row < len(mask):
            continue
        plane = mask if row is None else mask[row]
        own = [ring - start[-2:] for ring in flat]
        every = np.concatenate(own)
        low = np.clip(np.floor(every.min(axis=0)).astype(int), 0, plane.shape)
        high = np.clip(np.ceil(every.max(axis=0)).astype(int) + 1, 0, plane.shape)
        if (high > low).all():
            inside = rings_to_mask(
                [ring - low for ring in own], (int(high[0] - low[0]), int(high[1] - low[1]))
            )
            plane[low[0] : high[0], low[1] : high[1]] |= inside.astype(np.uint8)


def _by_plane(rings: Rings) -> dict[int | None, list[NDArray[np.float64]]]:
    planes: dict[int | None, list[NDArray[np.float64]]] = {}
    for ring in rings:
        planes.setdefault(round(float(ring[0, 0])) if ring.shape[1] == 3 else None, []).append(ring[:, -2:])
    return planes


def _box_around(centre: NDArray[np.float64], diameter: float, seen: Grid) -> NDArray[np.float64]:
    index = seen.to_index(centre[: seen.ndim])
    reach = diameter / 2 / np.asarray(seen.spacing)
    return np.concatenate([index - reach, index + reach])


def _usual(seen: Grid) -> float:
    """Return the size of what nobody measured, in the unit of the lattice; ten voxels where that is no millimetre."""
    return USUAL_MM if seen.unit == "mm" else 10 * max(seen.spacing)


def _box_of_rings(regions: Sequence[Region], lattices: Lattices) -> NDArray[np.float64]:
    points = np.concatenate([ring for region in regions for ring in region.rings])
    if points.shape[1] == 3:
        # a slice reaches half a voxel to both sides
        half = np.asarray([0.5, 0.0, 0.0])
        points = np.concatenate([points - half, points + half])
    index = lattices.seen.to_index(lattices.image.to_world(points))
    return np.concatenate([index.min(axis=0), index.max(axis=0)])


def _moved(regions: Sequence[Region], lattices: Lattices) -> tuple[Rings, ...]:
    return tuple(moved_rings(region.rings, lattices.image, lattices.seen) for region in regions)
