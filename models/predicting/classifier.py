"""The classifier of a bundle, by itself: it judges candidates that others proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.models.bundles import load_network
from napari_medlab.models.predicting.judging import Judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import Candidate
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.predicting.placing import Wanted

__all__ = ["BundleClassifier"]


class BundleClassifier:
    """Judges candidates by the cubes around them; fulfils :class:`napari_medlab.protocols.Classifier`.

    Parameters
    ----------
    bundle : Bundle
        Its preprocessing names ``spacing_mm`` and ``window``, its tiling the cubes' ``core``.
    wanted : Wanted

    Raises
    ------
    InputRefusedError
        Where the bundle cannot be used, or what was asked for is not to be had here.
    """

    rule = None

    def __init__(self, bundle: Bundle, wanted: Wanted) -> None:
        self.bundle = bundle
        part = {
            **bundle.spec["preprocessing"],
            "shape": bundle.tiling.get("core"),
            "network": bundle.spec["network"],
        }
        self._judge = Judge(bundle, load_network(bundle), part, wanted)
        self.choice = self._judge.choice

    def judge(self, image: Image, candidates: Sequence[Candidate], cancel: CancelToken) -> list[float]:
        """Return the probability of a lesion at each candidate, 0 to 1.

        Raises
        ------
        InputRefusedError
            Where the image is not what the model reads.
        CancelledError
            Soon after ``cancel`` is set.
        """
        if not candidates:
            return []
        found: list[float] = self._judge.probabilities(image, None, candidates, cancel).tolist()
        return found
