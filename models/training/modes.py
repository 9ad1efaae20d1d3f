"""Looking at a network while it is trained, without changing it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.training.feed import of_one_shape, stacked

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.training.objectives import Objective
    from napari_medlab.models.training.sample_store import SampleStore
    from napari_medlab.models.training.samples import Sample

__all__ = ["image_of", "lesion_scores", "loss_of_each", "still"]


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Let a network return what its objective reads in training, with norms and dropout as they are in eval mode.

    What an objective chooses at random is the same each time. Afterwards every part is in the mode that it was in.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.dropout import _DropoutNd

    modes = [(module, module.training) for module in network.modules()]
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm | _DropoutNd):
            module.training = False
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(0)
            yield
    finally:
        for module, was_training in modes:
            module.training = was_training


def loss_of_each(network: nn.Module, objective: Objective, samples: Sequence[Sample]) -> list[float]:
    """Return the loss of every sample by itself."""
    with still(network):
        images = (image_of(sample, network) for sample in samples)
        return [float(objective.losses(network, image, [sample])["total"]) for sample, image in images]


def lesion_scores(
    network: nn.Module, samples: SampleStore | Sequence[Sample], cancel: CancelToken | None = None
) -> NDArray[np.float64]:
    """Return how sure a network in eval mode is that a sample holds a lesion, 0 … 1, (n,).

    A detector's is its best detection's score; a classifier's the probability of any class but 0, or of its only one; a
    segmenter's the greatest probability in the mask.

    Raises
    ------
    CancelledError
        Within a sample of ``cancel`` being set.
    """
    import torch

    scores = np.zeros(len(samples))
    with torch.inference_mode():
        for row in range(len(samples)):
            if cancel is not None:
                cancel.check()
            scores[row] = _score(network, samples[row])
    return scores


def image_of(sample: Sample, network: nn.Module) -> tuple[Sample, torch.Tensor]:
    """Return a sample and its image (1, channel, …), padded as the network needs it, on the network's device."""
    (padded,) = of_one_shape([sample], int(getattr(network, "multiple", 1)))
    return padded, stacked([padded]).to(next(network.parameters()).device)


def _score(network: nn.Module, sample: Sample) -> float:
    from napari_medlab.models.detection.detections import DecodeSettings

    _, image = image_of(sample, network)
    outputs = network(image)
    decode: Any = getattr(network, "decode", None)
    if decode is not None:
        (found,) = decode(outputs, tuple(image.shape[2:]), DecodeSettings(threshold=0.0, most=1))
        return float(found.scores.max(initial=0.0))
    logits = outputs[0].float()
    if logits.ndim == 1 and len(logits) > 1:
        return float(1 - logits.softmax(dim=0)[0])
    return float(logits.sigmoid().max())
