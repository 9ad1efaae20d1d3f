"""A bundle's classifier of candidates: cubes around them go through a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.bundles import load_classifier
from napari_medlab.models.classification.classifier import CubeSettings, judge
from napari_medlab.models.inference.self_test import TileSize
from napari_medlab.models.predicting.placing import averaged, in_channels, place
from napari_medlab.models.predicting.readouts import LogitReadout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.annotations import Candidate
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.predicting.placing import Wanted

__all__ = ["Judge"]


class Judge:
    """Says how probable a lesion is at each of many places.

    Parameters
    ----------
    bundle : Bundle
    network : nn.Module
    part : dict
        What cubes it sees, as :class:`~napari_medlab.models.classification.classifier.CubeSettings` reads it; the
        ``network`` as bundles name it; and in ``test_time``, where it is there, symmetries to average over. Those that a
        detector is averaged over are its own affair.
    wanted : Wanted
    """

    def __init__(self, bundle: Bundle, network: nn.Module, part: dict[str, Any], wanted: Wanted) -> None:
        self._settings = CubeSettings.from_json(part)
        size = TileSize(
            in_channels(part["network"]),
            int(getattr(network, "multiple", 1)),
            self._settings.shape,
            is_fixed=True,
        )
        placed = place(bundle, averaged(network, part.get("test_time")), LogitReadout(), size, wanted)
        self.choice = placed.choice
        self._look = placed.looks[0]

    @classmethod
    def of_detector(cls, bundle: Bundle, wanted: Wanted) -> Self | None:
        """Return what judges the candidates of a detector; None where its bundle has no classifier."""
        network = load_classifier(bundle)
        if network is None or bundle.classifier is None:
            return None
        return cls(bundle, network, bundle.classifier, wanted)

    def probabilities(
        self, image: Image, prepared: Prepared | None, candidates: Sequence[Candidate], cancel: CancelToken
    ) -> NDArray[np.float64]:
        """Return the probability of a lesion at each candidate, (n,), by the classifier alone.

        Cubes are cut from the image itself, in its own values, where the classifier has a window; else from what the
        detector saw.
        """
        source = prepared if prepared is not None and self._settings.window is None else image
        centres = np.asarray([one.centre for one in candidates])
        return judge(self._logits, source, centres, self._settings, stop=cancel.check)

    def joined(
        self, image: Image, prepared: Prepared, candidates: Sequence[Candidate], cancel: CancelToken
    ) -> NDArray[np.float64]:
        """Return the detector's scores joined with the classifier's, (n,)."""
        own = self.probabilities(image, prepared, candidates, cancel)
        return self._settings.joined([one.score for one in candidates], own)

    def _logits(self, cubes: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        return np.stack(self._look.submit(cubes).result())
