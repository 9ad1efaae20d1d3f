"""The three kinds of object that are drawn on an image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["Candidate", "Finding", "Region", "new_id"]


def new_id() -> str:
    """Return a random 128-bit identifier as 32 hexadecimal digits."""
    return uuid4().hex


@dataclass(frozen=True)
class Finding:
    """One object of the reference standard.

    Parameters
    ----------
    case_id : str
    centre : tuple of float
        World coordinates, (x, y, z) in LPS mm for volumes and (x, y) in micrometres or pixels for planar images.
    diameter : float
        In the same unit as ``centre``; -1 where the reference gives none.
    label : str
        The class, such as ``"nodule"``.
    is_excluded : bool
        True for findings that count neither as found nor as missed (LUNA16's "irrelevant findings").
    """

    case_id: str
    centre: tuple[float, ...]
    diameter: float
    label: str = "nodule"
    is_excluded: bool = False
    finding_id: str = field(default_factory=new_id)


@dataclass(frozen=True)
class Candidate:
    """One object that a model proposes.

    ``centre`` and ``diameter`` are as in :class:`Finding`; ``score`` grows with confidence, in any range.
    """

    case_id: str
    centre: tuple[float, ...]
    score: float
    diameter: float = -1.0
    label: str = "nodule"
    candidate_id: str = field(default_factory=new_id)


@dataclass(frozen=True, eq=False)
class Region:
    """An outline: rings of vertices, where a ring inside another is a hole and separate rings are parts.

    Parameters
    ----------
    case_id : str
    rings : tuple of float64 arrays (n, ndim)
        Vertices as array indices of the image's level 0, (z, y, x) or (y, x), 0 at a voxel's centre. In a volume each
        ring lies in one slice.
    owner_id : str
        The finding or candidate that it outlines; empty for none.
    label : str
    """

    case_id: str
    rings: tuple[NDArray[np.float64], ...]
    owner_id: str = ""
    label: str = "nodule"
    region_id: str = field(default_factory=new_id)

    @classmethod
    def on_slices(
        cls,
        case_id: str,
        planes: Mapping[int, Sequence[ArrayLike]],
        owner_id: str = "",
        label: str = "nodule",
    ) -> Region:
        """Return the region whose rings, (y, x) arrays, lie on the slices z that are the keys of ``planes``."""
        rings = [
            np.insert(np.asarray(ring, dtype=np.float64), 0, float(z), axis=1)
            for z, planar in sorted(planes.items())
            for ring in planar
        ]
        return cls(case_id, tuple(rings), owner_id, label)

    def rings_on_slice(self, z: int) -> list[NDArray[np.float64]]:
        """Return the (y, x) rings that lie on slice ``z``."""
        return [ring[:, 1:] for ring in self.rings if ring.shape[1] == 3 and round(float(ring[0, 0])) == z]

    def as_json(self) -> dict[str, Any]:
        """Return the region as plain JSON values; floats keep all their digits."""
        return {
            "region_id": self.region_id,
            "case_id": self.case_id,
            "owner_id": self.owner_id,
            "label": self.label,
            "rings": [ring.tolist() for ring in self.rings],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Region:
        """Read what :meth:`as_json` wrote."""
        rings = tuple(np.asarray(ring, dtype=np.float64) for ring in value["rings"])
        return cls(value["case_id"], rings, value["owner_id"], value["label"], value["region_id"])

    def digest(self) -> str:
        """Return the SHA-256 of the geometry, as hexadecimal digits."""
        total = hashlib.sha256()
        for ring in self.rings:
            total.update(np.asarray(ring.shape, dtype=np.int64).tobytes())
            total.update(np.ascontiguousarray(ring).tobytes())
        return total.hexdigest()
