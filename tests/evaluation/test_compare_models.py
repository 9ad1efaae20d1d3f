from __future__ import annotations

import json
from dataclasses import replace

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
from hypothesis import strategies as st
from plain_luna16 import PlainCandidate, PlainFinding

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import (
    CamelyonRule,
    Luna16Rule,
    MatchRule,
    MatchTable,
    OverlapRule,
    Resampling,
    compare,
    froc,
    match,
    match_at,
    transitions,
)
from napari_medlab.evaluation.compare import permutation_p_value

NONE = Resampling(0)
FINDINGS = [PlainFinding("one", (100.0 * i, 0.0, 0.0), 8.0) for i in range(4)]


def at(x: float, y: float, score: float) -> PlainCandidate:
    return PlainCandidate("one", (x, y, 0.0), score)


def table_of(candidates: list[PlainCandidate], findings: list[PlainFinding] = FINDINGS) -> MatchTable:
    return match(finding_table(findings), candidate_table(candidates), CASES)


def test_lesions_sorted_by_hand() -> None:
    # at 1 false positive per scan of 4 cases, 4 are allowed: all candidates count
    a = table_of([at(0, 0, 0.9), at(100, 0, 0.8), at(0, 50, 0.7), at(50, 50, 0.6)])
    b = table_of([at(0, 1, 0.5), at(200, 0, 0.4), at(3, 50, 0.3), at(90, 90, 0.2), at(99, 99, 0.1)])
    changes = compare(a, b, resampling=NONE).transitions
    assert [each.finding_id for each in changes.still_found] == ["f0"]
    assert [each.finding_id for each in changes.regressed] == ["f1"]
    assert [each.finding_id for each in changes.fixed] == ["f2"]
    assert [each.finding_id for each in changes.still_missed] == ["f3"]
    assert [each.candidate_id for each in changes.removed_false_positive] == ["c3"]
    assert [each.candidate_id for each in changes.new_false_positive] == ["c3", "c4"]
    assert changes.still_false_positive == 1


def test_a_change_carries_where_it_is_and_both_scores() -> None:
    a, b = table_of([]), table_of([at(200, 1, 0.4), at(7, 50, 0.2)])
    changes = compare(a, b, resampling=NONE).transitions
    assert changes.fixed[0].as_json() == {
        "case": "one",
        "finding": "f2",
        "centre": [200.0, 0.0, 0.0],
        "score_a": None,
        "score_b": 0.4,
    }
    assert changes.new_false_positive[0].as_json() == {
        "case": "one",
        "candidate": "c1",
        "centre": [7.0, 50.0, 0.0],
        "score": 0.2,
    }


def test_a_hit_below_the_operating_point_is_a_miss_with_its_score() -> None:
    alarms = [at(0, 50.0 + 20 * i, 0.9) for i in range(5)]
    a, b = table_of([at(0, 0, 0.95)]), table_of([*alarms, at(0, 0, 0.3)])
    comparison = compare(a, b, resampling=NONE)
    assert comparison.threshold_b == np.inf
    (lost,) = comparison.transitions.regressed
    assert (lost.score_a, lost.score_b) == (0.95, 0.3)


def test_each_model_is_taken_at_its_own_threshold() -> None:
    a = table_of([at(0, 0, 0.9), at(0, 50, 0.8)])
    logits = table_of([at(0, 0, 90.0), at(0, 50, 80.0)])
    comparison = compare(a, logits, resampling=NONE)
    assert (comparison.threshold_a, comparison.threshold_b) == (0.8, 80.0)
    assert comparison.difference == 0.0
    assert comparison.transitions.counts["still_found"] == 1


@pytest.mark.parametrize(("gap", "paired"), [(5.0, 1), (5.001, 0)])
def test_false_positives_are_the_same_up_to_5_mm_apart(gap: float, paired: int) -> None:
    a, b = table_of([at(0, 50, 0.5)]), table_of([at(0, 50 + gap, 0.5)])
    assert compare(a, b, resampling=NONE).transitions.still_false_positive == paired
    assert compare(a, b, resampling=NONE, pairing_distance=1.0).transitions.still_false_positive == 0


def test_the_nearest_false_positives_are_paired_first() -> None:
    a = table_of([at(0, 50, 0.9), at(0, 54, 0.8)])
    b = table_of([at(0, 53, 0.7)])
    assert [
        each.candidate_id for each in compare(a, b, resampling=NONE).transitions.removed_false_positive
    ] == ["c0"]


def test_false_positives_of_different_cases_are_never_paired() -> None:
    a, b = table_of([at(0, 50, 0.5)]), table_of([PlainCandidate("two", (0.0, 50.0, 0.0), 0.5)])
    assert compare(a, b, resampling=NONE).transitions.still_false_positive == 0


def test_other_cases_are_refused() -> None:
    other = match(finding_table(FINDINGS), candidate_table([]), ["one", "five"])
    with pytest.raises(InputRefusedError, match="4 of them occur on one side") as refusal:
        compare(table_of([]), other)
    assert refusal.value.code == "not-comparable"


