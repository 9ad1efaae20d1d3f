from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import Resampling, lesion_agreement, verdict_agreement
from napari_medlab.evaluation.agreement import fleiss_kappa, krippendorff_alpha, mean_with_interval

if TYPE_CHECKING:
    from collections.abc import Iterable

NONE = Resampling(0)
verdicts = st.dictionaries(
    st.sampled_from("abcdefgh"), st.sampled_from(["agreed", "model wrong", "ambiguous"])
)


def readers(counts: dict[tuple[str, str], int]) -> tuple[dict[str, str], dict[str, str]]:
    """Return what two readers said, so that each pair of verdicts occurs as often as told."""
    pairs = [pair for pair, times in counts.items() for _ in range(times)]
    return ({str(n): a for n, (a, _) in enumerate(pairs)}, {str(n): b for n, (_, b) in enumerate(pairs)})


def test_kappa_of_the_textbook_table() -> None:
    # 50 proposals, 20 accepted and 15 refused by both: agreement 0.7, by chance 0.5
    said = readers({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15})
    result = verdict_agreement(*said, resampling=Resampling(400, seed=1))
    assert result.names == ("no", "yes")
    assert result.confusion.tolist() == [[15, 10], [5, 20]]
    assert (result.n_objects, result.agreement) == (50, 0.7)
    assert result.kappa == pytest.approx(0.4)
    low, high = result.interval
    assert low < 0.4 < high
    # its standard error is 0.127
    assert 0.3 < high - low < 0.7
    assert result.as_json()["kappa"] == pytest.approx(0.4)


def test_what_only_one_reader_judged_does_not_count() -> None:
    result = verdict_agreement(
        {"a": "yes", "b": "no", "c": "no"}, {"a": "yes", "b": "no", "z": "no"}, resampling=NONE
    )
    assert (result.n_objects, result.kappa) == (2, 1.0)
    assert all(map(math.isnan, result.interval))


@pytest.mark.parametrize(
    ("first", "second"), [({}, {}), ({"a": "yes"}, {"a": "yes"}), ({"a": "yes"}, {"b": "yes"})]
)
def test_kappa_does_not_exist_where_chance_explains_everything(
    first: dict[str, str], second: dict[str, str]
) -> None:
    result = verdict_agreement(first, second)
    assert math.isnan(result.kappa)
    assert result.as_json()["kappa"] is None
    assert result.as_json()["interval"] is None


def test_verdicts_on_one_patient_are_drawn_together() -> None:
    first = {f"{p}{n}": ("yes" if p % 2 else "no") for p in range(10) for n in range(20)}
    second = {key: ("yes" if int(key[0]) in (1, 3, 5, 7, 8) else "no") for key in first}
    apart = verdict_agreement(first, second).interval
    together = verdict_agreement(first, second, {key: key[0] for key in first}).interval
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


@given(verdicts, verdicts)
def test_kappa_is_symmetric_and_at_most_1(first: dict[str, str], second: dict[str, str]) -> None:
    there, back = (verdict_agreement(a, b, resampling=NONE) for a, b in ((first, second), (second, first)))
    assert there.kappa == pytest.approx(back.kappa, nan_ok=True)
    assert (there.confusion == back.confusion.T).all()
    assert not there.kappa > 1.0


def test_fleiss_kappa_of_the_published_example() -> None:
    # 10 subjects, 14 raters, 5 categories
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=0.0005)


def test_fleiss_kappa_needs_one_number_of_readers() -> None:
    with pytest.raises(InputRefusedError, match=r"got 2 to 3") as caught:
        fleiss_kappa(np.array([[2, 0], [1, 2]]))
    assert caught.value.code == "readers"
    assert math.isnan(fleiss_kappa(np.zeros((0, 3), dtype=int)))
    assert math.isnan(fleiss_kappa(np.array([[2, 0], [2, 0]])))


def test_krippendorffs_alpha_of_the_published_example() -> None:
    # nominal data of two observers, ten units: section A of the paper
    first = dict(enumerate_as_text([0, 1, 0, 0, 0, 0, 0, 0, 1, 0]))
    second = dict(enumerate_as_text([1, 1, 1, 0, 0, 1, 0, 0, 0, 0]))
    assert krippendorff_alpha({"first": first, "second": second}) == pytest.approx(0.095, abs=0.0005)


def test_krippendorffs_alpha_where_readers_judged_different_objects() -> None:
    # four observers, twelve units with gaps: section C of the paper, where alpha is 0.743
    rows = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]
    by_reader = {
        str(n): {unit: value for unit, value in enumerate_as_text(row) if value != "."}
        for n, row in enumerate(rows)
    }
    assert krippendorff_alpha(by_reader) == pytest.approx(0.743, abs=0.0005)


def test_krippendorffs_alpha_at_its_ends() -> None:
    assert krippendorff_alpha({"a": {"x": "1", "y": "2"}, "b": {"x": "1", "y": "2"}}) == 1.0
    assert krippendorff_alpha({"a": {"x": "1", "y": "2"}, "b": {"x": "2", "y": "1"}}) < 0
    assert math.isnan(krippendorff_alpha({"a": {"x": "1"}, "b": {"y": "1"}}))
    assert math.isnan(krippendorff_alpha({}))


def enumerate_as_text(values: Iterable[object]) -> list[tuple[str, str]]:
    return [(str(n), str(value)) for n, value in enumerate(values)]


def table(*centres: tuple[str, float], diameter: float = 10.0) -> FindingTable:
    return FindingTable.from_objects([Finding(case, (x, 0.0, 0.0), diameter) for case, x in centres])


def test_lesions_that_two_readers_marked() -> None:
    first = table(("one", 0.0), ("one", 50.0), ("two", 0.0))
    second = table(("one", 2.0), ("two", 40.0), ("elsewhere", 0.0))
    result = lesion_agreement(first, second, ["one", "two", "three", "four"])
    assert (result.n_first, result.n_second) == (3, 2)
    assert result.found_by_second == pytest.approx(1 / 3)
    assert result.found_by_first == pytest.approx(1 / 2)
    assert (result.extra_of_first, result.extra_of_second) == (0.5, 0.25)
    assert result.f1 == pytest.approx(2 / 5)
    assert result.as_json()["found_by_other"] == pytest.approx([1 / 3, 1 / 2])


def test_readers_who_marked_nothing_agree_about_nothing() -> None:
    empty = FindingTable.from_objects([])
    result = lesion_agreement(empty, empty, ["one"])
    assert math.isnan(result.f1)
    assert (result.extra_of_first, result.as_json()["f1"]) == (0.0, None)


def test_the_mean_of_dice_coefficients() -> None:
    result = mean_with_interval([0.8, 0.9, math.nan, 0.7], resampling=Resampling(500))
    assert (result.mean, result.n) == pytest.approx((0.8, 3))
    assert result.interval == pytest.approx((0.7, 0.9), abs=0.04)
    assert mean_with_interval([]).as_json() == {"mean": None, "interval": None, "n": 0}


def test_the_mean_keeps_the_values_of_a_patient_together() -> None:
    values, groups = [0.9] * 10 + [0.5] * 10, ["a"] * 10 + ["b"] * 10
    apart, together = mean_with_interval(values), mean_with_interval(values, groups)
    assert together.mean == apart.mean
    assert together.interval == pytest.approx((0.5, 0.9))
    assert apart.interval[1] - apart.interval[0] < 0.25
