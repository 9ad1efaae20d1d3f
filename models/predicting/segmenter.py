"""The segmenter of a bundle: a mask of probabilities is written box by box, and its objects become candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.annotations import Candidate, Region
from napari_medlab.models.inference.accumulating import segment
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.predicting.outlines import moved_rings
from napari_medlab.models.predicting.placing import place, plan_for, tile_size, tiling_of, with_test_time
from napari_medlab.models.predicting.readouts import ProbabilityReadout
from napari_medlab.models.segmentation.objects import ObjectSettings, objects_of
from napari_medlab.protocols import Batch, MaskPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.predicting.placing import Wanted
    from napari_medlab.models.segmentation.objects import SegmentedObject
    from napari_medlab.protocols import Focus, Progress

__all__ = ["BundleSegmenter"]

OBJECTS_A_BATCH = 256


class BundleSegmenter:
    """Marks what belongs to objects; fulfils :class:`napari_medlab.protocols.Segmenter`.

    Parameters
    ----------
    bundle : Bundle
        Its post-processing names the ``threshold`` and the least size of objects, as
        :class:`~napari_medlab.models.segmentation.objects.ObjectSettings` reads it; ``probabilities``, ``"sigmoid"`` or
        ``"softmax"``; and in ``test_time`` symmetries to average over.
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
        averages = self.rule.overlap > 0 or bool(self.rule.shifts)
        readout = ProbabilityReadout(
            bundle.postprocessing.get("probabilities", "sigmoid"), is_rounded=not averages
        )
        placed = place(bundle, network, readout, tile_size(bundle, network, self.rule), wanted)
        self.choice = placed.choice
        self._looks = placed.looks

    def segment(
        self, image: Image, case_id: str, mask: Path, cancel: CancelToken, *, focus: Focus | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[MaskPart | Batch]:  # fmt: skip
        """Write probabilities into a new store at ``mask``; yield the parts as they are done, and then the objects.

        A tile that completes no part yields an empty batch, so that whoever follows hears of its progress.

        Parameters
        ----------
        image : Image
        case_id : str
        mask : Path
            A folder that is not there yet. A store that is left before its end says that it is partial.
        cancel : CancelToken
        focus : sequence of float, optional
            A point in the world, (x, y[, z]): what is near it is looked at first.
        on_progress : callable, optional
            Called with the tiles done and all tiles.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads, or there is something at ``mask``.
        CancelledError
            Within one batch of ``cancel`` being set.
        """
        prepared = self.bundle.preprocessing.prepare(image)
        plan = plan_for(self.bundle, prepared, self.rule, focus)
        store = MaskStore.create(mask, prepared.grid, self.bundle.classes, bundle=self.bundle.hash)
        for parts in segment(prepared, self._looks, plan, cancel, store, on_progress=on_progress):
            yield from (MaskPart(part.start, part.stop) for part in parts)
            if not parts:
                yield Batch([])
        settings = ObjectSettings.from_json(self.bundle.postprocessing, prepared.grid)
        objects = objects_of(_Masks(store), settings, stop=cancel.check)
        for first in range(0, len(objects), OBJECTS_A_BATCH):
            cancel.check()
            yield self._batch(objects[first : first + OBJECTS_A_BATCH], prepared.grid, image.grid, case_id)

    def _batch(self, objects: Sequence[SegmentedObject], seen: Grid, image: Grid, case_id: str) -> Batch:
        """Return objects as candidates in the world, with their outlines on the image."""
        candidates = [
            Candidate(
                case_id, tuple(seen.to_world(one.centre).tolist()), one.score, one.diameter,
                self.bundle.classes[one.class_index],
            )
            for one in objects
        ]  # fmt: skip
        regions = [
            Region(case_id, moved_rings(one.rings, seen, image), candidate.candidate_id, candidate.label)
            for candidate, one in zip(candidates, objects, strict=True)
        ]
        return Batch(candidates, [region for region in regions if region.rings])


class _Masks:
    """A store as :func:`objects_of` reads it."""

    def __init__(self, store: MaskStore) -> None:
        self.shape = (len(store.classes), *store.grid.shape)
        self.read = store.read