def test_other_findings_are_refused() -> None:
    with pytest.raises(InputRefusedError, match="different findings"):
        compare(table_of([]), table_of([], FINDINGS[:3]))


def test_without_resampling_there_is_neither_interval_nor_p_value() -> None:
    document = compare(table_of([]), table_of([at(0, 0, 0.5)]), resampling=NONE).as_json()
    assert document["difference"] == {"cpm": 0.25, "interval": None, "p_value": None}
    assert document["a"]["interval"] == {}


def test_the_document_is_plain_json_even_without_an_operating_point() -> None:
    alarms = [at(0, 50.0 + 20 * i, 0.9) for i in range(5)]
    document = compare(table_of([]), table_of(alarms), resampling=Resampling(20)).as_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["operating_point"] == {"fp_per_scan": 1.0, "threshold_a": None, "threshold_b": None}
    assert document["counts"]["fp_b"] == 0


def study(quality: float, seed: int, n: int = 40) -> tuple[MatchTable, MatchTable]:
    """Return two models, of which the second finds a share of ``quality`` more of the findings."""
    findings, _, cases = random_study(seed, n_cases=n, n_findings=2 * n, n_candidates=0)
    rng = np.random.default_rng(seed)
    tables = []
    for chance in (0.5, 0.5 + quality):
        found = [
            PlainCandidate(f.case, f.centre, float(rng.beta(3, 2))) for f in findings if rng.random() < chance
        ]
        false = [
            PlainCandidate(cases[int(rng.integers(n))], (1e3, 0.0, 10.0 * i), float(rng.beta(1, 3)))
            for i in range(4 * n)
        ]
        tables.append(match(finding_table(findings), candidate_table([*found, *false]), cases))
    return tables[0], tables[1]


def test_a_clear_improvement_is_told_from_chance() -> None:
    comparison = compare(*study(0.4, seed=0), resampling=Resampling(400))
    assert comparison.p_value == pytest.approx(1 / 401)
    low, high = comparison.difference_interval
    assert 0 < low < comparison.difference < high


def test_a_model_against_itself_differs_by_nothing() -> None:
    a, _ = study(0.0, seed=0)
    comparison = compare(a, a, resampling=Resampling(50))
    assert comparison.difference_interval == (0.0, 0.0)
    assert comparison.p_value == 1.0
    counts = comparison.transitions.counts
    assert counts["fixed"] == counts["regressed"] == counts["new_false_positive"] == 0


def test_equal_models_are_rarely_told_apart() -> None:
    values = [permutation_p_value(*study(0.0, seed, n=20), Resampling(60, seed)) for seed in range(60)]
    assert np.mean(np.asarray(values) <= 0.1) < 0.25
    assert 0.3 < np.mean(values) < 0.7


def test_the_p_value_does_not_depend_on_the_scale_of_the_scores() -> None:
    a, b = study(0.15, seed=2)
    stretched = replace(b, score=np.where(np.isfinite(b.score), np.exp(5 * b.score), b.score))
    assert permutation_p_value(a, stretched, Resampling(100)) == permutation_p_value(a, b, Resampling(100))


def test_swapping_the_models_turns_the_difference_around() -> None:
    a, b = study(0.2, seed=4)
    there, back = compare(a, b, resampling=Resampling(50)), compare(b, a, resampling=Resampling(50))
    assert there.difference == -back.difference
    assert there.difference_interval == pytest.approx([-end for end in back.difference_interval[::-1]])


@settings(deadline=None)
@given(
    plain_findings(),
    plain_candidates(),
    plain_candidates(),
    st.tuples(st.sampled_from([0.25, 1.0, 2.0]), st.sampled_from([0.0, 1.5, 5.0])),
    st.sampled_from(
        [
            Luna16Rule(),
            OverlapRule(iou=0.1, unknown_diameter=6.0),
            OverlapRule(iou=0.1, assignment="overlap", duplicates_count=False, unknown_diameter=6.0),
            CamelyonRule(unknown_diameter=10.0),
        ]
    ),
)
def test_transitions_add_up_to_the_differences_in_counts(
    findings: list[PlainFinding],
    candidates_a: list[PlainCandidate],
    candidates_b: list[PlainCandidate],
    operating_point: tuple[float, float],
    rule: MatchRule,
) -> None:
    fp_per_scan, pairing_distance = operating_point
    reference = finding_table(findings)
    a, b = (match(reference, candidate_table(each), CASES, rule) for each in (candidates_a, candidates_b))
    at_a, at_b = (match_at(each, froc(each).threshold_at(fp_per_scan)) for each in (a, b))
    counts = transitions(at_a, at_b, pairing_distance).counts
    assert counts["fixed"] - counts["regressed"] == at_b.counts["tp"] - at_a.counts["tp"]
    assert (
        counts["new_false_positive"] - counts["removed_false_positive"]
        == at_b.counts["fp"] - at_a.counts["fp"]
    )
    assert counts["still_found"] + counts["regressed"] == at_a.counts["tp"]
    assert counts["still_missed"] + counts["regressed"] == at_b.counts["fn"]
    assert counts["still_false_positive"] + counts["removed_false_positive"] == at_a.counts["fp"]
