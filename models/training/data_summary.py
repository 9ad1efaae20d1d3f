"""What a training is about to learn from, in numbers that show a wrong folder before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.models.training.samples import NO_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.models.training.samples import Sample

__all__ = ["class_counts", "reach_of_boxes", "smallest_anchor"]

NONE = "none"
"""What samples without a lesion are counted as, where a classifier has no name for them."""


@dataclass(frozen=True)
class _Facts:
    """What is counted of a sample, without its image."""

    label: int
    labels: NDArray[np.int64]
    is_ignored: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    in_mask: NDArray[np.intp]


def class_counts(samples: Iterable[Sample | Path], task: str, classes: Sequence[str]) -> dict[str, int]:
    """Return how often each class occurs.

    Parameters
    ----------
    samples : iterable of Sample, or of Path to their files
    task : {"detection", "segmentation", "classification"}
        Boxes that count are counted for detectors, samples whose mask holds the class for segmenters, and samples of the
        class for classifiers.
    classes : sequence of str

    Returns
    -------
    dict of str to int
        All of ``classes`` in their order, and ``"none"`` for a classifier of one class; ``"ignored"`` and classes that have
        no name, as ``"class 7"``, only where there are any.
    """
    found: Counter[str] = Counter()
    for sample in samples:
        facts = _facts(sample, with_mask=task == "segmentation")
        if task == "classification":
            found[_kind_of(facts.label, classes)] += 1
        elif task == "segmentation":
            found.update(_name_of(int(number), classes) for number in facts.in_mask)
        else:
            found.update(_name_of(int(number), classes) for number in facts.labels[~facts.is_ignored])
            found["ignored"] += int(facts.is_ignored.sum())
    named = [*classes, NONE] if task == "classification" and len(classes) == 1 else [*classes]
    rest = sorted(name for name, count in found.items() if name not in named and count)
    return {name: found[name] for name in (*named, *rest)}


def reach_of_boxes(samples: Iterable[Sample | Path], network: nn.Module) -> dict[str, Any] | None:
    """Return how large boxes are as the network sees them, beside its smallest anchor; None where there is no box.

    The size of a box is the side of the square or cube of its area or volume, as that of an anchor is. It is in voxels of the
    samples, which is after any resize.

    Returns
    -------
    dict
        ``smallest``, ``median`` and ``largest``; and where the network has anchors, ``smallest_anchor`` and ``share_below``,
        the share of boxes that are smaller.
    """
    facts = [_facts(sample, with_mask=False) for sample in samples]
    sides = [
        one.boxes[~one.is_ignored].reshape(-1, 2, one.boxes.shape[1] // 2) for one in facts if len(one.boxes)
    ]
    if not sum(map(len, sides)):
        return None
    spans = np.concatenate([np.diff(each, axis=1)[:, 0] for each in sides]).astype(np.float64)
    sizes = np.exp(np.log(np.maximum(spans, 1e-6)).mean(axis=1))
    told = {
        "smallest": round(float(sizes.min()), 2), "median": round(float(np.median(sizes)), 2),
        "largest": round(float(sizes.max()), 2),
    }  # fmt: skip
    anchor = smallest_anchor(network)
    if anchor is None:
        return told
    return {
        **told,
        "smallest_anchor": round(anchor, 2),
        "share_below": round(float((sizes < anchor).mean()), 4),
    }


def smallest_anchor(network: nn.Module) -> float | None:
    """Return the size of the smallest anchor of a detector in voxels; None where it has no anchors."""
    from napari_medlab.models.detection.anchors import AnchorGrid
    from napari_medlab.models.detection.heads import DistanceCoding

    grids = [
        module.grid
        for module in network.modules()
        # cells of a branch without anchors are laid out like anchors, and are none
        if isinstance(getattr(module, "grid", None), AnchorGrid)
        and not isinstance(getattr(module, "coding", None), DistanceCoding)
    ]
    return min((grid.smallest for grid in grids if isinstance(grid, AnchorGrid)), default=None)


def _facts(sample: Sample | Path, *, with_mask: bool) -> _Facts:
    if not isinstance(sample, Path):
        mask = sample.mask if with_mask else None
        return _Facts(sample.label, sample.labels, sample.is_ignored, sample.boxes, _in_mask(mask))
    with np.load(sample, allow_pickle=False) as stored:
        mask = stored.get("mask") if with_mask else None
        return _Facts(
            int(stored["label"]), stored["labels"], stored["is_ignored"], stored["boxes"], _in_mask(mask)
        )


def _in_mask(mask: NDArray[np.uint8] | None) -> NDArray[np.intp]:
    """Return the classes that a mask holds."""
    if mask is None:
        return np.zeros(0, np.intp)
    return np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))


def _kind_of(label: int, classes: Sequence[str]) -> str:
    """Return the class of a whole sample: its number, or where there is but one class, 0 for none and 1 for that."""
    if label == NO_CLASS:
        return "ignored"
    if len(classes) > 1:
        return _name_of(label, classes)
    return NONE if label == 0 else _name_of(label - 1, classes)


def _name_of(number: int, classes: Sequence[str]) -> str:
    return classes[number] if 0 <= number < len(classes) else f"class {number}"
