"""What examples can be chosen from: everything that a run proposed or missed on training cases, as columns."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.hardcases.mining.rule import REASONS, Example

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["Pool", "Replay"]


@dataclass(frozen=True, eq=False)
class Pool:
    """Objects of training cases, each in one row; those of frozen cases must not be in it.

    Parameters
    ----------
    object_id, case_id, patient : str arrays, (n,)
    kind : str array, (n,)
        The kind of error that it is at the operating point; ``"hit"`` or ``"background"`` for a candidate that is none.
    centre : float64 array, (n, d), world coordinates
    score : float64 array, (n,)
    is_positive : bool array, (n,)
        Whether it is a finding, or a candidate that hits one that counts.
    is_proposed : bool array, (n,)
        Whether a random draw may take it: all candidates, and the findings that no candidate hit at any score. A finding
        that was hit below the operating point alone is drawn as its candidate.
    verdict : str array, (n,)
        What the reader said; empty for nothing.
    is_doubted, is_near_miss, was_exported : bool arrays, (n,)
        Whether a reader called the label into doubt; whether it hits no finding and yet lies beside one; whether an
        earlier package holds it.
    shown : int array, (m,)
        The rows of the review queue at the operating point, the front first.
    vectors : float array, (n, features)
        An embedding of each; a row that is 0 throughout is unknown. No features where nobody asks.
    """

    object_id: NDArray[np.str_]
    case_id: NDArray[np.str_]
    patient: NDArray[np.str_]
    kind: NDArray[np.str_]
    centre: NDArray[np.float64]
    score: NDArray[np.float64]
    is_positive: NDArray[np.bool_]
    is_proposed: NDArray[np.bool_]
    verdict: NDArray[np.str_]
    is_doubted: NDArray[np.bool_]
    is_near_miss: NDArray[np.bool_]
    was_exported: NDArray[np.bool_]
    shown: NDArray[np.intp]
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def __post_init__(self) -> None:
        if not len(self.vectors):
            object.__setattr__(self, "vectors", np.zeros((len(self), 0), np.float32))
        lengths = {one.name: len(getattr(self, one.name)) for one in fields(self) if one.name != "shown"}
        if len(set(lengths.values())) > 1:
            msg = f"The columns of a pool must have one length, got {lengths}."
            raise ValueError(msg)

    def __len__(self) -> int:
        return len(self.object_id)

    @property
    def proposed_positives(self) -> NDArray[np.intp]:
        """The rows of candidates that hit a finding, and of findings that none hit."""
        return np.flatnonzero(self.is_positive & self.is_proposed)

    @property
    def proposed_negatives(self) -> NDArray[np.intp]:
        """The rows of candidates that hit nothing."""
        return np.flatnonzero(~self.is_positive & self.is_proposed)

    def example(self, row: int, weight: float) -> Example:
        """Return a row as an example."""
        return Example(
            str(self.case_id[row]), tuple(self.centre[row].tolist()), REASONS[str(self.kind[row])], weight,
            str(self.object_id[row]), str(self.verdict[row]), bool(self.is_positive[row]),
        )  # fmt: skip


@dataclass(frozen=True)
class Replay:
    """What the model had right, to go on being learnt.

    Parameters
    ----------
    findings : sequence of Example
        Findings that were found at the operating point; drawn at random.
    places : sequence of Example
        Where there is nothing, and nothing was marked at the operating point; taken in order.
    """

    findings: Sequence[Example] = ()
    places: Sequence[Example] = ()
