"""The LUNA16 evaluation written out rule by rule, in plain loops: what the fast code must agree with."""

from __future__ import annotations

from typing import NamedTuple

POINTS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


class PlainFinding(NamedTuple):
    case: str
    centre: tuple[float, ...]
    diameter: float
    excluded: bool = False


class PlainCandidate(NamedTuple):
    case: str
    centre: tuple[float, ...]
    score: float


class PlainCase(NamedTuple):
    """What one case brings to the curve, and its counts."""

    hits: list[float]  # the best score on each finding that was found
    alarms: list[float]  # the scores of its false positives
    findings: int
    candidates: int
    ignored: int
    duplicates: int


def evaluate_case(
    findings: list[PlainFinding], candidates: list[PlainCandidate], max_marks: int = 100
) -> PlainCase:
    kept = sorted(range(len(candidates)), key=lambda i: (-candidates[i].score, i))[:max_marks]
    left = set(kept)
    hits, n_findings, ignored, duplicates = [], 0, 0, 0
    for finding in sorted(findings, key=lambda f: f.excluded):
        radius = (10.0 if finding.diameter < 0 else finding.diameter) / 2
        inside = []
        for i in kept:
            squared = sum((p - q) ** 2 for p, q in zip(finding.centre, candidates[i].centre, strict=True))
            if squared < radius**2:
                inside.append(i)
        if finding.excluded:
            for i in inside:
                if i in left:
                    ignored += 1
                    left.remove(i)
            continue
        n_findings += 1
        if inside:
            hits.append(max(candidates[i].score for i in inside))
            duplicates += len(inside) - 1
            left -= set(inside)
    alarms = [candidates[i].score for i in left]
    return PlainCase(hits, alarms, n_findings, len(kept), ignored, duplicates)


def evaluate_cases(
    findings: list[PlainFinding], candidates: list[PlainCandidate], cases: list[str], max_marks: int = 100
) -> list[PlainCase]:
    findings_of: dict[str, list[PlainFinding]] = {}
    candidates_of: dict[str, list[PlainCandidate]] = {}
    for finding in findings:
        findings_of.setdefault(finding.case, []).append(finding)
    for candidate in candidates:
        candidates_of.setdefault(candidate.case, []).append(candidate)
    return [
        evaluate_case(findings_of.get(case, []), candidates_of.get(case, []), max_marks) for case in cases
    ]


def counts(results: list[PlainCase]) -> dict[str, int]:
    return {
        "tp": sum(len(r.hits) for r in results),
        "fp": sum(len(r.alarms) for r in results),
        "fn": sum(r.findings - len(r.hits) for r in results),
        "ignored": sum(r.ignored for r in results),
        "duplicate": sum(r.duplicates for r in results),
    }


def sensitivities(results: list[PlainCase], points: tuple[float, ...] = POINTS) -> list[float]:
    """Walk down the scores, then read the curve at each point, linear between its points."""
    events = sorted(
        [(-score, 1) for r in results for score in r.hits]
        + [(-score, 0) for r in results for score in r.alarms]
    )
    total = sum(r.findings for r in results)
    curve = [(0.0, 0.0)]
    tp = fp = 0
    for place, (score, is_hit) in enumerate(events):
        tp, fp = tp + is_hit, fp + (1 - is_hit)
        if place + 1 == len(events) or events[place + 1][0] != score:
            curve.append((fp / len(results), tp / total))
    return [read(curve, point) for point in points]


def read(curve: list[tuple[float, float]], point: float) -> float:
    at = max(i for i, (fps, _) in enumerate(curve) if fps <= point)
    if at + 1 == len(curve):
        return curve[at][1]
    (x0, y0), (x1, y1) = curve[at], curve[at + 1]
    return y0 + (y1 - y0) * (point - x0) / (x1 - x0)


def cpm(results: list[PlainCase]) -> float:
    values = sensitivities(results)
    return sum(values) / len(values)
