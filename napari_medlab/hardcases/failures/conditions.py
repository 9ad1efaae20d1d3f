"""The conditions that rules are made of: thresholds at round numbers, and categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.hardcases.describing.table import DescriptorTable

__all__ = ["Condition", "Literals", "literals_of"]

QUANTILES = np.arange(0.1, 0.95, 0.1)
ROUND_PARTS = 20.0
"""Thresholds are rounded to steps of about this part of the range of most values."""
MOST_CATEGORIES = 12
"""More values of one column than this, the most frequent ones, are not looked at."""


@dataclass(frozen=True)
class Condition:
    """One condition on one descriptor.

    Parameters
    ----------
    column : str
    relation : {"<", ">=", "is"}
    value : float or str
        In the unit of the column.
    text : str
        For people, such as ``"diameter < 5 mm"``.
    """

    column: str
    relation: Literal["<", ">=", "is"]
    value: float | str
    text: str


@dataclass(frozen=True, eq=False)
class Literals:
    """Conditions, and which rows fulfil them: ``holds`` is bool (conditions, rows)."""

    conditions: tuple[Condition, ...]
    holds: NDArray[np.bool_]

    def all_of(self, conditions: tuple[int, ...]) -> NDArray[np.bool_]:
        """Return which rows, (n,), fulfil all of some conditions."""
        rows: NDArray[np.bool_] = np.logical_and.reduce(self.holds[list(conditions)], axis=0)
        return rows


def literals_of(table: DescriptorTable, least: int) -> Literals:
    """Return the conditions that at least ``least`` rows fulfil and as many do not.

    Of conditions with the same rows one is kept: that on a category, which reads better than a number.
    """
    found: dict[bytes, tuple[Condition, NDArray[np.bool_]]] = {}
    for condition, holds in (*_values(table), *_thresholds(table)):
        count = int(holds.sum())
        if least <= count <= len(table) - least:
            found.setdefault(np.packbits(holds).tobytes(), (condition, holds))
    kept = list(found.values())
    rows = np.asarray([holds for _, holds in kept], dtype=np.bool_).reshape(len(kept), len(table))
    return Literals(tuple(condition for condition, _ in kept), rows)


def round_thresholds(values: NDArray[np.float64]) -> list[float]:
    """Return the deciles of a column's known values, rounded to steps that a person would choose; fewer where they meet."""
    known = values[np.isfinite(values)]
    if not len(known):
        return []
    low, high = np.quantile(known, (0.05, 0.95))
    if high <= low:
        return []
    step = _round_step(float(high - low) / ROUND_PARTS)
    digits = max(0, -int(np.floor(np.log10(step))))
    return sorted({round(round(float(q) / step) * step, digits) for q in np.quantile(known, QUANTILES)})


def _thresholds(table: DescriptorTable) -> list[tuple[Condition, NDArray[np.bool_]]]:
    pairs = []
    for name, column in table.numbers.items():
        title = table.title(name)
        unit = f" {title.unit}" if title.unit else ""
        for value in round_thresholds(column):
            shown = f"{value:g}".replace("-", "−")
            # nan fulfils neither
            pairs.append((Condition(name, "<", value, f"{title.title} < {shown}{unit}"), column < value))
            pairs.append((Condition(name, ">=", value, f"{title.title} ≥ {shown}{unit}"), column >= value))
    return pairs


def _values(table: DescriptorTable) -> list[tuple[Condition, NDArray[np.bool_]]]:
    pairs = []
    for name, column in table.categories.items():
        values, counts = np.unique(column[column != ""], return_counts=True)
        for value in values[np.argsort(-counts, kind="stable")][:MOST_CATEGORIES].tolist():
            title = table.title(name).title
            # a category that says what it is about needs no title: "attached to a vessel"
            text = value if title.lower() in value.lower() else f"{title} {value}"
            pairs.append((Condition(name, "is", value, text), column == value))
    return pairs


def _round_step(wanted: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is not above ``wanted``."""
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(power * max(part for part in (1.0, 2.0, 5.0) if part * power <= wanted * (1 + 1e-9)))
