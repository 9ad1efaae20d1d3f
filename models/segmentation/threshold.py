"""The threshold of a segmenter, chosen on validation cases in one pass over their masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.ensembling.validation_only import require_validation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.models.ensembling.validation_only import SplitCase

__all__ = ["ChosenThreshold", "ThresholdSearch"]

LEVELS = 256
THRESHOLDS = (np.arange(1, LEVELS) - 0.5) / (LEVELS - 1)
"""Half-way between every two levels."""
MEASURES = ("dice", "iou")


@dataclass(frozen=True, eq=False)
class ChosenThreshold:
    """The best threshold of one class.

    Parameters
    ----------
    threshold : float, 0 … 1
        Half-way between two levels of a mask of 0 … 255, so that it cuts such a mask and one of floating values alike.
    value : float
        What it reaches on the validation cases: too good by the choice itself, and no figure to report.
    thresholds, values : float64 arrays (255,)
        All thresholds, and what each reaches; nan where there is nothing to measure.
    """

    threshold: float
    value: float
    thresholds: NDArray[np.float64]
    values: NDArray[np.float64]


class ThresholdSearch:
    """Collects how probabilities are spread inside and outside of the reference, case by case, part by part.

    Parameters
    ----------
    classes : int
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        # of each case: (outside or inside, class, level)
        self._counts: dict[str, NDArray[np.int64]] = {}

    def add(self, case: SplitCase, probabilities: NDArray[np.generic], mask: NDArray[np.generic]) -> None:
        """Count the voxels of a case, or of a part of it; parts of one case add up.

        Parameters
        ----------
        case : SplitCase
        probabilities : array (class, …), uint8 0 … 255 or floating 0 … 1
        mask : array of the same shape
            The reference; not 0 where an object is.

        Raises
        ------
        InputRefusedError
            With code ``"test-cases"`` where the case is for testing; where shapes do not fit.
        """
        require_validation([case], "The threshold")
        if probabilities.shape != mask.shape or len(mask) != self._classes:
            raise InputRefusedError(
                f"{case.name}: probabilities are {probabilities.shape} and the reference is {mask.shape}; "
                f"both should be ({self._classes}, …).",
                code="shape",
            )
        counts = self._counts.setdefault(case.case_id, np.zeros((2, self._classes, LEVELS), np.int64))
        for number, (values, reference) in enumerate(zip(_levels(probabilities), mask, strict=True)):
            joint = values.astype(np.int64) + LEVELS * (reference != 0)
            counts[:, number] += np.bincount(joint.ravel(), minlength=2 * LEVELS).reshape(2, LEVELS)

    def best(self, measure: str = "dice", over: str = "cases") -> list[ChosenThreshold]:
        """Return the best threshold of each class.

        Parameters
        ----------
        measure : {"dice", "iou"}
        over : {"cases", "voxels"}
            The mean over cases, in which each counts the same, or one figure over the voxels of all. A case without
            objects, in which none are found, counts 1.

        Raises
        ------
        InputRefusedError
            Where no case was added, or the measure is not known.
        """
        if measure not in MEASURES or over not in ("cases", "voxels"):
            raise InputRefusedError(
                f"A threshold is chosen by dice or iou over cases or voxels, not by {measure} over {over}.",
                code="measure",
            )
        if not self._counts:
            require_validation([], "The threshold")
        every = np.stack([*self._counts.values()])
        counts = every if over == "cases" else every.sum(axis=0, keepdims=True)
        values = _values(counts, measure).mean(axis=0)
        return [_choose(THRESHOLDS, of_class) for of_class in values]


def _levels(probabilities: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return for each probability how many thresholds it reaches, which is how a mask stores it, 0 … 255."""
    if probabilities.dtype == np.uint8:
        return probabilities.astype(np.uint8, copy=False)
    # compared in their own precision, as objects are cut out: what is rounded lies by one beside where it is half-way
    values, limits = np.clip(np.nan_to_num(probabilities), 0, 1), THRESHOLDS.astype(probabilities.dtype)
    levels: NDArray[np.uint8] = np.rint(values * (LEVELS - 1)).astype(np.uint8)
    levels += values >= np.append(limits, np.inf)[levels]
    levels -= values < np.append(-np.inf, limits)[levels]
    return levels


def _values(counts: NDArray[np.int64], measure: str) -> NDArray[np.float64]:
    """Return the measure (case, class, threshold) of counts (case, outside or inside, class, level)."""
    reached = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
    total = reached[:, 1, :, :1]
    false_positive, true_positive = reached[:, 0, :, 1:], reached[:, 1, :, 1:]
    wrong = false_positive + (total - true_positive)
    right = true_positive * (2 if measure == "dice" else 1)
    whole = right + wrong
    return np.where(whole > 0, right / np.maximum(whole, 1), 1.0)


def _choose(thresholds: NDArray[np.float64], values: NDArray[np.float64]) -> ChosenThreshold:
    """Return the best; of equally good ones the middle one of the first row of them, farthest from where it falls off."""
    is_best = np.flatnonzero(values >= values.max() - 1e-12)
    row = is_best[: int(np.argmax(np.append(np.diff(is_best), 2) > 1)) + 1]
    at = int(row[len(row) // 2])
    return ChosenThreshold(float(thresholds[at]), float(values[at]), thresholds, values)
