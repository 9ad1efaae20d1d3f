"""Which candidate belongs to which finding, under a named rule, as one table."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.match_table import KINDS, Kind, MatchTable
from napari_medlab.evaluation.rules.camelyon import CamelyonRule
from napari_medlab.evaluation.rules.luna16 import Luna16Rule
from napari_medlab.evaluation.rules.overlap import OverlapRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation.rules.shapes import Shapes

__all__ = [
    "KINDS",
    "RULES",
    "Kind",
    "Luna16Rule",
    "MatchRule",
    "MatchTable",
    "match",
    "register_rule",
    "rule_by_name",
]


class MatchRule(Protocol):
    """A rule that pairs candidates with findings.

    Contract: rows of cases that are not in ``cases`` are left out; every included finding of the others gets
    exactly one ``"tp"`` or ``"fn"`` row; every candidate that takes part has at least one row; excluded findings turn
    up in ``"ignored"`` rows alone; the tables handed in are not changed; the same input gives the same table.
    """

    def match(self, findings: FindingTable, candidates: CandidateTable, cases: Sequence[str]) -> MatchTable:
        """Return the match table over ``cases``."""
        ...


RULES: dict[str, MatchRule] = {
    "luna16": Luna16Rule(marks_per_finding=4),
    "iou": OverlapRule(),
    "picai": OverlapRule.pi_cai(),
    "camelyon": CamelyonRule(),
}
"""The rules by name, those about outlines without any: each object is a ball or disc of its diameter there."""


def register_rule(name: str, rule: MatchRule) -> None:
    """Make ``rule`` available by name; a name that is taken raises ValueError."""
    if name in RULES:
        msg = f"There is a matching rule called {name!r} already; choose another name."
        raise ValueError(msg)
    RULES[name] = rule


def rule_by_name(name: str, shapes: Shapes | None = None, iou: float | None = None) -> MatchRule:
    """Return a rule, given the outlines that it goes by.

    Parameters
    ----------
    name : str
        One of :data:`RULES`.
    shapes : Shapes, optional
        The outlines of findings and candidates; where one has none, it is a ball or disc of its diameter. The rule
        ``"luna16"`` goes by centres and needs none.
    iou : float, optional
        The least overlap of a hit, above 0 and at most 1, for ``"iou"`` (0.5) and ``"picai"`` (0.1).

    Raises
    ------
    InputRefusedError
        With code ``"rule"`` for a name that there is not, or an overlap that the rule has no use for.
    """
    rule = RULES.get(name)
    if rule is None:
        raise InputRefusedError(
            f"There is no matching rule called {name!r}.",
            code="rule",
            hint=f"Choose one of {', '.join(sorted(RULES))}.",
        )
    if shapes is not None and isinstance(rule, OverlapRule | CamelyonRule):
        rule = replace(rule, shapes=shapes)
    if iou is None:
        return rule
    if not isinstance(rule, OverlapRule):
        raise InputRefusedError(
            f"The rule {name!r} knows no least overlap, got {iou:g}.", code="rule", hint="Use the rule 'iou'."
        )
    return replace(rule, iou=iou)


def match(
    findings: FindingTable,
    candidates: CandidateTable,
    cases: Sequence[str] | None = None,
    rule: str | MatchRule = "luna16",
) -> MatchTable:
    """Return the match table of candidates and findings.

    Parameters
    ----------
    findings, candidates : tables
        Excluded findings are those whose ``is_excluded`` is set.
    cases : sequence of str, optional
        The cases to evaluate; rows of others are left out. By default all that occur in either table.
    rule : str or MatchRule
        A rule, or the name of one in :data:`RULES`.
    """
    if cases is None:
        cases = [*map(str, findings.case_ids), *map(str, candidates.case_ids)]
    chosen = RULES[rule] if isinstance(rule, str) else rule
    return chosen.match(findings, candidates, cases)
