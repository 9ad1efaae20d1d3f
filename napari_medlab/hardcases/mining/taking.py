"""Going through a pool row by row, and leaving out what may not be taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_medlab.hardcases.mining.pool import Pool
    from napari_medlab.hardcases.mining.rule import MiningRule

__all__ = ["BEYOND", "Draw", "Taker"]

BEYOND = "beyond the budget"
DOUBT, NEAR, EARLIER = "label in doubt", "beside a finding", "in an earlier package"
OF_CASE, OF_PATIENT, ALIKE = "limit of the case", "limit of the patient", "much like another"


@dataclass(frozen=True, eq=False)
class Draw:
    """Rows in the order in which they are tried, and how many of them are taken at most."""

    rows: NDArray[np.intp]
    most: int


class Taker:
    """Takes rows one after the other, as far as the rule lets it.

    Parameters
    ----------
    pool : Pool
    rule : MiningRule
    """

    def __init__(self, pool: Pool, rule: MiningRule) -> None:
        self._pool, self._rule = pool, rule
        self.rows: list[int] = []
        """What was taken, in order."""
        self._left_out: dict[int, str] = {}
        self._tried: set[int] = set()
        self._of_case: Counter[str] = Counter()
        self._of_patient: Counter[str] = Counter()
        self._near = _Nearness(pool, rule)

    @property
    def left_out(self) -> dict[str, int]:
        """How many were left out by reason, those that nobody came to among them."""
        found = Counter(self._left_out.values())
        found[BEYOND] += len(self._tried - set(self.rows) - set(self._left_out))
        return {reason: count for reason, count in found.most_common() if count}

    def take_all(self, draws: Iterable[Draw]) -> None:
        """Take from each draw in turn, up to its own limit and the rule's budget."""
        for draw in draws:
            self.take(draw)

    def take(self, draw: Draw) -> None:
        """Take from a draw; rows that were taken or left out before are passed over."""
        rows = draw.rows.tolist()
        self._tried.update(rows)
        taken = 0
        for row in rows:
            if taken >= draw.most or len(self.rows) >= self._rule.budget:
                break
            taken += self._may_take(row)

    def _may_take(self, row: int) -> bool:
        if row in self._left_out or row in self._near.taken:
            return False
        reason = self._reason_against(row)
        if reason:
            self._left_out[row] = reason
            return False
        self.rows.append(row)
        self._of_case[str(self._pool.case_id[row])] += 1
        self._of_patient[str(self._pool.patient[row])] += 1
        self._near.add(row)
        return True

    def _reason_against(self, row: int) -> str:
        """Return why a row may not be taken; empty where it may."""
        pool, rule = self._pool, self._rule
        case, patient = str(pool.case_id[row]), str(pool.patient[row])
        against = {
            DOUBT: bool(pool.is_doubted[row]),
            NEAR: bool(pool.is_near_miss[row]),
            EARLIER: rule.earlier_weight == 0 and bool(pool.was_exported[row]),
            OF_CASE: self._of_case[case] >= rule.per_case,
            OF_PATIENT: rule.per_patient is not None and self._of_patient[patient] >= rule.per_patient,
        }
        return next(
            (why for why, holds in against.items() if holds), ALIKE if self._near.is_near(row) else ""
        )


class _Nearness:
    """Tells what is much like something taken before, by the cosine of the angle between their embeddings.

    Lesions are compared with lesions and what is none with what is none: that a false mark looks like a lesion is the
    very reason to learn from it.
    """

    def __init__(self, pool: Pool, rule: MiningRule) -> None:
        lengths = np.linalg.norm(pool.vectors, axis=1, keepdims=True)
        self._units = pool.vectors / np.where(lengths > 0, lengths, 1)
        self._is_known = lengths[:, 0] > 0
        self._is_positive = pool.is_positive
        self._most_alike = None if rule.least_difference is None else 1 - rule.least_difference
        self.taken: set[int] = set()
        self._sides: dict[bool, list[int]] = {False: [], True: []}

    def add(self, row: int) -> None:
        self.taken.add(row)
        if self._is_known[row]:
            self._sides[bool(self._is_positive[row])].append(row)

    def is_near(self, row: int) -> bool:
        earlier = self._sides[bool(self._is_positive[row])]
        if self._most_alike is None or not self._is_known[row] or not earlier:
            return False
        return bool((self._units[earlier] @ self._units[row]).max() > self._most_alike)
