"""How good a network is on held-out samples, in figures by name, for every task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.training.modes import image_of, loss_of_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.detection.detections import Detections
    from napari_medlab.models.training.objectives import Objective
    from napari_medlab.models.training.samples import Sample

    _Seen = tuple[Sample, torch.Tensor]
    """A sample, padded, and its image (1, channel, …) on the network's device."""

__all__ = ["HeldOut", "best_dice", "mean_cpm", "ranking_quality"]

THRESHOLDS = np.arange(1, 20) / 20
"""Among these the threshold of a mask is chosen."""


class _Decoding(Protocol):
    def decode(
        self, outputs: object, image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]: ...


@dataclass(frozen=True)
class HeldOut:
    """Looks at held-out samples one by one, each as a whole, and says how good a network is there.

    Parameters
    ----------
    task : {"detection", "segmentation", "classification"}
    samples : sequence of Sample
    objective : Objective
        Gives the figure ``"loss"``, the mean over the samples.
    settings : DecodeSettings
        Of detectors.
    cancel : CancelToken or None
        Looked at before every sample.

    Notes
    -----
    Besides ``"loss"``, detectors have ``"cpm"`` (:func:`mean_cpm`) and ``"recall"`` at any score; segmenters ``"dice"`` over
    all voxels and the ``"threshold"`` at which it is reached (:func:`best_dice`), and at that threshold ``"dice_mean"`` over
    the cases and ``"dice_worst"``, that of the worst of them, where samples of one group are one case; classifiers ``"auc"``
    (:func:`ranking_quality`) and ``"accuracy"``.
    """

    task: str
    samples: Sequence[Sample]
    objective: Objective
    settings: DecodeSettings = field(default_factory=DecodeSettings)
    cancel: CancelToken | None = None

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the figures of a network in eval mode, which it is in again afterwards."""
        import torch

        judges: dict[str, Callable[[nn.Module, Iterator[_Seen]], dict[str, float]]] = {
            "detection": self._detection, "segmentation": self._segmentation, "classification": self._classification,
        }  # fmt: skip
        with torch.inference_mode():
            losses = [loss_of_each(network, self.objective, [sample])[0] for sample in self._samples()]
            figures = judges[self.task](network, (image_of(sample, network) for sample in self._samples()))
        return {"loss": float(np.mean(losses)), **figures}

    def _samples(self) -> Iterator[Sample]:
        for sample in self.samples:
            if self.cancel is not None:
                self.cancel.check()
            yield sample

    def _detection(self, network: nn.Module, images: Iterator[_Seen]) -> dict[str, float]:
        decoder: _Decoding = network  # type: ignore[assignment]
        found = [
            decoder.decode(network(image), tuple(image.shape[2:]), self.settings)[0] for _, image in images
        ]
        return mean_cpm(self.samples, found)

    def _segmentation(self, network: nn.Module, images: Iterator[_Seen]) -> dict[str, float]:
        by_case: dict[str, NDArray[np.float64]] = {}
        for number, (sample, image) in enumerate(images):
            counts = _counts(sample, network(image)[0].float().sigmoid().cpu().numpy())
            case = f"group {sample.group}" if sample.group else f"sample {number}"
            by_case[case] = by_case.get(case, 0) + counts
        cases = list(by_case.values())
        dice, threshold = best_dice(np.sum(cases, axis=0))
        row = int(np.flatnonzero(np.isclose(THRESHOLDS, threshold))[0])
        each = [float(_dice(counts)[row]) for counts in cases]
        return {
            "dice": dice, "threshold": threshold, "dice_mean": float(np.mean(each)), "dice_worst": min(each),
        }  # fmt: skip

    def _classification(self, network: nn.Module, images: Iterator[_Seen]) -> dict[str, float]:
        known = [
            (sample.label, network(image)[0].float().cpu().numpy())
            for sample, image in images
            if sample.label >= 0
        ]
        labels, logits = np.asarray([label for label, _ in known]), [said.reshape(-1) for _, said in known]
        # against class 0: with one output its logit, with several the best of the others above it
        scores = np.asarray([one[0] if len(one) == 1 else one[1:].max() - one[0] for one in logits])
        guessed = np.asarray([int(one[0] > 0) if len(one) == 1 else int(one.argmax()) for one in logits])
        return {"auc": ranking_quality(scores, labels > 0), "accuracy": float((guessed == labels).mean())}


def mean_cpm(samples: Sequence[Sample], found: Sequence[Detections]) -> dict[str, float]:
    """Return ``"cpm"`` and ``"recall"`` of detections, each the mean over the classes that have objects.

    LUNA16's rules and figures (:mod:`napari_medlab.evaluation`), with a sample in the place of a scan and voxels in that of
    millimetres: a detection hits where its centre is nearer to an object's than the object's radius.

    Parameters
    ----------
    samples : with their boxes
    found : one for each sample
    """
    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import froc, match

    objects = np.concatenate([sample.labels for sample in samples])
    counted = ~np.concatenate([sample.is_ignored for sample in samples])
    cases = [str(number) for number in range(len(samples))]
    curves = []
    for kind in np.unique(objects[counted]):
        findings = FindingTable.from_objects(_findings(samples, int(kind)), samples[0].dims)
        candidates = CandidateTable.from_objects(_candidates(found, int(kind)), samples[0].dims)
        curves.append(froc(match(findings, candidates, cases)))
    if not curves:
        return {"cpm": float("nan"), "recall": float("nan")}
    return {
        "cpm": float(np.mean([curve.cpm for curve in curves])),
        "recall": float(np.mean([curve.sensitivity[-1] for curve in curves])),
    }


def best_dice(counts: NDArray[np.float64]) -> tuple[float, float]:
    """Return the best Dice coefficient over thresholds, pooled over all voxels, the mean over classes; and the threshold.

    Parameters
    ----------
    counts : array (thresholds, classes, 3)
        Voxels that are in both, in the prediction, and in the reference. A class that is in neither counts as 1.
    """
    dice = _dice(counts)
    best = int(dice.argmax())
    return float(dice[best]), float(THRESHOLDS[best])


def ranking_quality(scores: NDArray[np.floating], is_positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: how often a positive scores higher than a negative, equals counting half.

    It is nan where there are only positives or only negatives (Hanley and McNeil, 1982).
    """
    from scipy.stats import rankdata

    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores)[is_positive].sum()
    return float((ranks - positives * (positives + 1) / 2) / (positives * negatives))


