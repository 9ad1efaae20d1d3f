"""Models of strangers, held to what the protocols promise: what is not finite, foreign or changed is an error, not a result."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.backends import Backend
from napari_medlab.models.inference.self_test import Choice
from napari_medlab.models.plugins.functions import wrong_output
from napari_medlab.protocols import Batch, MaskPart

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_medlab.annotations import Candidate
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.protocols import Focus, Progress

__all__ = ["GuardedClassifier", "GuardedDetector", "GuardedSegmenter"]


@dataclass(frozen=True, eq=False)
class _Guarded:
    """What the three have in common.

    Parameters
    ----------
    bundle : Bundle
    model : object
        A detector, segmenter or classifier.
    device : str
        Where it runs, as far as it was told.
    check : callable
        Raises where the code is not what it was any more.
    """

    bundle: Bundle
    model: Any
    device: str
    check: Callable[[], None]

    @property
    def rule(self) -> Any:  # noqa: ANN401 - a TilingRule, or None
        """How images are cut into tiles; None where the model sees to that itself."""
        return getattr(self.model, "rule", None)

    @property
    def choice(self) -> Choice:
        """What the model runs on; its code was not measured."""
        return Choice((self.device,), Backend())

    def _begin(self, image: Image, cancel: CancelToken) -> None:
        self.check()
        cancel.check()
        kinds = self.bundle.preprocessing.kinds
        if image.kind not in kinds:
            raise InputRefusedError(
                f"{image.path.name} is a {image.kind}; this model reads {' and '.join(f'{kind}s' for kind in kinds)}.",
                code="wrong-kind", hint="Choose a model made for this kind of image.",
            )  # fmt: skip

    def _checked(self, batch: Batch) -> Batch:
        """Return a batch of what scores enough, with its outlines."""
        if not isinstance(batch, Batch):
            raise wrong_output(self.bundle, f"{batch!r:.80}", "a Batch")
        for one in batch.candidates:
            if not all(map(isfinite, (*one.centre, one.diameter))) or not 0 <= one.score <= 1:
                raise wrong_output(self.bundle, f"{one!r:.160}", "finite numbers and a score from 0 to 1")
            if one.label not in self.bundle.classes:
                raise wrong_output(
                    self.bundle, f"the label {one.label!r:.80}", f"one of {', '.join(self.bundle.classes)}"
                )
        threshold = self.bundle.postprocessing.get("threshold", 0.0)
        least = 0.0 if self.bundle.task == "segmentation" else float(threshold)
        kept = [one for one in batch.candidates if one.score >= least]
        ids = {one.candidate_id for one in kept}
        return Batch(kept, [region for region in batch.regions if region.owner_id in ids])


class GuardedDetector(_Guarded):
    """A detector of another package; fulfils :class:`napari_medlab.protocols.Detector`."""

    def detect(
        self, image: Image, case_id: str, cancel: CancelToken, *, focus: Focus | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield the model's batches, those that cannot be used refused, and what scores too little left out.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads, or its code was changed.
        MedlabError
            ``"model-output"`` where what it gives cannot be used.
        CancelledError
            Within one batch of ``cancel`` being set.
        """
        self._begin(image, cancel)
        for batch in self.model.detect(image, case_id, cancel, focus=focus, on_progress=on_progress):
            yield self._checked(batch)
            cancel.check()


class GuardedSegmenter(_Guarded):
    """A segmenter of another package; fulfils :class:`napari_medlab.protocols.Segmenter`."""

    def segment(
        self, image: Image, case_id: str, mask: Path, cancel: CancelToken, *, focus: Focus | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[MaskPart | Batch]:  # fmt: skip
        """Yield the model's parts of the mask and its objects.

        Raises
        ------
        InputRefusedError, MedlabError, CancelledError
            As :meth:`GuardedDetector.detect` does; ``"partial"`` where the mask is left unfinished.
        """
        from napari_medlab.models.inference.mask_store import MaskStore

        self._begin(image, cancel)
        for given in self.model.segment(image, case_id, mask, cancel, focus=focus, on_progress=on_progress):
            yield given if isinstance(given, MaskPart) else self._checked(given)
            cancel.check()
        if not MaskStore.open(mask).is_complete:
            raise wrong_output(self.bundle, "a mask that says it is partial", "one that is complete")


class GuardedClassifier(_Guarded):
    """A classifier of another package; fulfils :class:`napari_medlab.protocols.Classifier`."""

    def judge(self, image: Image, candidates: Sequence[Candidate], cancel: CancelToken) -> list[float]:
        """Return one probability, 0 to 1, for each candidate.

        Raises
        ------
        InputRefusedError, MedlabError, CancelledError
            As :meth:`GuardedDetector.detect` does.
        """
        self._begin(image, cancel)
        if not candidates:
            return []
        scores = [float(score) for score in self.model.judge(image, candidates, cancel)]
        if len(scores) != len(candidates) or not all(0 <= score <= 1 for score in scores):
            raise wrong_output(
                self.bundle, f"{len(scores)} values for {len(candidates)} candidates, from {min(scores, default=0)} to "
                f"{max(scores, default=0)}", "one probability from 0 to 1 for each",
            )  # fmt: skip
        return scores
