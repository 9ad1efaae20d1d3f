"""Figures beside FROC: recall less a penalty, intervals of precision and recall, confusion, detection maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation_examples import (
    CASES,
    candidate_table,
    finding_table,
    plain_candidates,
    plain_findings,
    random_study,
)
from hypothesis import given, settings

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import (
    MatchTable,
    OverlapRule,
    Resampling,
    Shapes,
    froc,
    match,
    match_at,
    penalised_recall,
)
from napari_medlab.evaluation.bootstrap import resample_average_precision
from napari_medlab.evaluation.confusion import BACKGROUND, MISSED, confusion
from napari_medlab.evaluation.detection_maps import candidates_of_map, findings_of_mask
from napari_medlab.evaluation.events import Events, Patients
from napari_medlab.evaluation.precision_recall import precision_recall, precision_recall_report
from napari_medlab.evaluation.report import sensitivity_at
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from plain_luna16 import PlainCandidate, PlainFinding


@pytest.fixture(scope="module")
def table() -> MatchTable:
    findings, candidates, cases = random_study(seed=8)
    return match(finding_table(findings), candidate_table(candidates), cases)


def test_recall_less_a_penalty_by_hand(table: MatchTable) -> None:
    result = penalised_recall(table, 0.02, 4.0)
    worth = [float(froc(table).sensitivity_at(x)) - 0.02 * x for x in (4 * n / 64 for n in range(65))]
    assert result.mean == pytest.approx(sum(worth) / 65)
    assert result.best == pytest.approx(max(worth))
    assert worth[round(result.best_fp_per_scan * 16)] == pytest.approx(result.best)


def test_the_dearer_a_false_positive_the_stricter_the_best_operating_point(table: MatchTable) -> None:
    results = [penalised_recall(table, penalty) for penalty in (0.0, 0.02, 0.1, 10.0)]
    places = [each.best_fp_per_scan for each in results]
    assert places == sorted(places, reverse=True)
    assert places[-1] == 0.0


def test_recall_less_a_penalty_has_intervals_and_may_not_exist(table: MatchTable) -> None:
    result = penalised_recall(table, resampling=Resampling(100))
    assert result.mean_interval[0] < result.mean < result.mean_interval[1]
    assert result.best_interval[0] < result.best_interval[1]
    nothing = penalised_recall(match(finding_table([]), candidate_table([]), CASES)).as_json()
    assert (nothing["mean"], nothing["best"], nothing["best_fp_per_scan"]) == (None, None, None)
    assert nothing["interval"] == {"mean": None, "best": None}


@settings(max_examples=60, deadline=None)
@given(plain_findings(), plain_candidates())
def test_drawing_everybody_once_gives_the_average_precision(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    study = match(finding_table(findings), candidate_table(candidates), CASES)
    patients = Patients.of(study)
    once = np.ones((1, len(patients)), dtype=np.int32)
    (value,) = Events.of(study, patients).average_precision(once, once @ patients.findings)
    assert value == pytest.approx(precision_recall(study).average_precision, nan_ok=True)


def test_the_average_precision_has_an_interval(table: MatchTable) -> None:
    result = precision_recall_report(table, Resampling(150))
    assert result.interval[0] < result.curve.average_precision < result.interval[1]
    first, second = resample_average_precision([table, table], Resampling(20))
    np.testing.assert_array_equal(first, second)
    document = result.as_json()
    at = document["best_f1"]
    assert at["f1"] == pytest.approx(2 * at["precision"] * at["recall"] / (at["precision"] + at["recall"]))
    assert list(document["precision_at_recall"]) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
    nothing = precision_recall_report(match(finding_table([]), candidate_table([]), CASES)).as_json()
    assert nothing["average_precision"] is None
    assert set(nothing["best_f1"].values()) == {None}


def test_the_sensitivity_at_any_rate(table: MatchTable) -> None:
    document = sensitivity_at(table, [0.3, 6.0], Resampling(50))
    assert list(document) == ["0.3", "6", "mean"]
    low, high = document["0.3"]["interval"]
    assert low <= document["0.3"]["sensitivity"] <= high
    assert document["mean"]["sensitivity"] == pytest.approx(froc(table).sensitivity_at([0.3, 6.0]).mean())
    assert sensitivity_at(table, [0.3])["mean"]["interval"] is None


def test_what_is_taken_for_what() -> None:
    findings = FindingTable.from_objects(
        [
            Finding("one", (100.0 * n, 0.0), 8.0, label, finding_id=f"f{n}")
            for n, label in enumerate(("a", "a", "b", "c"))
        ],
        2,
    )
    candidates = CandidateTable.from_objects(
        [
            Candidate("one", (x, 0.0), score, label=label)
            for x, label, score in (
                (0.0, "a", 0.9),
                (1.0, "a", 0.8),
                (100.0, "b", 0.9),
                (200.0, "x", 0.9),
                (50.0, "a", 0.1),
            )
        ],
        2,
    )
    table = match(findings, candidates)
    matrix = confusion(table, findings, candidates)
    assert matrix.finding_labels == ("a", "b", "c", BACKGROUND)
    assert matrix.candidate_labels == ("a", "b", "c", "x", MISSED)
    assert matrix.counts.tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    assert table.finding_id[matrix.rows(1, 3)].tolist() == ["f2"]
    assert table.kind[matrix.rows(3, 0)].tolist() == ["fp"]
    # at a higher threshold the false positive is gone
    strict = match_at(table, 0.5)
    assert confusion(strict, findings, candidates).counts[3].sum() == 0
    assert matrix.as_json()["counts"] == matrix.counts.tolist()


@settings(max_examples=40, deadline=None)
@given(plain_findings(), plain_candidates())
def test_the_cells_hold_every_finding_and_every_false_positive(
    findings: list[PlainFinding], candidates: list[PlainCandidate]
) -> None:
    tables = finding_table(findings), candidate_table(candidates)
    table = match(*tables, CASES)
    matrix = confusion(table, *tables)
    assert matrix.counts.sum() == table.n_findings + table.counts["fp"]
    assert matrix.counts[-1, -1] == 0
    cells = [matrix.rows(r, c) for r in range(matrix.counts.shape[0]) for c in range(matrix.counts.shape[1])]
    assert [len(each) for each in cells] == matrix.counts.ravel().tolist()


def detection_map() -> np.ndarray:
    values = np.zeros((6, 20, 20))
    values[1:4, 2:6, 2:6] = 0.7
    values[4, 6, 6] = 0.9  # touches the first by a corner
    values[2:4, 12:16, 12:16] = 0.4
    return values


GRID = Grid.axis_aligned((6, 20, 20), (3.0, 0.5, 0.5), (10.0, 20.0, 30.0))


def test_the_components_of_a_detection_map_are_candidates() -> None:
    candidates = candidates_of_map(detection_map(), GRID, "case").candidates
    assert candidates.scores.tolist() == [0.9, 0.4]
    assert candidates.ids.tolist() == ["case:c1", "case:c2"]
    np.testing.assert_allclose(candidates.centres[1], GRID.to_world((2.5, 13.5, 13.5)))
    assert candidates.diameters[1] == pytest.approx(2 * (3 * 32 * 0.75 / (4 * math.pi)) ** (1 / 3))
    assert candidates_of_map(detection_map(), GRID, "case", threshold=0.5).candidates.scores.tolist() == [0.9]


def test_a_detection_map_is_evaluated_as_picai_does() -> None:
    mask = np.zeros((6, 20, 20), dtype=np.uint8)
    mask[1:4, 2:6, 2:6] = 1
    mask[0, 18, 18] = 1
    candidates, boxes = candidates_of_map(detection_map(), GRID, "case")
    findings, lesions = findings_of_mask(mask, GRID, "case")
    table = OverlapRule.pi_cai(Shapes.joined([boxes, lesions])).match(findings, candidates, ["case"])
    assert table.counts == {"tp": 1, "fp": 1, "fn": 1, "ignored": 0, "duplicate": 0}
    assert table.score[table.kind == "tp"].tolist() == [0.9]


def test_an_empty_map_has_no_candidates_and_a_planar_one_has_discs() -> None:
    empty = candidates_of_map(np.zeros((6, 20, 20)), GRID, "case").candidates
    assert (len(empty), empty.centres.shape) == (0, (0, 3))
    flat = np.zeros((9, 9))
    flat[2:4, 2:4] = 1.0
    planar = Grid.axis_aligned((9, 9), (2.0, 2.0), unit="um")
    assert candidates_of_map(flat, planar, "case").candidates.diameters[0] == pytest.approx(
        2 * math.sqrt(16 / math.pi)
    )


@pytest.mark.parametrize(
    "values", [np.zeros((6, 20, 21)), np.full((6, 20, 20), -1.0), np.full((6, 20, 20), np.nan)]
)
def test_what_is_no_detection_map_is_refused(values: np.ndarray) -> None:
    with pytest.raises(InputRefusedError) as refusal:
        candidates_of_map(values, GRID, "case")
    assert refusal.value.code == "detection-map"
