"""The LUNA16 evaluation against the plain rule-by-rule loop: 888 scans, 50,000 candidates, 1,000 bootstraps.

Run as ``python benchmarks/froc_speed.py``. The loop's time for all replicates is reckoned from a few. Matching by overlap is
timed on the same scans, with balls, and on one slide with 10,000 outlines and 50,000 candidates' outlines.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable, RegionTable
from napari_medlab.evaluation import (
    FP_POINTS,
    OverlapRule,
    Resampling,
    Shapes,
    bootstrap,
    compare,
    froc,
    match,
)
from napari_medlab.geometry import Grid

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
        diameters=rng.uniform(3, 30, CANDIDATES),
        scores=np.concatenate([rng.beta(4, 2, len(found)), rng.beta(1, 8, n_false)]),
    )
    return findings, candidates, cases


class Events(NamedTuple):
    """The hits and false positives of each scan, as plain lists."""

    hits: list[list[float]]
    alarms: list[list[float]]
    findings: list[int]


def plain_match(findings: FindingTable, candidates: CandidateTable, cases: list[str]) -> Events:
    """Return what a loop over scans, findings and candidates pairs, as the challenge's script does it."""
    events = Events([], [], [])
    candidates_of: dict[str, list[tuple[list[float], float]]] = {case: [] for case in cases}
    findings_of: dict[str, list[tuple[list[float], float]]] = {case: [] for case in cases}
    for case, centre, score in zip(
        candidates.case_ids.tolist(), candidates.centres.tolist(), candidates.scores.tolist(), strict=True
    ):
        candidates_of[case].append((centre, score))
    for case, centre, diameter in zip(
        findings.case_ids.tolist(), findings.centres.tolist(), findings.diameters.tolist(), strict=True
    ):
        findings_of[case].append((centre, diameter / 2))
    for case in cases:
        marks = sorted(candidates_of[case], key=lambda mark: -mark[1])[:100]
        hits, used = [], set()
        for centre, radius in findings_of[case]:
            inside = [
                at
                for at, (place, _) in enumerate(marks)
                if sum((a - b) ** 2 for a, b in zip(centre, place, strict=True)) < radius**2
            ]
            used.update(inside)
            if inside:
                hits.append(max(marks[at][1] for at in inside))
        events.hits.append(hits)
        events.alarms.append([score for at, (_, score) in enumerate(marks) if at not in used])
        events.findings.append(len(findings_of[case]))
    return events


def slide(n_findings: int, n_candidates: int) -> tuple[FindingTable, CandidateTable, Shapes]:
    """Return outlines of 24 corners on one slide; two thirds of the findings have a candidate near them."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 100_000, (n_findings, 2))
    found = rng.permutation(n_findings)[: 2 * n_findings // 3]
    places = np.concatenate([centres[found], rng.uniform(0, 100_000, (n_candidates - len(found), 2))])
    places += rng.normal(0, 3, places.shape)
    grid = Grid.axis_aligned((100_000, 100_000), (1.0, 1.0), unit="um")
    tables, columns = [], []
    for prefix, middles in (("f", centres), ("c", places)):
        n = len(middles)
        ids = np.asarray([f"{prefix}{i}" for i in range(n)])
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        ring = np.stack([np.sin(angle), np.cos(angle)], axis=1)
        vertices = middles[:, None, ::-1] + ring * rng.uniform(15, 25, (n, 1, 1)) * rng.uniform(
            0.9, 1.1, (n, 24, 1)
        )
        tables.append(
            RegionTable(
                "slide",
                ids.astype("S32"),
                ids.astype("S32"),
                np.zeros(n, dtype=np.int32),
                ("glomerulus",),
                np.full(n, np.nan),
                np.arange(n + 1),
                np.arange(n + 1) * 24,
                vertices.reshape(-1, 2),
            )
        )
        columns.append((ids, np.full(n, "slide"), np.full(n, "glomerulus"), middles, np.full(n, -1.0)))
    findings = FindingTable(*columns[0], is_excluded=np.zeros(n_findings, dtype=bool))
    candidates = CandidateTable(*columns[1], scores=rng.random(n_candidates))
    return findings, candidates, Shapes.of_regions(tables, {"slide": grid})


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
    match(findings.where(np.s_[:5]), first.where(np.s_[:5]), cases)  # what is imported late is here now
    start = time.perf_counter()
    table = match(findings, first, cases)
    ours = timed(f"match {CANDIDATES:,} candidates in {SCANS} scans", time.perf_counter() - start)
    start = time.perf_counter()
    cpm = froc(table).cpm
    ours += timed(f"one FROC curve (CPM {cpm:.4f})", time.perf_counter() - start)
    start = time.perf_counter()
    low, high = bootstrap(table, Resampling(REPLICATES)).cpm
    ours += timed(f"{REPLICATES} bootstraps (CPM {low:.4f} to {high:.4f})", time.perf_counter() - start)
    start = time.perf_counter()
    events = plain_match(findings, first, cases)
    loop = timed("plain loop: match", time.perf_counter() - start)
    assert sum(map(len, events.hits)) == table.counts["tp"]
    assert sum(map(len, events.alarms)) == table.counts["fp"]
    start = time.perf_counter()
    values = plain_bootstrap(events, LOOP_REPLICATES)
    seconds = (time.perf_counter() - start) * REPLICATES / LOOP_REPLICATES
    loop += timed(
        f"plain loop: {REPLICATES}, reckoned from {LOOP_REPLICATES} (mean CPM {np.mean(values):.4f})", seconds
    )
    other = match(findings, second, cases)
    start = time.perf_counter()
    comparison = compare(table, other, resampling=Resampling(REPLICATES))
    label = f"compare two models, with {REPLICATES} permutations (p = {comparison.p_value:.3f})"
    timed(label, time.perf_counter() - start)
    start = time.perf_counter()
    hits = match(findings, first, cases, OverlapRule(iou=0.1)).counts["tp"]
    timed(f"match the same by overlap, as balls ({hits} hits)", time.perf_counter() - start)
    found, proposed, shapes = slide(10_000, CANDIDATES)
    start = time.perf_counter()
    hits = match(found, proposed, ["slide"], OverlapRule(shapes)).counts["tp"]
    timed(f"match 60,000 outlines of one slide by overlap ({hits} hits)", time.perf_counter() - start)
    print(f"the whole evaluation, plain loop / ours: {loop / ours:.1f} times")


if __name__ == "__main__":
    main()
