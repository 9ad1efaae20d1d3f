from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate
from napari_medlab.models.detection.clustering import chance_of_at_least, cluster_candidates

RULE = {"from": "speck", "into": "calcification", "reach_mm": 3.0, "least": 3}


def speck(x: float, y: float, score: float = 0.9) -> Candidate:
    return Candidate("case", (x, y), score, 0.5, "speck")


def test_specks_that_lie_together_are_one_cluster_and_lone_ones_are_dropped() -> None:
    mass = Candidate("case", (50.0, 50.0), 0.4, 12.0, "mass")
    found = cluster_candidates(
        [speck(0, 0), mass, speck(2, 0), speck(4, 0), speck(30, 0), speck(31, 0)], RULE
    )
    assert [c.label for c in found] == ["calcification", "mass"]
    assert found[0].centre == (2.0, 0.0)
    assert found[0].diameter == 4.0
    assert found[1] is mass


def test_links_chain_but_do_not_reach_further_than_stated() -> None:
    assert len(cluster_candidates([speck(x, 0) for x in (0, 2.9, 5.8)], RULE)) == 1
    assert cluster_candidates([speck(x, 0) for x in (0, 2.9, 6.0)], RULE) == []


def test_the_score_of_a_cluster_is_the_chance_that_enough_specks_are_real() -> None:
    found = cluster_candidates([speck(x, 0, score) for x, score in ((0, 0.5), (1, 0.5), (2, 0.5))], RULE)
    assert found[0].score == pytest.approx(0.125)
    faint = cluster_candidates([speck(x, 0, 0.2) for x in range(3)], {**RULE, "threshold": 0.1})
    assert faint == []


def test_faint_specks_neither_link_nor_count() -> None:
    bright = [speck(x, 0) for x in (0, 1, 2, 6, 7, 8)]
    faint = [speck(4, 0, 0.2)]
    assert len(cluster_candidates(bright + faint, RULE)) == 1
    assert len(cluster_candidates(bright + faint, {**RULE, "speck_threshold": 0.3})) == 2


def test_the_better_cluster_comes_first() -> None:
    far = [speck(100 + x, 0, 0.99) for x in range(4)]
    found = cluster_candidates([speck(x, 0, 0.4) for x in range(3)] + far, RULE)
    assert [round(c.centre[0]) for c in found] == [102, 1]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7), st.integers(1, 5))
def test_the_chance_is_that_of_counting_every_outcome(probabilities: list[float], least: int) -> None:
    expected = sum(
        float(np.prod([p if happens else 1 - p for p, happens in zip(probabilities, outcome, strict=True)]))
        for outcome in product([False, True], repeat=len(probabilities))
        if sum(outcome) >= least
    )
    assert chance_of_at_least(least, np.asarray(probabilities)) == pytest.approx(expected, abs=1e-9)
