"""Which places of a case a classifier of candidates learns from, and what it is told about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.near_misses import is_near_miss

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from napari_medlab.annotations import CandidateTable, Region
    from napari_medlab.geometry import Grid
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.workflows.sample_objects import ClassRule

__all__ = ["Place", "cube_shape", "places_of", "with_loose_outlines"]

NOT_A_LESION = 0


@dataclass(frozen=True)
class Place:
    """A point of the world (x, y, z), the class of what is there, and the finding or candidate that it is."""

    centre: tuple[float, ...]
    label: int
    object_id: str


def cube_shape(configuration: Configuration, margin: int | None) -> tuple[int, ...]:
    """Return the sizes of a sample's cube: what the network looks at, and a margin on all sides, so that it can be turned.

    Parameters
    ----------
    configuration : of a ``cube-classifier``
    margin : int or None
        An eighth of the side where None: enough for shifts by a few voxels, and for turns by 15 degrees.

    Raises
    ------
    InputRefusedError
        Where the network does not say how large its cubes are.
    """
    arguments = configuration.network.arguments
    sides = arguments.get("sides")
    if not isinstance(sides, list | tuple) or not sides:
        raise InputRefusedError(
            f"The network {configuration.network.name} does not say how large the cubes are that it looks at.",
            code="cubes", hint='Its arguments need "sides".',
        )  # fmt: skip
    side = int(max(sides))
    room = -(-side // 8) if margin is None else margin
    return (side + 2 * room,) * int(arguments.get("spatial_dims", 3))


def places_of(
    findings: FindingTable, candidates: CandidateTable, doubted: Collection[str], rule: ClassRule
) -> tuple[list[Place], int]:
    """Return where cubes are cut on a case, and how many candidates were left out because they are ambiguous.

    Findings are lesions, and so are candidates within the radius of one. A candidate that is further than 5 mm from all
    of them is none. What lies between, near a finding that does not count, or was doubted by a reader, is left out.

    Parameters
    ----------
    findings : of the case, those that are not to count as excluded
    candidates : of a run on the case
    doubted : ids of candidates about which a reader said that the reference is wrong, or that they are ambiguous
    rule : ClassRule
    """
    numbers = [rule.number_of(label) for label in findings.labels.tolist()]
    counts = ~findings.is_excluded & np.asarray([number is not None for number in numbers], np.bool_)
    places = [
        Place(tuple(findings.centres[row].tolist()), numbers[row] or 0, str(findings.ids[row]))
        for row in np.flatnonzero(counts)
    ]
    distances = np.linalg.norm(candidates.centres[:, None] - findings.centres[None], axis=-1)
    radii = np.broadcast_to(np.maximum(findings.diameters, 0) / 2, distances.shape)
    hits = distances < radii
    is_beside = (is_near_miss(distances, radii) | (hits & ~counts)).any(axis=1)
    left_out = 0
    for row, candidate_id in enumerate(candidates.ids.tolist()):
        hit = np.flatnonzero(hits[row] & counts)
        if candidate_id in doubted or (not len(hit) and is_beside[row]):
            left_out += 1
            continue
        nearest = int(hit[distances[row, hit].argmin()]) if len(hit) else None
        label = NOT_A_LESION if nearest is None else numbers[nearest] or 0
        places.append(Place(tuple(candidates.centres[row].tolist()), label, candidate_id))
    return places, left_out


def with_loose_outlines(findings: FindingTable, regions: Sequence[Region], grid: Grid) -> FindingTable:
    """Return the findings with outlines that belong to none, which do not count: what lies near them is left out."""
    objects = [findings.finding(row) for row in range(len(findings))]
    for region in regions:
        if not region.owner_id and region.rings:
            points = grid.to_world(np.concatenate(region.rings))
            low, high = points.min(axis=0), points.max(axis=0)
            diameter = float((high - low).max())
            objects.append(
                Finding(
                    region.case_id,
                    tuple(((low + high) / 2).tolist()),
                    diameter,
                    region.label,
                    is_excluded=True,
                )
            )
    return FindingTable.from_objects(objects, grid.ndim)
