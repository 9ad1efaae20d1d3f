"""What a benchmark says: a figure beside a peer or a limit with its goal, and how figures grow with the work."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Figure", "Goal", "Growth", "Order", "percentiles"]

Order = Literal["constant", "n", "n log n"]
MOST_FACTOR: dict[Order, float] = {"constant": 1.6, "n": 13.0, "n log n": 16.0}
"""By how much a figure of an order may grow with ten times the work; what noise adds is in it."""
SUBLINEAR = 7.0
"""Below this factor a figure grows clearly less than the work."""


@dataclass(frozen=True)
class Goal:
    """A limit that a figure keeps, or its ratio to the peer's.

    Parameters
    ----------
    limit : of the figure in its unit, or of the ratio
    of : {"ours", "ratio"}
        Which of the two is limited.
    at : {"most", "least"}
    """

    limit: float
    of: Literal["ours", "ratio"] = "ours"
    at: Literal["most", "least"] = "most"

    def is_met(self, ours: float, ratio: float | None) -> bool:
        """Return whether a figure keeps the limit; a ratio that there is not keeps none."""
        value = ours if self.of == "ours" else ratio
        if value is None or math.isnan(value):
            return False
        return value <= self.limit if self.at == "most" else value >= self.limit

    def text(self, unit: str) -> str:
        """Return the goal as the table shows it."""
        sign = "≤" if self.at == "most" else "≥"
        return (
            f"{sign} {self.limit:g} × peer"
            if self.of == "ratio"
            else f"{sign} {self.limit:g} {unit}".rstrip()
        )


@dataclass(frozen=True)
class Figure:
    """One measured value of ours, beside what it is held against.

    Parameters
    ----------
    area : what part of the product it is about, such as "Slides"
    what : is measured
    ours : in the unit
    unit : such as "ms"; empty for a bare number
    goal : Goal, optional
        May be left out where there is a peer: the figure is then for information.
    peer : what else was measured in the same run, named; empty where the goal is a limit of its own
    peer_value : in the same unit
    pair_ratio : the median of ratios taken pair by pair, where runs of both took turns
    how : it was measured, in a few words

    Raises
    ------
    ValueError
        For a figure with neither peer nor goal, a peer without its value, or a ratio to nothing.
    """

    area: str
    what: str
    ours: float
    unit: str
    goal: Goal | None = None
    peer: str = ""
    peer_value: float | None = None
    pair_ratio: float | None = None
    how: str = ""

    def __post_init__(self) -> None:
        if not self.peer and self.goal is None:
            raise ValueError(f"{self.what}: a figure needs a peer or a goal")
        if bool(self.peer) != (self.peer_value is not None):
            raise ValueError(f"{self.what}: a peer needs a name and a value")
        if not self.peer and (
            self.pair_ratio is not None or (self.goal is not None and self.goal.of == "ratio")
        ):
            raise ValueError(f"{self.what}: a ratio needs a peer")

    @classmethod
    def of_turns(
        cls,
        area: str,
        what: str,
        turns: Mapping[str, Sequence[float]],
        unit: str,
        goal: Goal | None,
        **rest: str,
    ) -> Figure:
        """Return the figure of runs that took turns: medians of both, and the median of the ratios turn by turn.

        Parameters
        ----------
        turns : our values under "ours", and those of the peer, as many, under its name
        """
        (peer,) = (name for name in turns if name != "ours")
        ours, theirs = np.asarray(turns["ours"], float), np.asarray(turns[peer], float)
        ratio = float(np.median(ours / theirs))
        return cls(
            area, what, float(np.median(ours)), unit, goal, peer, float(np.median(theirs)), ratio, **rest
        )

    @property
    def ratio(self) -> float | None:
        """Ours over the peer's, or over the limit where there is no peer."""
        if self.pair_ratio is not None:
            return self.pair_ratio
        other = self.peer_value if self.peer else self.goal.limit if self.goal is not None else None
        return self.ours / other if other else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return None if self.goal is None else self.goal.is_met(self.ours, self.ratio)

    def as_json(self) -> dict[str, Any]:
        """Return the figure as plain JSON values, with what follows from them."""
        return asdict(self) | {"ratio": self.ratio, "met": self.met}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Figure:
        """Return what :meth:`as_json` wrote."""
        goal = None if values["goal"] is None else Goal(**values["goal"])
        return cls(**{k: v for k, v in values.items() if k not in ("ratio", "met", "goal")}, goal=goal)


@dataclass(frozen=True)
class Growth:
    """How a figure grows with the work.

    Parameters
    ----------
    area, what, unit : as of a :class:`Figure`
    of : what grows, such as "candidates"
    expected : {"constant", "n", "n log n"}
    sizes, figures : of each measurement, the smallest first

    Raises
    ------
    ValueError
        Where there are fewer than two sizes, or they do not grow.
    """

    area: str
    what: str
    unit: str
    of: str
    expected: Order
    sizes: tuple[float, ...]
    figures: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) < 2 or len(self.sizes) != len(self.figures) or min(np.diff(self.sizes)) <= 0:
            raise ValueError(f"{self.what}: growth needs sizes that grow, and a figure for each")

    @property
    def factors(self) -> tuple[float, ...]:
        """By how much the figure grows from each size to the next, brought to a tenfold."""
        steps = np.log10(np.asarray(self.sizes[1:]) / np.asarray(self.sizes[:-1]))
        ratios = np.maximum(np.asarray(self.figures[1:]), 1e-12) / np.maximum(
            np.asarray(self.figures[:-1]), 1e-12
        )
        return tuple((ratios ** (1 / steps)).tolist())

    @property
    def seen(self) -> str:
        """The order that the last step shows, where what does not grow hides the rest least."""
        last = self.factors[-1]
        if SUBLINEAR > last > MOST_FACTOR["constant"]:
            return "less than n"
        return next((order for order, most in MOST_FACTOR.items() if last <= most), "more than n log n")

    @property
    def is_as_expected(self) -> bool:
        """Whether it grows no faster than it should."""
        return self.factors[-1] <= MOST_FACTOR[self.expected]

    def as_json(self) -> dict[str, Any]:
        """Return the growth as plain JSON values, with what follows from them."""
        return asdict(self) | {"factors": self.factors, "is_as_expected": self.is_as_expected}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Growth:
        """Return what :meth:`as_json` wrote."""
        plain = {k: v for k, v in values.items() if k not in ("factors", "is_as_expected")}
        return cls(**plain | {"sizes": tuple(plain["sizes"]), "figures": tuple(plain["figures"])})


def percentiles(values: Sequence[float], *shares: float) -> list[float]:
    """Return percentiles of some values, such as 50, 95 and 100."""
    return [float(value) for value in np.percentile(values, shares)]
