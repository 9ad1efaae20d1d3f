"""Which of many outlines are drawn: the chosen object's, and those nearest to what is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from numpy.typing import NDArray

    from napari_medlab.annotations import Region
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["MOST_RINGS", "WorkingSet"]

MOST_RINGS = 500
"""So many rings are drawn at most: changing one of them costs napari time for each, and drawing them anew some tenths of a
second."""


class WorkingSet:
    """Keeps where the regions of a case lie, so that the nearest are found at every step of the camera.

    Parameters
    ----------
    view : CaseView
    regions : iterable of Region
    """

    def __init__(self, view: CaseView, regions: Iterable[Region]) -> None:
        self._regions = [region for region in regions if region.rings]
        self._rings = np.asarray([len(region.rings) for region in self._regions], dtype=np.int64)
        ends = [_ends(view, region) for region in self._regions]
        shape = (len(self._regions), view.grid.ndim)
        self._low = np.asarray([low for low, _ in ends], dtype=np.float64).reshape(shape)
        self._high = np.asarray([high for _, high in ends], dtype=np.float64).reshape(shape)
        self._is_volume = view.grid.ndim == 3

    @property
    def is_partial(self) -> bool:
        """Whether there are more rings than are drawn."""
        return int(self._rings.sum()) > MOST_RINGS

    def nearest(self, place: NDArray[np.float64], chosen: Collection[str] = ()) -> list[Region]:
        """Return what to draw when the index ``place`` is looked at; those of ``chosen`` ids come first.

        In a volume the distance is counted in slices, in the plane in pixels.
        """
        if not self.is_partial:
            return self._regions
        away = np.maximum(np.maximum(self._low - place, place - self._high), 0)
        distance = away[:, 0] if self._is_volume else np.hypot(away[:, 0], away[:, 1])
        distance[[region.region_id in chosen for region in self._regions]] = -1
        order = np.argsort(distance, kind="stable")
        within = np.cumsum(self._rings[order]) <= MOST_RINGS
        within[0] = True
        return [self._regions[row] for row in order[within]]

    def is_stale(
        self, drawn: Collection[str], place: NDArray[np.float64], chosen: Collection[str] = ()
    ) -> bool:
        """Return whether something near is not drawn; at the rim of the set, some may come and go."""
        if not self.is_partial:
            return False
        nearest = self.nearest(place, chosen)
        return any(region.region_id not in drawn for region in nearest[: len(nearest) // 2 + 1])


def _ends(view: CaseView, region: Region) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    places = view.to_shown(np.asarray([ring[0] for ring in region.rings]))
    return places.min(axis=0), places.max(axis=0)
