"""Matching by overlap written out in plain loops: what the fast rule must agree with."""

from __future__ import annotations

from itertools import permutations
from typing import NamedTuple

Corner = tuple[float, ...]


class PlainBox(NamedTuple):
    """A finding (``excluded`` or not) or a candidate (``score``), as a box in world coordinates."""

    case: str
    low: Corner
    high: Corner
    score: float = 0.0
    excluded: bool = False


def size(low: Corner, high: Corner) -> float:
    product = 1.0
    for a, b in zip(low, high, strict=True):
        product *= max(b - a, 0.0)
    return product


def common(a: PlainBox, b: PlainBox) -> float:
    low = tuple(max(x, y) for x, y in zip(a.low, b.low, strict=True))
    return size(low, tuple(min(x, y) for x, y in zip(a.high, b.high, strict=True)))


def iou(a: PlainBox, b: PlainBox) -> float:
    both = common(a, b)
    either = size(a.low, a.high) + size(b.low, b.high) - both
    return both / either if either > 0 else 0.0


def share(finding: PlainBox, candidate: PlainBox) -> float:
    own = size(candidate.low, candidate.high)
    return common(finding, candidate) / own if own > 0 else 0.0


def by_score(findings: list[PlainBox], candidates: list[PlainBox], least: float) -> dict[int, int]:
    """Return which finding each candidate takes: from the highest score down, the one that it overlaps most."""
    taken: dict[int, int] = {}
    for c in sorted(range(len(candidates)), key=lambda c: (-candidates[c].score, c)):
        free = [
            f
            for f, finding in enumerate(findings)
            if not finding.excluded
            and f not in taken.values()
            and finding.case == candidates[c].case
            and iou(finding, candidates[c]) >= least
        ]
        if free:
            taken[c] = max(free, key=lambda f: (iou(findings[f], candidates[c]), -f))
    return taken


def most_overlap(findings: list[PlainBox], candidates: list[PlainBox], least: float) -> tuple[int, float]:
    """Return the largest number of hits, and the largest sum of overlaps with that many, by trying everything."""
    best = (0, 0.0)
    slots = [*range(len(findings)), *[None] * len(candidates)]
    for chosen in permutations(slots, len(candidates)):
        amounts = [
            iou(findings[f], candidates[c])
            for c, f in enumerate(chosen)
            if f is not None and findings[f].case == candidates[c].case and not findings[f].excluded
        ]
        hits = [each for each in amounts if each >= least]
        best = max(best, (len(hits), sum(hits)))
    return best


def counts(
    findings: list[PlainBox], candidates: list[PlainBox], least: float, *, duplicates_count: bool = True
) -> dict[str, int]:
    taken = by_score(findings, candidates, least)
    ignored = duplicates = 0
    for c, candidate in enumerate(candidates):
        same = [finding for finding in findings if finding.case == candidate.case]
        if c in taken:
            continue
        if not duplicates_count and any(not f.excluded and iou(f, candidate) >= least for f in same):
            duplicates += 1
        elif any(f.excluded and share(f, candidate) >= least for f in same):
            ignored += 1
    included = sum(not finding.excluded for finding in findings)
    return {
        "tp": len(taken),
        "fp": len(candidates) - len(taken) - ignored - duplicates,
        "fn": included - len(taken),
        "ignored": ignored,
        "duplicate": duplicates,
    }
