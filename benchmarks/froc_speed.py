"""The LUNA16 evaluation against the plain rule-by-rule loop: 888 scans, 50,000 candidates, 1,000 bootstraps.

Run as ``python benchmarks/froc_speed.py``. The loop's time for all replicates is reckoned from a few. Matching by overlap is
timed on the same scans, with balls, and on one slide with 10,000 outlines and 50,000 candidates' outlines. At last the
candidates and the scans grow tenfold.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import shapely
from figures import Figure, Goal, Growth
from measuring import Record, arguments, recording, seconds_of

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

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
AREA = "Evaluation"
SCANS, FINDINGS, CANDIDATES, REPLICATES, LOOP_REPLICATES = 888, 1186, 50_000, 1000, 10
OUTLINES = 10_000


def study(seed: int, n_candidates: int, scans: int) -> tuple[FindingTable, CandidateTable, list[str]]:
    """Return findings, of which 90 % have a candidate, and further candidates at random places."""
    rng = np.random.default_rng(0)
    n_findings = scans * FINDINGS // SCANS
    cases = [f"scan{i:04d}" for i in range(scans)]
    owner = rng.integers(scans, size=n_findings)
    centres = rng.uniform(0, 300, (n_findings, 3))
    findings = FindingTable(
        ids=np.asarray([f"f{i}" for i in range(n_findings)]),
        case_ids=np.asarray(cases)[owner],
        labels=np.full(n_findings, "nodule"),
        centres=centres,
        diameters=rng.uniform(3, 30, n_findings),
        is_excluded=np.zeros(n_findings, dtype=bool),
    )
    rng = np.random.default_rng(seed)
    found = np.flatnonzero(rng.random(n_findings) < 0.9)
    n_false = n_candidates - len(found)
    candidates = CandidateTable(
        ids=np.asarray([f"c{i}" for i in range(n_candidates)]),
        case_ids=np.asarray(cases)[np.concatenate([owner[found], rng.integers(scans, size=n_false)])],
        labels=np.full(n_candidates, "nodule"),
        centres=np.concatenate([centres[found], rng.uniform(0, 300, (n_false, 3))]),
        diameters=rng.uniform(3, 30, n_candidates),
        scores=np.concatenate([rng.beta(4, 2, len(found)), rng.beta(1, 8, n_false)]),
    )
    return findings, candidates, cases


class Clock:
    """Times one thing after another, prints each, and adds them up."""

    def __init__(self) -> None:
        self.total = 0.0

    def __call__(self, label: str, work: Callable[[], Result]) -> Result:
        """Do some work and return what it returns."""
        began = time.perf_counter()
        answer = work()
        seconds = time.perf_counter() - began
        self.total += seconds
        print(f"{label:<58} {seconds:9.3f} s", flush=True)
        return answer


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


def slide(n_findings: int, n_candidates: int) -> tuple[FindingTable, CandidateTable, list[RegionTable]]:
    """Return outlines of 24 corners on one slide; two thirds of the findings have a candidate near them."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 100_000, (n_findings, 2))
    found = rng.permutation(n_findings)[: 2 * n_findings // 3]
    places = np.concatenate([centres[found], rng.uniform(0, 100_000, (n_candidates - len(found), 2))])
    places += rng.normal(0, 3, places.shape)
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
    return findings, candidates, tables


def plain_overlaps(tables: list[RegionTable]) -> int:
    """Return how many pairs of outlines overlap by more than half, as shapely reckons it with its tree."""
    found, proposed = (shapely.polygons(table.vertices.reshape(-1, 24, 2)) for table in tables)
    a, b = shapely.STRtree(proposed).query(found, predicate="intersects")
    shared = shapely.area(shapely.intersection(found[a], proposed[b]))
    return int((shared > 0.5 * (shapely.area(found[a]) + shapely.area(proposed[b]) - shared)).sum())


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


def main() -> None:
    """Measure, with everything a tenth of the size for a trial."""
    options = arguments(__doc__).parse_args()
    share = 0.1 if options.quick else 1.0
    with recording(__file__, options) as record:
        against_loop(record, share)
        by_overlap(record, share)
        grow(record, share)


def against_loop(record: Record, share: float) -> None:
    """Match, draw a curve and resample it, by ours and by the loop, which finds the same."""
    candidates, replicates = round(CANDIDATES * share), round(REPLICATES * share)
    (findings, first, cases), (_, second, _) = (
        study(seed, candidates, round(SCANS * share)) for seed in (1, 2)
    )
    match(findings.where(np.s_[:5]), first.where(np.s_[:5]), cases)  # what is imported late is here now
    ours, theirs = Clock(), Clock()
    table = ours(f"match {candidates:,} candidates", lambda: match(findings, first, cases))
    ours("one FROC curve", lambda: froc(table))
    ours(f"{replicates} bootstraps", lambda: bootstrap(table, Resampling(replicates)))
    events = theirs("plain loop: match", lambda: plain_match(findings, first, cases))
    if (sum(map(len, events.hits)), sum(map(len, events.alarms))) != (table.counts["tp"], table.counts["fp"]):
        raise RuntimeError("the plain loop matches otherwise")
    drawn = seconds_of(lambda: plain_bootstrap(events, LOOP_REPLICATES)) * replicates / LOOP_REPLICATES
    print(f"{'plain loop: bootstraps, reckoned from ' + str(LOOP_REPLICATES):<58} {drawn:9.3f} s")
    what = f"matching, FROC and {replicates} bootstraps, {candidates:,} candidates"
    record.add(
        Figure(AREA, what, ours.total, "s", Goal(1.0, "ratio"), "plain loop over scans", theirs.total + drawn)
    )
    other = match(findings, second, cases)
    Clock()(f"compare two models, with {replicates} permutations",
            lambda: compare(table, other, resampling=Resampling(replicates)))  # fmt: skip


def by_overlap(record: Record, share: float) -> None:
    """Match by overlap: balls of the same study, and the outlines of one slide against a loop over shapely's polygons."""
    candidates = round(CANDIDATES * share)
    findings, first, cases = study(1, candidates, round(SCANS * share))
    balls = seconds_of(lambda: match(findings, first, cases, OverlapRule(iou=0.1)))
    centres = seconds_of(lambda: match(findings, first, cases))
    record.add(
        Figure(
            AREA,
            f"matching {candidates:,} candidates by overlap, as balls",
            balls,
            "s",
            None,
            "ours, by the centre",
            centres,
        )
    )
    found, proposed, tables = slide(round(OUTLINES * share), candidates)
    shapes = Shapes.of_regions(
        tables, {"slide": Grid.axis_aligned((100_000, 100_000), (1.0, 1.0), unit="um")}
    )
    outlines = seconds_of(lambda: match(found, proposed, ["slide"], OverlapRule(shapes)))
    what = f"matching {len(found) + len(proposed):,} outlines of one slide by overlap"
    record.add(
        Figure(
            AREA,
            what,
            outlines,
            "s",
            None,
            "shapely, the overlaps alone",
            seconds_of(lambda: plain_overlaps(tables)),
        )
    )


def grow(record: Record, share: float) -> None:
    """Measure matching and a curve with ten times the candidates, and with ten times the scans and as many in each."""
    base, scans = round(CANDIDATES * share), round(SCANS * share)
    for of, sizes in (
        ("candidates", [(base // 10, scans), (base, scans), (base * 10, scans)]),
        ("cases", [(base // 10, scans // 10), (base, scans), (base * 10, scans * 10)]),
    ):
        took = [evaluated(*study(1, candidates, cases)) for candidates, cases in sizes]
        counts = tuple(candidates if of == "candidates" else cases for candidates, cases in sizes)
        record.add(Growth(AREA, "matching and one FROC curve", "s", of, "n log n", counts, tuple(took)))


def evaluated(findings: FindingTable, candidates: CandidateTable, cases: list[str]) -> float:
    """Return the median of three times to match a study and draw its curve."""

    def evaluate() -> object:
        return froc(match(findings, candidates, cases)).cpm

    return float(np.median([seconds_of(evaluate) for _ in range(3)]))


if __name__ == "__main__":
    main()
