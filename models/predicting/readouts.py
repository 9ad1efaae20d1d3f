"""What becomes of a network's outputs: detections, probabilities of voxels, or logits of cubes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch

from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.inference.backends import in_float32, largest_difference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.detection.detections import Detections

__all__ = ["Activation", "Decodes", "DetectionReadout", "LogitReadout", "ProbabilityReadout"]

Activation = Literal["sigmoid", "softmax"]
MOST = 255
"""What stands for a probability of 1."""
COMPARED = 20
"""How many scores of lists of boxes are compared."""


class Decodes(Protocol):
    """A detection network, as far as its outputs are concerned."""

    def decode(self, outputs: Any, image_shape: Sequence[int], settings: DecodeSettings) -> list[Detections]:  # noqa: ANN401 - its own
        """Return the detections of each image of a batch, in voxels of it."""
        ...


class DetectionReadout:
    """Detections of each tile, as the network itself decodes its outputs."""

    def __init__(self, network: Decodes, settings: DecodeSettings) -> None:
        self._network = network
        self._settings = settings

    def on_device(self, outputs: Any) -> Any:  # noqa: ANN401 - whatever the network returns
        """Return the outputs in float32."""
        return in_float32(outputs)

    def results(self, fetched: Any, image_shape: Sequence[int]) -> list[Detections]:  # noqa: ANN401 - as above
        """Return the detections of each tile, in voxels of it."""
        return self._network.decode(fetched, image_shape, self._settings)

    def difference(self, fetched: Any, other: Any, image_shape: Sequence[int]) -> float:  # noqa: ANN401 - as above
        """Return the largest difference between two outputs.

        Maps are compared place by place, all of them taken for logits. Lists of boxes, which networks of two stages return,
        have no such places: of these the best scores are compared, in order.
        """
        if not isinstance(fetched, tuple):
            return largest_difference(fetched, other, torch.sigmoid)
        ours, theirs = (self._best_scores(each, image_shape) for each in (fetched, other))
        return float(np.abs(ours - theirs).max())

    def _best_scores(self, fetched: Any, image_shape: Sequence[int]) -> NDArray[np.float64]:  # noqa: ANN401 - as above
        (found, *_) = self._network.decode(fetched, image_shape, DecodeSettings(threshold=0.0, most=COMPARED))
        scores = np.zeros(COMPARED)
        scores[: len(found)] = np.sort(found.scores)[::-1]
        return scores


class ProbabilityReadout:
    """The probabilities of each tile's voxels, (class, …): uint8 0 … 255, or float32 0 … 1.

    Parameters
    ----------
    activation : {"sigmoid", "softmax"}
        Whether a voxel can be of several classes, or is of just one.
    is_rounded : bool
        Whether they become uint8, on the device, so that a quarter is fetched; not where tiles are averaged later.
    """

    def __init__(self, activation: Activation = "sigmoid", *, is_rounded: bool = False) -> None:
        self._activation = activation
        self._is_rounded = is_rounded

    def on_device(self, outputs: torch.Tensor) -> torch.Tensor:
        """Turn logits (batch, class, …) into probabilities."""
        logits = outputs.float()
        probabilities = logits.softmax(dim=1) if self._activation == "softmax" else logits.sigmoid()
        return probabilities.mul_(MOST).round_().to(torch.uint8) if self._is_rounded else probabilities

    def results(self, fetched: torch.Tensor, image_shape: Sequence[int]) -> list[NDArray[Any]]:
        """Return one array for each tile."""
        return list(fetched.numpy())

    def difference(self, fetched: torch.Tensor, other: torch.Tensor, image_shape: Sequence[int]) -> float:
        """Return the largest difference of probabilities."""
        return largest_difference(self._exact(fetched), self._exact(other), lambda tensor: tensor)

    def _exact(self, fetched: torch.Tensor) -> torch.Tensor:
        return fetched.float() / MOST if self._is_rounded else fetched


class LogitReadout:
    """The logits of each tile as they are, float32, () or (class,): for classifiers."""

    def on_device(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the logits in float32."""
        return outputs.float()

    def results(self, fetched: torch.Tensor, image_shape: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return one array for each tile."""
        return list(fetched.numpy())

    def difference(self, fetched: torch.Tensor, other: torch.Tensor, image_shape: Sequence[int]) -> float:
        """Return the largest difference between sigmoids."""
        return largest_difference(fetched, other, torch.sigmoid)
