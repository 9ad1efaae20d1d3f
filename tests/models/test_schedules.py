from __future__ import annotations

from itertools import pairwise

import pytest

from napari_medlab.models.training.recipe import ScheduleSettings
from napari_medlab.models.training.schedules import factor

STEPS = 100


def at(settings: ScheduleSettings, *numbers: int) -> list[float]:
    return [factor(settings, number, STEPS) for number in numbers]


def test_the_warm_up_is_a_straight_line() -> None:
    constant = ScheduleSettings("constant", warmup_steps=4)
    assert at(constant, 1, 2, 3, 4, 5, 100) == [0.25, 0.5, 0.75, 1, 1, 1]
    assert at(ScheduleSettings("constant", warmup_steps=0), 1, 100) == [1, 1]


def test_a_cosine_falls_to_its_floor() -> None:
    cosine = ScheduleSettings("cosine", warmup_steps=0, floor=0.02)
    assert at(cosine, 50, 100) == pytest.approx([0.02 + 0.98 / 2, 0.02])
    # cos(pi / 4)
    assert at(cosine, 25) == pytest.approx([0.02 + 0.98 * (1 + 2**-0.5) / 2])


def test_an_exponential_takes_the_same_share_in_every_step() -> None:
    exponential = ScheduleSettings("exponential", warmup_steps=0, floor=0.01)
    assert at(exponential, 50, 100) == pytest.approx([0.1, 0.01])
    values = at(exponential, *range(1, 101))
    ratios = [after / before for before, after in pairwise(values)]
    assert ratios == pytest.approx([0.01 ** (1 / 100)] * 99)


def test_a_step_decay_falls_behind_each_milestone() -> None:
    step = ScheduleSettings("step", warmup_steps=0, milestones=(0.6, 0.8), gamma=0.1)
    assert at(step, 1, 60, 61, 80, 81, 100) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("name", ["cosine", "step", "exponential", "constant"])
def test_warm_up_and_decay_are_multiplied(name: str) -> None:
    cold = ScheduleSettings(name, warmup_steps=10)  # type: ignore[arg-type]
    warm = ScheduleSettings(name, warmup_steps=0)  # type: ignore[arg-type]
    assert at(cold, 5) == pytest.approx([0.5 * at(warm, 5)[0]])
    assert at(cold, 10, 60) == at(warm, 10, 60)
    assert all(0 < value <= 1 for value in at(cold, *range(1, 101)))
