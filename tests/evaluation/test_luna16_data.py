"""On the real reference of LUNA16: 888 scans, 1186 findings, 35192 excluded ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plain_luna16
import pytest
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.annotations.formats.luna16 import read_reference, read_series
from napari_medlab.evaluation import Resampling, evaluate_froc

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def reference(test_data: Path) -> tuple[FindingTable, list[str]]:
    folder = test_data / "luna16"
    findings = read_reference(folder / "annotations.csv", folder / "annotations_excluded.csv")
    return findings, read_series(folder / "seriesuids.csv")


def candidates_at(case_ids: list[str], centres: np.ndarray, scores: np.ndarray) -> CandidateTable:
    n = len(case_ids)
    return CandidateTable(
        ids=np.asarray([f"c{i}" for i in range(n)]),
        case_ids=np.asarray(case_ids),
        labels=np.full(n, "nodule"),
        centres=centres,
        diameters=np.full(n, -1.0),
        scores=scores,
    )


def test_the_reference_is_read_whole(reference: tuple[FindingTable, list[str]]) -> None:
    findings, cases = reference
    assert (int((~findings.is_excluded).sum()), int(findings.is_excluded.sum())) == (1186, 35192)
    assert len(cases) == 888
    assert len(np.unique(findings.ids)) == len(findings)


def test_perfect_candidates_score_1(reference: tuple[FindingTable, list[str]]) -> None:
    findings, cases = reference
    included = findings.where(~findings.is_excluded)
    perfect = candidates_at(included.case_ids.tolist(), included.centres, np.ones(len(included)))
    document = evaluate_froc(findings, perfect, cases, resampling=Resampling(50)).as_json()
    assert document["cpm"] == 1.0
    assert document["interval"]["cpm"] == [1.0, 1.0]
    assert (document["tp"], document["fp"], document["fn"]) == (1186, 0, 0)
    assert (document["cases"], document["findings"], document["candidates"]) == (888, 1186, 1186)


def test_random_candidates_score_as_the_plain_rules_say(reference: tuple[FindingTable, list[str]]) -> None:
    findings, cases = reference
    rng = np.random.default_rng(0)
    near = rng.integers(len(findings), size=9000)
    near[:1500] = rng.integers(1186, size=1500)
    centres = findings.centres[near] + rng.normal(0, 2.5, (9000, 3))
    scores = rng.beta(2, 3, 9000).round(3)
    case_ids = findings.case_ids[near].tolist()
    result = evaluate_froc(findings, candidates_at(case_ids, centres, scores), cases)
    plain = plain_luna16.evaluate_cases(*plain_tables(findings, case_ids, centres, scores), cases=cases)
    assert result.match.counts == plain_luna16.counts(plain)
    assert result.curve.cpm == pytest.approx(plain_luna16.cpm(plain), abs=1e-9)
    assert 0.05 < result.curve.cpm < 0.95


def plain_tables(
    findings: FindingTable, case_ids: list[str], centres: np.ndarray, scores: np.ndarray
) -> tuple[list[PlainFinding], list[PlainCandidate]]:
    columns = (findings.case_ids, findings.centres, findings.diameters, findings.is_excluded)
    found = [
        PlainFinding(case, tuple(centre), diameter, excluded)
        for case, centre, diameter, excluded in zip(*(column.tolist() for column in columns), strict=True)
    ]
    proposed = [
        PlainCandidate(case, tuple(centre), score)
        for case, centre, score in zip(case_ids, centres.tolist(), scores.tolist(), strict=True)
    ]
    return found, proposed
