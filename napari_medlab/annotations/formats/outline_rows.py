"""Outlines as readers find them, one by one, put into the columns of one image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.annotations.image_regions import ImageRegions
from napari_medlab.annotations.region_table import RegionTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

__all__ = ["Outline", "box_ring", "check_ring", "image_regions", "outlines_of", "ring_without_end"]


class Outline(NamedTuple):
    """One row of :class:`ImageRegions`.

    Parameters
    ----------
    rings : sequence of float64 arrays (n, 2)
        (y, x) indices, 0 at a pixel's centre.
    label : str
    region_id : str
    score : float
        nan for a finding.
    is_excluded : bool
    owner_id : str
    """

    rings: Sequence[NDArray[np.float64]]
    label: str
    region_id: str
    score: float = math.nan
    is_excluded: bool = False
    owner_id: str = ""


def image_regions(
    image: str,
    outlines: Sequence[Outline],
    *,
    shape: tuple[int, ...] | None = None,
    is_complete: bool = True,
    extra: dict[str, Any] | None = None,
) -> ImageRegions:
    """Return what a file says about one image, the outlines in their order."""
    rings = [ring for outline in outlines for ring in outline.rings]
    names = sorted({outline.label for outline in outlines})
    place = {name: position for position, name in enumerate(names)}
    regions = RegionTable(
        case_id=image,
        ids=_ids([outline.region_id for outline in outlines]),
        owner_ids=_ids([outline.owner_id for outline in outlines]),
        labels=np.asarray([place[outline.label] for outline in outlines], dtype=np.int32),
        label_names=tuple(names),
        scores=np.asarray([outline.score for outline in outlines], dtype=np.float64),
        region_rings=_starts([len(outline.rings) for outline in outlines]),
        ring_starts=_starts([len(ring) for ring in rings]),
        vertices=np.concatenate(rings) if rings else np.zeros((0, 2)),
    )
    is_excluded = np.asarray([outline.is_excluded for outline in outlines], dtype=np.bool_)
    return ImageRegions(image, regions, is_excluded, shape, is_complete, {} if extra is None else extra)


def outlines_of(image: ImageRegions) -> Iterator[Outline]:
    """Yield the rows of an image, in order."""
    table = image.regions
    rings = np.split(table.vertices, table.ring_starts[1:-1]) if len(table.ring_starts) > 1 else []
    ids, owners = (np.char.decode(column).tolist() for column in (table.ids, table.owner_ids))
    names = [table.label_names[label] for label in table.labels.tolist()]
    spans = zip(table.region_rings[:-1].tolist(), table.region_rings[1:].tolist(), strict=True)
    for row, (first, stop) in enumerate(spans):
        yield Outline(
            rings[first:stop],
            names[row],
            ids[row],
            float(table.scores[row]),
            bool(image.is_excluded[row]),
            owners[row],
        )


def box_ring(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """Return a box between four sides as a ring (4, 2) of (y, x), from its upper left corner by the upper right one."""
    return np.asarray([[top, left], [top, right], [bottom, right], [bottom, left]], dtype=np.float64)


def ring_without_end(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a ring without a last vertex that repeats the first."""
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def check_ring(ring: NDArray[np.float64], what: str = "the outline") -> NDArray[np.float64]:
    """Return a ring as it is; raise ValueError where it has fewer than three vertices, or one that is not finite."""
    if len(ring) < 3:
        raise ValueError(f"{what} has {len(ring)} points, expected at least 3")
    if not np.isfinite(ring).all():
        raise ValueError(f"{what} holds a point that is not finite")
    return ring


def _ids(values: Sequence[str]) -> NDArray[np.bytes_]:
    coded = [value.encode() for value in values]
    return np.asarray(coded, dtype=f"S{max([32, *map(len, coded)])}")


def _starts(counts: Sequence[int]) -> NDArray[np.int64]:
    starts: NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))])
    return starts
