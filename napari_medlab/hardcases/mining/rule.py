"""How examples are chosen, what an example is, and what came of choosing."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medlab.hardcases.errors.table import ErrorKind

__all__ = ["DOUBTS", "KINDS", "REASONS", "REPLAY", "Chosen", "Example", "MiningRule"]

DOUBTS = ("ambiguous", "reference wrong")
"""Verdicts after which a label is in doubt, so that nothing is to be learnt from it."""

REPLAY = "replay"
KINDS: tuple[ErrorKind, ...] = ("fp", "fn", "duplicate", "poor outline", "disagreement", "low confidence")
"""The kinds of error that examples are taken of."""
REASONS = {
    "fp": "false positive", "fn": "miss", "duplicate": "duplicate", "poor outline": "poor outline",
    "disagreement": "disagreement", "low confidence": "low confidence", "hit": "found", "background": "background",
}  # fmt: skip
"""Why an example was taken, by what it is: an error of some kind, a candidate that hits a finding, or one that does not."""


@dataclass(frozen=True)
class MiningRule:
    """How examples are chosen.

    Parameters
    ----------
    strategy : str
        One of :data:`~napari_medlab.hardcases.mining.strategies.STRATEGIES`.
    budget : int
        At most this many examples beside the replay; of ``"balanced"``, at most this many in all.
    per_case : int
        At most this many of them of one case.
    per_patient : int or None
        At most this many of one patient; None for as many as their cases give.
    replay_share : float, 0 … below 1
        The share of all examples that are not errors but findings the model had right, and places where it rightly saw
        nothing: without them a model forgets. ``"balanced"`` has its own.
    kinds : tuple of str
        The kinds of error that make the queue, of :data:`KINDS`.
    ratio : float or None
        Negatives for each positive. For ``"mixture"`` None takes what the queue has; the others that balance take 4.
    random_share : float, 0 … 1
        For ``"mixture"``: the share of the budget that is drawn from all candidates, whatever their scores.
    widening : float, 1 or more
        For ``"semi-hard"``: negatives are drawn from so many times the budget of the highest scored ones.
    least_difference : float or None
        An example that is nearer than this to an earlier one, by the cosine distance of their embeddings, is left out.
    seed : int
    shares : tuple of float
        For ``"mixture"``: how much of the queue's part each of ``kinds`` gets, in their order; empty for equal parts.
    earlier_weight : float, 0 … 1
        What the weight of an object is multiplied by that is in an earlier package of the project; 0 leaves it out.

    Raises
    ------
    InputRefusedError
        ``mining`` where a value makes no sense.
    """

    strategy: str = "balanced"
    budget: int = 200
    per_case: int = 12
    per_patient: int | None = None
    replay_share: float = 0.5
    kinds: tuple[ErrorKind, ...] = ("fp", "fn")
    ratio: float | None = None
    random_share: float = 0.0
    widening: float = 4.0
    least_difference: float | None = None
    seed: int = 0
    shares: tuple[float, ...] = ()
    earlier_weight: float = 1.0

    def __post_init__(self) -> None:
        fits = {
            "budget": self.budget >= 0,
            "per_case": self.per_case >= 1,
            "per_patient": self.per_patient is None or self.per_patient >= 1,
            "replay_share": 0 <= self.replay_share < 1,
            "kinds": bool(self.kinds) and set(self.kinds) <= set(KINDS),
            "ratio": self.ratio is None or self.ratio >= 0,
            "random_share": 0 <= self.random_share <= 1,
            "widening": self.widening >= 1,
            "least_difference": self.least_difference is None or 0 < self.least_difference < 2,
            "shares": not self.shares
            or (len(self.shares) == len(self.kinds) and min(self.shares) >= 0 and sum(self.shares) > 0),
            "earlier_weight": 0 <= self.earlier_weight <= 1,
        }
        wrong = [f"{name} = {getattr(self, name)!r}" for name, is_usable in fits.items() if not is_usable]
        if wrong:
            raise InputRefusedError(
                f"Hard examples cannot be chosen by {', '.join(wrong)}.", code="mining",
                hint=f"Shares are 0 to 1, limits 1 or more, and kinds are among {', '.join(KINDS)}.",
            )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the rule as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class Example:
    """A place to cut a crop at.

    Parameters
    ----------
    case_id : str
    centre : tuple of float
        World coordinates of the crop's middle.
    reason : str
        One of :data:`REASONS`' values, or ``"replay"``.
    weight : float
        How often it is drawn in training, relative to others.
    object_id : str
        The candidate or finding that it is about; empty for a random place.
    verdict : str
        What the reader said about it; empty for nothing.
    is_positive : bool
        Whether there is a finding that counts.
    """

    case_id: str
    centre: tuple[float, ...]
    reason: str
    weight: float = 1.0
    object_id: str = ""
    verdict: str = ""
    is_positive: bool = False


@dataclass(frozen=True)
class Chosen:
    """What a rule chose, and what it left out.

    Parameters
    ----------
    examples : tuple of Example
        In the order in which they were chosen, the replay last.
    left_out : mapping of str to int
        How many were left out, by the reason in words.
    warnings : tuple of str
        What is known against the rule, in sentences.
    """

    examples: tuple[Example, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def errors(self) -> tuple[Example, ...]:
        """The examples that are no replay."""
        return tuple(example for example in self.examples if example.reason != REPLAY)

    @property
    def counts(self) -> dict[str, int]:
        """How many there are by reason, the most frequent first."""
        return dict(Counter(example.reason for example in self.examples).most_common())

    @property
    def case_ids(self) -> tuple[str, ...]:
        """The cases that they are of, each once."""
        return tuple(dict.fromkeys(example.case_id for example in self.examples))

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain JSON values."""
        return {
            "examples": len(self.examples),
            "positives": sum(example.is_positive for example in self.examples),
            "judged": sum(bool(example.verdict) for example in self.examples),
            "cases": len(self.case_ids),
            "by_reason": self.counts,
            "left_out": dict(self.left_out),
            "warnings": list(self.warnings),
        }
