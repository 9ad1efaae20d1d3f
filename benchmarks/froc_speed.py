"""Resampled FROC curves against the plain loop that the LUNA16 script runs: 888 scans, 50,000 candidates.

Run as ``python benchmarks/froc_speed.py``. The loop's time for all replicates is reckoned from a few.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.evaluation import FP_POINTS, MatchTable, Resampling, bootstrap, compare, froc, match

SCANS, FINDINGS, CANDIDATES, REPLICATES, LOOP_REPLICATES = 888, 1186, 50_000, 1000, 10


def study(seed: int) -> tuple[FindingTable, CandidateTable, list[str]]:
    """Return findings, of which 90 % have a candidate, and further candidates at random places."""
    rng = np.random.default_rng(0)
    cases = [f"scan{i:03d}" for i in range(SCANS)]
    owner = rng.integers(SCANS, size=FINDINGS)
    centres = rng.uniform(0, 300, (FINDINGS, 3))
    findings = FindingTable(
        ids=np.asarray([f"f{i}" for i in range(FINDINGS)]),
        case_ids=np.asarray(cases)[owner],
        labels=np.full(FINDINGS, "nodule"),
        centres=centres,
        diameters=rng.uniform(3, 30, FINDINGS),
        is_excluded=np.zeros(FINDINGS, dtype=bool),
    )
    rng = np.random.default_rng(seed)
    found = np.flatnonzero(rng.random(FINDINGS) < 0.9)
    n_false = CANDIDATES - len(found)
    candidates = CandidateTable(
        ids=np.asarray([f"c{i}" for i in range(CANDIDATES)]),
        case_ids=np.asarray(cases)[np.concatenate([owner[found], rng.integers(SCANS, size=n_false)])],
        labels=np.full(CANDIDATES, "nodule"),
        centres=np.concatenate([centres[found], rng.uniform(0, 300, (n_false, 3))]),
        diameters=np.full(CANDIDATES, -1.0),
        scores=np.concatenate([rng.beta(4, 2, len(found)), rng.beta(1, 8, n_false)]),
    )
    return findings, candidates, cases


class Events(NamedTuple):
    """The hits and false positives of each scan, as plain lists."""

    hits: list[list[float]]
    alarms: list[list[float]]
    findings: list[int]


def as_lists(table: MatchTable) -> Events:
    """Return a match table scan by scan."""
    number = {case: i for i, case in enumerate(table.cases)}
    events = Events([[] for _ in number], [[] for _ in number], [0] * len(number))
    for case, kind, score in zip(
        table.case_id.tolist(), table.kind.tolist(), table.score.tolist(), strict=True
    ):
        if kind in ("tp", "fp"):
            (events.hits if kind == "tp" else events.alarms)[number[case]].append(score)
        if kind in ("tp", "fn"):
            events.findings[number[case]] += 1
    return events


def plain_bootstrap(events: Events, replicates: int) -> list[float]:
    """Return CPMs: draw scans, gather their events, sort them, walk down the scores, read the curve."""
    rng = np.random.default_rng(0)
    values = []
    for _ in range(replicates):
        drawn = rng.integers(len(events.hits), size=len(events.hits)).tolist()
        walk = [(score, 1) for i in drawn for score in events.hits[i]]
        walk += [(score, 0) for i in drawn for score in events.alarms[i]]
        walk.sort(reverse=True)
        total = sum(events.findings[i] for i in drawn)
        tp = fp = 0
        fps, sensitivity = [0.0], [0.0]
        for place, (score, is_hit) in enumerate(walk):
            tp, fp = tp + is_hit, fp + 1 - is_hit
            if place + 1 == len(walk) or walk[place + 1][0] != score:
                fps.append(fp / len(drawn))
                sensitivity.append(tp / total)
        values.append(float(np.interp(FP_POINTS, fps, sensitivity).mean()))
    return values


def timed(label: str, seconds: float) -> float:
    """Print a time and return it."""
    print(f"{label:<58} {seconds:9.3f} s")
    return seconds


def main() -> None:
    """Print each time, and the ratio of the loop to ours."""
    (findings, first, cases), (_, second, _) = study(1), study(2)
    start = time.perf_counter()
    table = match(findings, first, cases)
    timed(f"match {CANDIDATES:,} candidates in {SCANS} scans", time.perf_counter() - start)
    start = time.perf_counter()
    cpm = froc(table).cpm
    timed(f"one FROC curve (CPM {cpm:.4f})", time.perf_counter() - start)
    start = time.perf_counter()
    low, high = bootstrap(table, Resampling(REPLICATES)).cpm
    ours = timed(f"{REPLICATES} bootstraps (CPM {low:.4f} to {high:.4f})", time.perf_counter() - start)
    events = as_lists(table)
    start = time.perf_counter()
    values = plain_bootstrap(events, LOOP_REPLICATES)
    seconds = (time.perf_counter() - start) * REPLICATES / LOOP_REPLICATES
    label = f"plain loop, {REPLICATES} reckoned from {LOOP_REPLICATES} (mean CPM {np.mean(values):.4f})"
    loop = timed(label, seconds)
    other = match(findings, second, cases)
    start = time.perf_counter()
    comparison = compare(table, other, resampling=Resampling(REPLICATES))
    label = f"compare two models, with {REPLICATES} permutations (p = {comparison.p_value:.3f})"
    timed(label, time.perf_counter() - start)
    print(f"plain loop / ours: {loop / ours:.1f} times")


if __name__ == "__main__":
    main()