def _counts(sample: Sample, probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    reference = (
        sample.mask.astype(np.bool_) if sample.mask is not None else np.zeros(probabilities.shape, np.bool_)
    )
    rows = []
    for threshold in THRESHOLDS:
        predicted = probabilities >= threshold
        axes = tuple(range(1, predicted.ndim))
        parts = (predicted & reference, predicted, reference)
        rows.append(np.stack([part.sum(axis=axes) for part in parts], axis=-1))
    return np.stack(rows).astype(np.float64)


def _dice(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the Dice coefficient at each threshold, the mean over classes, from counts as :func:`best_dice` takes them."""
    both, predicted, reference = np.moveaxis(counts, -1, 0)
    size = predicted + reference
    dice: NDArray[np.float64] = np.where(size > 0, 2 * both / np.maximum(size, 1), 1.0).mean(axis=1)
    return dice


def _findings(samples: Sequence[Sample], kind: int) -> list[Any]:
    from napari_medlab.annotations import Finding

    return [
        Finding(str(number), tuple(centre), float(diameter), is_excluded=bool(ignored))
        for number, sample in enumerate(samples)
        for centre, diameter, ignored, label in zip(
            sample.centres.tolist(), sample.diameters, sample.is_ignored, sample.labels, strict=True
        )
        if label == kind or ignored
    ]


def _candidates(found: Sequence[Detections], kind: int) -> list[Any]:
    from napari_medlab.annotations import Candidate

    return [
        Candidate(str(number), tuple(centre), float(score))
        for number, one in enumerate(found)
        for centre, score, label in zip(one.centres.tolist(), one.scores, one.classes, strict=True)
        if label == kind
    ]
