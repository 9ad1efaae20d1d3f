"""Evaluate two sets of candidates against one reference: FROC, intervals, and what the second fixed or broke.

Run as ``python examples/compare_two_models.py``. The candidates are drawn at random here; yours come from two CSV files
through ``napari_medlab.annotations.formats.luna16.read_candidates``.
"""

from __future__ import annotations

import numpy as np

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import Resampling, compare, evaluate_froc, match

CASES = [f"case-{number:02d}" for number in range(20)]


def reference(rng: np.random.Generator) -> FindingTable:
    """Return two findings in every case."""
    places = rng.uniform(0, 300, (2 * len(CASES), 3))
    return FindingTable.from_objects(
        [Finding(CASES[row // 2], tuple(place), 8.0) for row, place in enumerate(places.tolist())]
    )


def candidates(rng: np.random.Generator, findings: FindingTable, sensitivity: float) -> CandidateTable:
    """Return what a model of a given sensitivity could have proposed, with three false positives in every case."""
    found = [
        Candidate(case, tuple(place), float(rng.beta(5, 2)))
        for case, place in zip(findings.case_ids.tolist(), findings.centres.tolist(), strict=True)
        if rng.random() < sensitivity
    ]
    wrong = [
        Candidate(case, tuple(rng.uniform(0, 300, 3).tolist()), float(rng.beta(2, 5))) for case in CASES * 3
    ]
    return CandidateTable.from_objects(found + wrong)


def main() -> None:
    """Print the figures of both and the difference."""
    rng = np.random.default_rng(0)
    findings = reference(rng)
    before, after = candidates(rng, findings, 0.6), candidates(rng, findings, 0.85)
    for name, table in (("before", before), ("after", after)):
        figures = evaluate_froc(findings, table, CASES, resampling=Resampling(replicates=200)).as_json()
        low, high = figures["interval"]["cpm"]
        print(f"{name}: CPM {figures['cpm']:.3f} (95 % interval {low:.3f} to {high:.3f})")
    comparison = compare(
        match(findings, before, CASES), match(findings, after, CASES), resampling=Resampling(replicates=200)
    )
    low, high = comparison.difference_interval
    print(f"difference: {comparison.difference:+.3f} (95 % interval {low:+.3f} to {high:+.3f})")
    print(f"fixed: {len(comparison.transitions.fixed)}, regressed: {len(comparison.transitions.regressed)}")


if __name__ == "__main__":
    main()
