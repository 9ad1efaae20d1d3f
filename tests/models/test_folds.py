from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.folds import assign_folds, check_no_leak, hold_out, interval_split

patients = st.lists(st.tuples(st.integers(0, 30).map("p{}".format), st.booleans()), min_size=5, max_size=60)
few = settings(max_examples=60, deadline=None)


@few
@given(patients, st.integers(2, 5), st.integers(0, 9))
def test_folds_never_share_a_patient_and_are_stratified(
    cases: list[tuple[str, bool]], count: int, seed: int
) -> None:
    groups, lesions = [group for group, _ in cases], [lesion for _, lesion in cases]
    names = sorted(set(groups))
    if len(names) < count:
        with pytest.raises(InputRefusedError, match="folds"):
            assign_folds(groups, lesions, count, seed)
        return
    folds = assign_folds(groups, lesions, count, seed)
    check_no_leak(folds, groups)
    fold_of = dict(zip(groups, folds.tolist(), strict=True))
    positive = {group for group, lesion in cases if lesion}
    for stratum in (positive, set(names) - positive):
        sizes = np.bincount([fold_of[name] for name in stratum], minlength=count)
        assert sizes.max() - sizes.min() <= 1
    assert np.ptp(np.bincount(list(fold_of.values()), minlength=count)) <= 1


@few
@given(patients, st.randoms(use_true_random=False))
def test_folds_depend_on_seed_and_names_alone(cases: list[tuple[str, bool]], random: object) -> None:
    groups = [group for group, _ in cases]
    # a patient's cases all have lesions or none, so that their order does not change the strata's
    lesions = [int(group[1:]) % 3 == 0 for group in groups]
    if len(set(groups)) < 2:
        return
    folds = dict(zip(groups, assign_folds(groups, lesions, 2).tolist(), strict=True))
    order = np.random.default_rng(len(groups)).permutation(len(groups))
    shuffled = assign_folds([groups[row] for row in order], [lesions[row] for row in order], 2)
    assert {groups[row]: int(fold) for row, fold in zip(order, shuffled, strict=True)} == folds


def test_folds_are_the_same_on_every_computer() -> None:
    groups = [f"patient {number}" for number in range(10)]
    assert assign_folds(groups, [True] * 10, 3, seed=1).tolist() == [1, 2, 0, 2, 1, 0, 0, 2, 1, 0]
    assert (
        assign_folds(groups, [True] * 10, 3, seed=2).tolist()
        != assign_folds(groups, [True] * 10, 3, seed=1).tolist()
    )


def test_patients_that_have_a_fold_keep_it_and_new_ones_even_it_out() -> None:
    groups = [f"p{number}" for number in range(6)]
    first = assign_folds(groups, [True] * 6, 3)
    known = dict(zip(groups, first.tolist(), strict=True))
    more = [*groups, *(f"q{number}" for number in range(6))]
    second = assign_folds(more, [True] * 12, 3, known=known)
    assert second[:6].tolist() == first.tolist()
    assert np.bincount(second).tolist() == [4, 4, 4]
    with pytest.raises(InputRefusedError, match="folds"):
        assign_folds(groups, [True] * 6, 2, known=known)


def test_cases_without_a_patient_are_refused() -> None:
    with pytest.raises(InputRefusedError, match="1 of 3 cases name no patient"):
        assign_folds(["a", "", "b"], [True, True, False], 2)
    with pytest.raises(InputRefusedError, match="3 groups and 2 cases"):
        hold_out(["a", "c", "b"], [True, True], 0.5)


def test_a_patient_in_two_folds_is_a_leak() -> None:
    with pytest.raises(InputRefusedError, match="1 patients are in two folds at once: b") as told:
        check_no_leak([0, 0, 1, 1], ["a", "b", "b", "c"])
    assert told.value.code == "leak"


@few
@given(patients, st.sampled_from([0.1, 0.15, 0.5, 0.9]))
def test_what_is_held_out_are_whole_patients(cases: list[tuple[str, bool]], share: float) -> None:
    groups, lesions = [group for group, _ in cases], [lesion for _, lesion in cases]
    if len(set(groups)) < 2:
        return
    held = hold_out(groups, lesions, share)
    check_no_leak(held, groups)
    assert 0 < held.sum() < len(held)
    names = {group for group, is_held in zip(groups, held, strict=True) if is_held}
    assert abs(len(names) - share * len(set(groups))) <= 1.5


def test_a_share_that_is_none_is_refused() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(InputRefusedError, match="between 0 and 1"):
            hold_out(["a", "b"], [True, False], share)
        with pytest.raises(InputRefusedError, match="between 0 and 1"):
            interval_split(["a", "b"], [0, 1], share)


def test_every_nth_frame_of_each_sequence_is_for_validation() -> None:
    sequences = ["a"] * 20 + ["b"] * 40
    split = interval_split(sequences, [*range(20), *range(40)], 0.2)
    for name, length in (("a", 20), ("b", 40)):
        chosen = np.flatnonzero(split[np.asarray(sequences) == name])
        assert len(chosen) == length / 5
        assert set(np.diff(chosen)) == {5}


@few
@given(st.integers(1, 200), st.sampled_from([0.15, 0.2, 0.33]), st.integers(0, 3), st.integers(0, 99))
def test_intervals_hold_their_share_whatever_the_order_of_rows(
    count: int, share: float, gap: int, seed: int
) -> None:
    frames = np.random.default_rng(seed).permutation(count)
    split = interval_split(["only"] * count, frames, share, gap)
    assert abs((split == 1).sum() - share * count) <= 0.5 + 1e-9
    by_time = split[np.argsort(frames)]
    for frame in np.flatnonzero(by_time == 1):
        near = by_time[max(0, frame - gap) : frame + gap + 1]
        assert (near != 0).all()
    if not gap:
        assert (split >= 0).all()
