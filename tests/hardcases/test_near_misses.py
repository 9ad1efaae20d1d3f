from __future__ import annotations

import numpy as np
import pytest

from napari_medlab.hardcases.near_misses import ambiguous_reach, is_near_miss


def test_between_the_radius_and_five_millimetres_nothing_is_certain() -> None:
    away = np.asarray([0.0, 1.9, 2.0, 4.9, 5.0, np.inf])
    assert is_near_miss(away, np.full(6, 2.0)).tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize(
    ("unit", "reach"), [("mm", [5.0, 5.0, 12.5]), ("um", [2.5, 5.0, 12.5]), ("px", [2.5, 5.0, 12.5])]
)
def test_the_reach_is_five_millimetres_or_a_quarter_of_the_radius(unit: str, reach: list[float]) -> None:
    assert ambiguous_reach([2.0, 4.0, 10.0], unit).tolist() == reach
    assert is_near_miss([11.0], [10.0], ambiguous_reach([10.0], unit)).tolist() == [True]
