"""Judging candidates: their cubes go through a classifier in batches, and its scores join the detector's."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, softmax

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.classification.fusion import fuse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import ArrayLike, NDArray
    from torch import nn

    from napari_medlab.models.classification.cubes import CubeSource

    Look = Callable[[NDArray[np.float32]], NDArray[np.floating]]

__all__ = ["BATCH", "CubeSettings", "judge", "lesion_probabilities", "look_of"]

BATCH = 16
"""Cubes that are judged at once."""


@dataclass(frozen=True)
class CubeSettings:
    """What cubes a classifier sees, and how its scores join the detector's; part of a bundle's ``classifier``.

    Parameters
    ----------
    spacing_mm : float
    shape : tuple of int
        Sizes of the cubes in voxels, in array order.
    window : (low, high) or None
        Pixel values that become 0 and 1; None for images that are prepared already.
    rule, weight
        As :func:`napari_medlab.models.classification.fusion.fuse` takes them.
    """

    spacing_mm: float
    shape: tuple[int, ...]
    window: tuple[float, float] | None = None
    rule: str = "geometric mean"
    weight: float = 0.5

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        fields = asdict(self)
        fields["fusion"] = {"rule": fields.pop("rule"), "weight": fields.pop("weight")}
        return {
            **fields,
            "shape": list(self.shape),
            "window": None if self.window is None else list(self.window),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CubeSettings:
        """Read what :meth:`as_json` wrote, among other things such as the network.

        Raises
        ------
        InputRefusedError
            Where something is missing or of another kind.
        """
        try:
            window = value.get("window")
            low_high = None if window is None else (float(window[0]), float(window[1]))
            shape = tuple(int(side) for side in value["shape"])
            fusion = value.get("fusion", {})
            rule, weight = str(fusion.get("rule", cls.rule)), float(fusion.get("weight", cls.weight))
            return cls(float(value["spacing_mm"]), shape, low_high, rule, weight)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputRefusedError(
                f"The bundle's classifier does not say what cubes it sees: {error!r}.", code="classifier",
                hint="It needs spacing_mm, shape, and window and fusion where they are not the default.",
            ) from error  # fmt: skip

    def joined(self, detector_scores: ArrayLike, classifier_scores: ArrayLike) -> NDArray[np.float64]:
        """Return the joined scores, (n,)."""
        return fuse(detector_scores, classifier_scores, self.rule, self.weight)


def judge(
    look: Look, source: CubeSource, centres: ArrayLike, settings: CubeSettings, *, batch: int = BATCH,
    stop: Callable[[], None] | None = None,
) -> NDArray[np.float64]:  # fmt: skip
    """Return how probable a lesion is at each point, (n,), as the classifier alone says.

    Parameters
    ----------
    look : callable
        Takes cubes, float32 (batch, channel, …), and returns logits, (batch,) or (batch, classes): see :func:`look_of`.
    source, centres, stop
        As :func:`~napari_medlab.models.classification.cubes.cut_cubes` takes them.
    settings : CubeSettings
    batch : int
        How many cubes are in memory at a time.
    """
    points = np.asarray(centres, dtype=np.float64)
    points = points.reshape(-1, points.shape[-1] if points.ndim == 2 else len(settings.shape))
    found = np.zeros(len(points))
    # neighbours come in one batch, so that their slices are decoded once
    order = np.lexsort(points.T)
    for at in range(0, len(points), batch):
        rows = order[at : at + batch]
        cubes = cut_cubes(source, points[rows], settings.spacing_mm, settings.shape, settings.window, stop)
        found[rows] = lesion_probabilities(look(cubes))
    return found


def lesion_probabilities(logits: ArrayLike) -> NDArray[np.float64]:
    """Return the probability of a lesion, (n,), from logits (n,), or from (n, classes) where class 0 is none."""
    values = np.asarray(logits, dtype=np.float64)
    probabilities: NDArray[np.float64] = (
        expit(values) if values.ndim == 1 else 1 - softmax(values, axis=1)[:, 0]
    )
    return probabilities


def look_of(network: nn.Module) -> Look:
    """Return what :func:`judge` calls for a network in evaluation mode, on the device where its weights are."""
    import torch

    device = next(network.parameters()).device

    def look(cubes: NDArray[np.float32]) -> NDArray[np.floating]:
        with torch.inference_mode():
            logits: NDArray[np.floating] = network(torch.from_numpy(cubes).to(device)).float().cpu().numpy()
        return logits

    return look
