"""How the views of a mammography exam hang."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.geometry import Grid
from napari_medlab.images.contents import VIEWS
from napari_medlab.widgets.layers.case_view import CaseView
from napari_medlab.widgets.layers.hanging import hang, partners

Box = tuple[float, float, float, float]


def view(rows: int, columns: int, spacing: tuple[float, float] = (0.5, 0.25)) -> CaseView:
    pixels = np.zeros((rows, columns), np.uint8)
    return CaseView("", "", "mammogram", [[pixels]], Grid.axis_aligned(pixels.shape, spacing, unit="mm"))


def boxes(names: list[str], sizes: list[tuple[int, int]]) -> dict[str, Box]:
    """Return (top, bottom, left, right) of each view, by its number."""
    views = {str(n): (name, view(*size)) for n, (name, size) in enumerate(zip(names, sizes, strict=True))}
    found = {}
    for case, (top, left) in hang(views).items():
        height, width = np.asarray(views[case][1].grid.shape) * np.asarray(views[case][1].scale)
        found[case] = (top, top + float(height), left, left + float(width))
    return found


def overlap(one: Box, other: Box) -> bool:
    return (
        min(one[1], other[1]) - max(one[0], other[0]) > 1e-9
        and min(one[3], other[3]) - max(one[2], other[2]) > 1e-9
    )


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_right_beside_left_and_cc_over_mlo_in_whatever_order_they_come(order: tuple[int, ...]) -> None:
    names, sizes = list(VIEWS), [(400, 200), (380, 210), (420, 190), (430, 230)]
    found = boxes([names[at] for at in order], [sizes[at] for at in order])
    by_name = {names[at]: found[str(number)] for number, at in enumerate(order)}
    for right, left in (("RCC", "LCC"), ("RMLO", "LMLO")):
        assert by_name[right][3] == by_name[left][2] == 0  # the chest walls meet
        middles = [(by_name[name][0] + by_name[name][1]) / 2 for name in (right, left)]
        assert middles[0] == pytest.approx(middles[1])
    assert max(by_name[name][1] for name in ("RCC", "LCC")) < min(
        by_name[name][0] for name in ("RMLO", "LMLO")
    )


names = st.sampled_from([*VIEWS, "RML", "LLM", "RXCCL", ""])


@given(hung=st.lists(st.tuples(names, st.tuples(st.integers(1, 500), st.integers(1, 500))), max_size=9))
def test_every_view_hangs_and_none_lies_over_another(hung: list[tuple[str, tuple[int, int]]]) -> None:
    found = boxes([name for name, _ in hung], [size for _, size in hung])
    assert len(found) == len(hung)
    assert not [pair for pair in combinations(found.values(), 2) if overlap(*pair)]
    for number, (name, _) in enumerate(hung):
        assert found[str(number)][3 if name.startswith("R") else 2] == 0


def test_of_a_view_that_was_taken_twice_the_first_hangs_in_its_place() -> None:
    found = boxes(["LCC", "RCC", "RCC"], [(10, 10)] * 3)
    assert found["1"][0] == found["0"][0] == 0
    assert found["2"][0] >= found["1"][1]


def test_nothing_hangs_of_nothing() -> None:
    assert hang({}) == {}


def test_partners_are_the_other_breast_and_the_other_view() -> None:
    assert {name: partners(name) for name in VIEWS} == {
        "RCC": ("LCC", "RMLO"), "LCC": ("RCC", "LMLO"), "RMLO": ("LMLO", "RCC"), "LMLO": ("RMLO", "LCC"),
    }  # fmt: skip
