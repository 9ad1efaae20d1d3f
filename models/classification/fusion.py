"""One score out of two: the detector's, and that of the classifier of its candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Rule = Callable[[NDArray[np.float64], NDArray[np.float64], float], NDArray[np.float64]]

__all__ = ["RULES", "fuse"]


def _geometric(
    detector: NDArray[np.float64], classifier: NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = detector ** (1 - weight) * classifier**weight
    return mean


def _arithmetic(
    detector: NDArray[np.float64], classifier: NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    return (1 - weight) * detector + weight * classifier


def _product(
    detector: NDArray[np.float64], classifier: NDArray[np.float64], weight: float
) -> NDArray[np.float64]:
    return detector * classifier


RULES: dict[str, Rule] = {"geometric mean": _geometric, "arithmetic mean": _arithmetic, "product": _product}
"""The rules by the names that bundles use."""


def fuse(
    detector_scores: ArrayLike,
    classifier_scores: ArrayLike,
    rule: str = "geometric mean",
    weight: float = 0.5,
) -> NDArray[np.float64]:
    """Return the joined scores of candidates, 0 … 1.

    Parameters
    ----------
    detector_scores, classifier_scores : arrays (n,), 0 … 1
    rule : {"geometric mean", "arithmetic mean", "product"}
        A geometric mean asks both to agree, an arithmetic one lets either carry a candidate. The product orders
        candidates as the geometric mean with equal weights does, and gives lower scores.
    weight : float, 0 … 1
        How much the classifier counts in a mean: 0 leaves the detector's score, 1 the classifier's.

    Raises
    ------
    InputRefusedError
        For a rule that is not known, and a weight outside 0 … 1.
    """
    if rule not in RULES:
        raise InputRefusedError(
            f"There is no rule of fusion called {rule!r}; known are {', '.join(RULES)}.", code="fusion-rule"
        )
    if not 0 <= weight <= 1:
        raise InputRefusedError(
            f"The classifier's weight is {weight}; it lies between 0 and 1.", code="fusion-weight"
        )
    detector, classifier = (
        np.asarray(scores, dtype=np.float64) for scores in (detector_scores, classifier_scores)
    )
    return RULES[rule](detector, classifier, weight)
