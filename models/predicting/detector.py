"""The detector of a bundle: an image goes in, batches of candidates come out, tile by tile."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_medlab.annotations import Candidate, Region
from napari_medlab.models.detection.clustering import cluster_candidates
from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.inference.engine import stream
from napari_medlab.models.inference.seams import SeamMerger
from napari_medlab.models.predicting.judging import Judge
from napari_medlab.models.predicting.outlines import box_ring, moved_rings
from napari_medlab.models.predicting.placing import place, plan_for, tile_size, tiling_of, with_test_time
from napari_medlab.models.predicting.readouts import DetectionReadout
from napari_medlab.protocols import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.predicting.placing import Wanted
    from napari_medlab.models.predicting.readouts import Decodes
    from napari_medlab.protocols import Focus, Progress

__all__ = ["BundleDetector"]


class BundleDetector:
    """Finds lesions; fulfils :class:`napari_medlab.protocols.Detector`.

    Parameters
    ----------
    bundle : Bundle
        Its post-processing is read by :class:`~napari_medlab.models.detection.detections.DecodeSettings` and
        :class:`~napari_medlab.models.inference.seams.SeamMerger`; ``test_time`` names symmetries to average over, and
        ``cluster`` how specks become clusters. Where it has a classifier, that judges every candidate, and both scores
        are joined.
    wanted : Wanted

    Raises
    ------
    InputRefusedError
        Where the bundle cannot be used, or what was asked for is not to be had here.
    """

    def __init__(self, bundle: Bundle, wanted: Wanted) -> None:
        self.bundle = bundle
        network = with_test_time(bundle)
        self.rule = tiling_of(bundle, network)
        readout = DetectionReadout(cast("Decodes", network), DecodeSettings.from_json(bundle.postprocessing))
        placed = place(bundle, network, readout, tile_size(bundle, network, self.rule), wanted)
        self.choice = placed.choice
        self._looks = placed.looks
        self._judge = Judge.of_detector(bundle, wanted)
        self._cluster: dict[str, Any] | None = bundle.postprocessing.get("cluster")
        self._has_boxes = bool(getattr(network, "has_boxes", True))

    def detect(
        self, image: Image, case_id: str, cancel: CancelToken, *, focus: Focus | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield candidates, already merged across the seams: a batch for each tile, one that holds nothing included.

        Where specks become clusters, these come last, as a cluster may reach over many tiles.

        Parameters
        ----------
        image : Image
        case_id : str
        cancel : CancelToken
        focus : sequence of float, optional
            A point in the world, (x, y[, z]): what is near it is looked at first.
        on_progress : callable, optional
            Called with the tiles done and all tiles.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads.
        CancelledError
            Within one batch of ``cancel`` being set.
        """
        prepared = self.bundle.preprocessing.prepare(image)
        specks: list[Candidate] = []
        for found in self._detections(prepared, cancel, focus, on_progress):
            batch = self._judged(
                self._batch(found, prepared.grid, image.grid, case_id), image, prepared, cancel
            )
            if self._cluster is not None:
                specks += [one for one in batch if one.label == self._cluster["from"]]
                batch = _without(batch, self._cluster["from"])
            yield batch
        if self._cluster is not None:
            yield Batch(cluster_candidates(specks, self._cluster))

    def _detections(
        self, prepared: Prepared, cancel: CancelToken, focus: Focus | None, on_progress: Progress | None
    ) -> Iterator[Detections]:
        """Yield what is new in each tile, in voxels of the whole lattice."""
        seams = SeamMerger.from_json(self.bundle.postprocessing, prepared.grid)
        plan = plan_for(self.bundle, prepared, self.rule, focus)
        for tile, found in stream(prepared, self._looks, plan, cancel, on_progress=on_progress):
            here = found.moved(tile.read_start)
            yield seams.add(here.where(tile.in_core(here.centres)))

    def _batch(self, found: Detections, seen: Grid, image: Grid, case_id: str) -> Batch:
        """Return detections as candidates in the world; with their outlines, where boxes lie in a plane."""
        world = seen.to_world(found.centres).tolist()
        sides = (found.boxes[:, found.dims :] - found.boxes[:, : found.dims]) * np.asarray(seen.spacing)
        labels = [self.bundle.classes[number] for number in found.classes]
        candidates = [
            Candidate(case_id, tuple(centre), float(score), float(diameter), label)
            for centre, score, diameter, label in zip(
                world, found.scores, sides.mean(axis=1), labels, strict=True
            )
        ]
        if not self._has_boxes or found.dims != 2:
            return Batch(candidates)
        regions = [
            Region(case_id, moved_rings([box_ring(box)], seen, image), one.candidate_id, one.label)
            for one, box in zip(candidates, found.boxes, strict=True)
        ]
        return Batch(candidates, regions)

    def _judged(self, batch: Batch, image: Image, prepared: Prepared, cancel: CancelToken) -> Batch:
        if self._judge is None or not len(batch):
            return batch
        scores = self._judge.joined(image, prepared, batch.candidates, cancel)
        judged = [replace(one, score=float(score)) for one, score in zip(batch, scores, strict=True)]
        return Batch(judged, batch.regions)


def _without(batch: Batch, label: str) -> Batch:
    """Return what is of other classes, with its outlines."""
    kept = [one for one in batch if one.label != label]
    ids = {one.candidate_id for one in kept}
    return Batch(kept, [region for region in batch.regions if region.owner_id in ids])
