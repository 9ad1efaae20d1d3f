"""The detector of a bundle: an image goes in, batches of candidates come out, tile by tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_medlab.annotations import Candidate
from napari_medlab.models.bundles import load_network
from napari_medlab.models.detection.heatmap import Peaks, decode_peaks
from napari_medlab.models.inference.tiles import Tile, plan_tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle

__all__ = ["CentreDetector"]

CORE = (64, 128, 128)
HALO = 16
MULTIPLE = 8
"""The network halves its input three times."""


class CentreDetector:
    """Finds lesions by their centres; fulfils :class:`napari_medlab.protocols.Detector`.

    Parameters
    ----------
    bundle : Bundle
        Its post-processing names ``threshold`` (least score), ``most_per_tile`` (candidates, the best scored ones) and
        ``merge_mm`` (two candidates nearer than this, or than half the larger one's diameter, are one).
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._network = load_network(bundle)
        self._post = bundle.spec["postprocessing"]
        self._label = str(bundle.spec["classes"][0])

    def detect(self, image: Image, case_id: str, cancel: CancelToken) -> Iterator[list[Candidate]]:
        """Yield batches of candidates, one for each tile that holds any, already merged across the seams.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads.
        CancelledError
            Within one tile of ``cancel`` being set.
        """
        volume, grid = self.bundle.preprocessing.apply(image)
        yield from self._detect(volume, grid, case_id, cancel)

    def detect_array(
        self, volume: NDArray[np.generic], grid: Grid, case_id: str, cancel: CancelToken
    ) -> Iterator[list[Candidate]]:
        """Do the same on a decoded volume (z, y, x) whose axes run along +S, +P, +L."""
        prepared, target = self.bundle.preprocessing.apply_array(volume, grid)
        yield from self._detect(prepared, target, case_id, cancel)

    def _detect(
        self, volume: NDArray[np.float32], grid: Grid, case_id: str, cancel: CancelToken
    ) -> Iterator[list[Candidate]]:
        kept = _Merger(float(self._post["merge_mm"]) / self.bundle.preprocessing.spacing_mm)
        for tile in plan_tiles(volume.shape, CORE, HALO, MULTIPLE):
            cancel.check()
            peaks = self._look_at(volume, tile)
            batch = kept.add(peaks)
            if len(batch.scores):
                yield self._candidates(batch, grid, case_id)

    def _look_at(self, volume: NDArray[np.float32], tile: Tile) -> Peaks:
        """Return the peaks in the core of a tile, as voxel indices of the whole volume."""
        block = volume[tile.read_box()]
        missing = [(0, -size % MULTIPLE) for size in block.shape]
        padded = np.pad(block, missing) if any(after for _, after in missing) else block
        with torch.inference_mode():
            maps = self._network(torch.from_numpy(np.ascontiguousarray(padded))[None, None])[0]
        peaks = decode_peaks(maps, float(self._post["threshold"]), int(self._post["most_per_tile"]))
        centres = peaks.centres + np.asarray(tile.read_start)
        inside = tile.in_core(centres)
        return Peaks(centres[inside], peaks.diameters[inside], peaks.scores[inside])

    def _candidates(self, peaks: Peaks, grid: Grid, case_id: str) -> list[Candidate]:
        world = grid.to_world(peaks.centres)
        diameters = peaks.diameters * self.bundle.preprocessing.spacing_mm
        return [
            Candidate(case_id, tuple(centre), float(score), float(diameter), self._label)
            for centre, score, diameter in zip(world.tolist(), peaks.scores, diameters, strict=True)
        ]


class _Merger:
    """Keeps one of several candidates that mark the same spot: the first seen, which within a tile is the best scored."""

    def __init__(self, least_distance: float) -> None:
        self._least = least_distance
        self._centres = np.zeros((0, 3))
        self._radii = np.zeros(0)

    def add(self, peaks: Peaks) -> Peaks:
        """Return those of the peaks that mark a new spot, in order."""
        new = []
        for row, (centre, diameter) in enumerate(zip(peaks.centres, peaks.diameters, strict=True)):
            reach = np.maximum(self._least, np.maximum(self._radii, diameter / 2))
            if (np.linalg.norm(self._centres - centre, axis=1) < reach).any():
                continue
            self._centres = np.vstack([self._centres, centre])
            self._radii = np.append(self._radii, diameter / 2)
            new.append(row)
        return Peaks(peaks.centres[new], peaks.diameters[new], peaks.scores[new])
