"""Tables for the tests: made by hand, or drawn at random with many ties and overlaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = ["one", "two", "three", "four"]


def finding_table(findings: Sequence[PlainFinding], ndim: int = 3) -> FindingTable:
    objects = [
        Finding(f.case, f.centre, f.diameter, is_excluded=f.excluded, finding_id=f"f{number}")
        for number, f in enumerate(findings)
    ]
    return FindingTable.from_objects(objects, ndim)


def candidate_table(candidates: Sequence[PlainCandidate], ndim: int = 3) -> CandidateTable:
    objects = [
        Candidate(c.case, c.centre, c.score, candidate_id=f"c{number}") for number, c in enumerate(candidates)
    ]
    return CandidateTable.from_objects(objects, ndim)


def centres(ndim: int) -> st.SearchStrategy[tuple[float, ...]]:
    """Return points on a coarse lattice, so that they often touch and coincide."""
    return st.tuples(*[st.integers(0, 6).map(float)] * ndim)


def plain_findings(ndim: int = 3, max_size: int = 12) -> st.SearchStrategy[list[PlainFinding]]:
    diameters = st.sampled_from([-1.0, 0.0, 2.0, 3.0, 6.0])
    one = st.builds(PlainFinding, st.sampled_from(CASES), centres(ndim), diameters, st.booleans())
    return st.lists(one, max_size=max_size)


def plain_candidates(ndim: int = 3, max_size: int = 25) -> st.SearchStrategy[list[PlainCandidate]]:
    scores = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 0.75, 1.0])
    one = st.builds(PlainCandidate, st.sampled_from(CASES), centres(ndim), scores)
    return st.lists(one, max_size=max_size)


def random_study(
    seed: int, n_cases: int = 40, n_findings: int = 60, n_candidates: int = 1500
) -> tuple[list[PlainFinding], list[PlainCandidate], list[str]]:
    """Return a larger study in which about half the findings are found."""
    rng = np.random.default_rng(seed)
    cases = [f"case{number:04d}" for number in range(n_cases)]
    findings, candidates = [], []
    for _ in range(n_findings):
        case, centre = cases[int(rng.integers(n_cases))], rng.uniform(0, 300, 3)
        findings.append(
            PlainFinding(case, tuple(centre.tolist()), float(rng.uniform(4, 20)), rng.random() < 0.2)
        )
        if rng.random() < 0.7:
            shifted = tuple((centre + rng.normal(0, 3, 3)).tolist())
            candidates.append(PlainCandidate(case, shifted, round(float(rng.beta(3, 2)), 2)))
    for _ in range(n_candidates):
        place = tuple(rng.uniform(0, 300, 3).tolist())
        candidates.append(
            PlainCandidate(cases[int(rng.integers(n_cases))], place, round(float(rng.beta(1, 4)), 2))
        )
    return findings, candidates, cases
