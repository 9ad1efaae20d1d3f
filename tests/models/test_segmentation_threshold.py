from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.segmentation.objects import ObjectSettings, objects_of, threshold_in
from napari_medlab.models.segmentation.threshold import ThresholdSearch
from napari_medlab.project import CaseRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Case:
    """A case as a search sees it."""

    case_id: str
    split: str = "train"
    frozen: bool = False

    @property
    def name(self) -> str:
        """The id."""
        return self.case_id


def overlap(probabilities: NDArray[Any], mask: NDArray[np.bool_], threshold: float, measure: str) -> float:
    on = probabilities >= threshold_in(probabilities.dtype, threshold)
    common, sizes = int((on & mask).sum()), int(on.sum()) + int(mask.sum())
    if sizes == 0:
        return 1.0
    return 2 * common / sizes if measure == "dice" else common / (sizes - common)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**16), measure=st.sampled_from(["dice", "iou"]), over=st.sampled_from(["cases", "voxels"]),
    dtype=st.sampled_from([np.uint8, np.float16, np.float32, np.float64]),
)  # fmt: skip
@example(
    seed=86, measure="dice", over="cases", dtype=np.float32
)  # a value that is half-way once it is multiplied by 255
def test_the_search_is_exact_for_every_threshold(
    seed: int, measure: str, over: str, dtype: type[np.generic]
) -> None:
    rng = np.random.default_rng(seed)
    masks = [rng.random((2, 6, 7)) < share for share in (0.3, 0.0, 0.8)]
    noisy = [np.clip(0.5 * mask + rng.normal(0.25, 0.2, mask.shape), 0, 1) for mask in masks]
    given = [(255 * one).astype(np.uint8) if dtype is np.uint8 else one.astype(dtype) for one in noisy]
    search = ThresholdSearch(2)
    for number, (probabilities, mask) in enumerate(zip(given, masks, strict=True)):
        case = Case(str(number))
        # parts of a case add up
        search.add(case, probabilities[:, :4], mask[:, :4])
        search.add(case, probabilities[:, 4:], mask[:, 4:])
    for of_class, chosen in enumerate(search.best(measure, over)):
        pairs = [(one[of_class], mask[of_class]) for one, mask in zip(given, masks, strict=True)]
        if over == "voxels":
            pairs = [(np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))]
        brute = [np.mean([overlap(a, b, t, measure) for a, b in pairs]) for t in chosen.thresholds]
        np.testing.assert_allclose(chosen.values, brute, atol=1e-12)
        assert chosen.value == pytest.approx(max(brute))
        assert chosen.threshold in chosen.thresholds


def test_values_that_are_thresholds_and_no_numbers_count_as_they_are_cut() -> None:
    at = np.nextafter(np.float32(20.5 / 255), np.array([0, 1], np.float32))
    values = np.array([[*at, 20.5 / 255, np.nan, 1.5, -0.5]], np.float32)
    search = ThresholdSearch(1)
    search.add(Case("a"), values, np.ones(values.shape, bool))
    (chosen,) = search.best()
    brute = [overlap(values[0], np.ones(values.shape[1], bool), t, "dice") for t in chosen.thresholds]
    np.testing.assert_allclose(chosen.values, brute)


def test_of_equally_good_thresholds_the_middle_is_chosen() -> None:
    search = ThresholdSearch(1)
    search.add(Case("a"), np.array([[40, 200]], np.uint8), np.array([[0, 1]]))
    (chosen,) = search.best()
    assert chosen.value == 1
    assert chosen.threshold == pytest.approx(120 / 255, abs=1 / 255)


def test_the_threshold_cuts_stored_and_floating_masks_alike() -> None:
    rng = np.random.default_rng(0)
    floating = rng.random((1, 32, 32)).astype(np.float32)
    stored = np.rint(floating * 255).astype(np.uint8)
    search = ThresholdSearch(1)
    search.add(Case("a"), stored, floating > 0.37)
    (chosen,) = search.best()
    assert chosen.value > 0.99
    found = [objects_of(mask, ObjectSettings(chosen.threshold)) for mask in (floating, stored)]
    assert sum(one.voxels for one in found[0]) == sum(one.voxels for one in found[1])


@pytest.mark.parametrize(
    "case",
    [
        Case("a", "test"), Case("a", "Test"), Case("a", "train", frozen=True),
        CaseRecord("a", "a.dcm", "patient a", split="test", frozen=True),
    ],
)  # fmt: skip
def test_a_test_case_is_refused(case: Case | CaseRecord) -> None:
    search = ThresholdSearch(1)
    with pytest.raises(InputRefusedError, match="for testing") as caught:
        search.add(case, np.zeros((1, 2, 2), np.uint8), np.zeros((1, 2, 2)))
    assert caught.value.code == "test-cases"
    assert "validation cases" in caught.value.hint


def test_what_does_not_fit_is_refused() -> None:
    search = ThresholdSearch(2)
    with pytest.raises(InputRefusedError, match="cannot be chosen without cases"):
        search.best()
    with pytest.raises(InputRefusedError, match=r"both should be \(2, …\)"):
        search.add(Case("a"), np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))
    with pytest.raises(InputRefusedError, match=r"both should be"):
        search.add(Case("a"), np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
    with pytest.raises(InputRefusedError, match="not by accuracy over cases"):
        search.best("accuracy")
