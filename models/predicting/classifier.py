"""The classifier of a bundle, by itself: it judges candidates that others proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import load_network
from napari_medlab.models.predicting.judging import Judge
from napari_medlab.models.predicting.placing import spatial_dims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

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
        Its preprocessing names ``spacing_mm`` and ``window``; its tiling the cubes' ``core``, without which they are as
        large as the network takes them; and ``test_time`` in its post-processing symmetries to average over.
    wanted : Wanted

    Raises
    ------
    InputRefusedError
        Where the bundle cannot be used, or what was asked for is not to be had here.
    """

    rule = None

    def __init__(self, bundle: Bundle, wanted: Wanted) -> None:
        self.bundle = bundle
        network = load_network(bundle)
        part = {
            "spacing_mm": bundle.preprocessing.isotropic_mm,
            "window": bundle.preprocessing.window,
            "shape": bundle.tiling.get("core") or _cube_of(bundle, network),
            "network": bundle.spec["network"],
            "test_time": bundle.postprocessing.get("test_time"),
        }
        self._judge = Judge(bundle, network, part, wanted)
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


def _cube_of(bundle: Bundle, network: nn.Module) -> tuple[int, ...]:
    """Return the shape of the cubes that a network, or the largest member of an ensemble, takes."""
    parts = [network, *getattr(network, "members", ())]
    sides = [int(part.side) for part in parts if hasattr(part, "side")]
    if not sides:
        raise InputRefusedError(
            f"{bundle.title} does not say how large the cubes are that it judges.", code="classifier",
            hint="Its tiling needs a core, such as [32, 32, 32].",
        )  # fmt: skip
    return (max(sides),) * spatial_dims(network)
