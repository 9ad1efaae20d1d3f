from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from augmented_samples import sample_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.sample_store import SampleStore
from napari_medlab.models.training.samplers import (
    SAMPLERS,
    BalancedSampler,
    HardMiningSampler,
    MixedSampler,
    OhemSampler,
    OrderedSampler,
    PatchSampler,
    WeightedSampler,
    build_sampler,
    is_near_miss,
    steps_for,
)
from napari_medlab.models.training.samples import Sample, write_sample

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.training.row_samplers import RowSampler


def cubes(labels: list[int], weights: list[float] | None = None) -> list[Sample]:
    """Return samples whose one voxel tells their row."""
    return [
        Sample.without_boxes(
            np.full((1, 1, 1), row, np.float32), label=label, weight=1.0 if weights is None else weights[row]
        )
        for row, label in enumerate(labels)
    ]


def rows_of(samples: list[Sample]) -> list[int]:
    return [int(sample.image.flat[0]) for sample in samples]


def counts(sampler: RowSampler, number: int, times: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rows_of(sampler.draw(rng, number)) for _ in range(times)])
    return np.bincount(drawn.astype(int), minlength=len(sampler.store))


def test_samples_are_drawn_as_often_as_their_weights_say() -> None:
    seen = counts(WeightedSampler(cubes([0, 0, 1], [1.0, 2.0, 3.0])), 3000)
    assert chisquare(seen, [500, 1000, 1500]).pvalue > 0.01
    times = counts(WeightedSampler(cubes([0, 0, 1], [1.0, 2.0, 3.0]), positive_times=9), 3000)
    assert chisquare(times, [100, 200, 2700]).pvalue > 0.01


def test_patches_are_cut_of_samples_drawn_by_weight() -> None:
    wide = [replace(sample_of((20, 20), [(3.5, 3.5, 6.5, 6.5)], seed=s), weight=float(s)) for s in range(2)]
    patches = PatchSampler(wide, (8, 8), lesion_share=1.0).draw(np.random.default_rng(0), 10)
    assert {patch.shape for patch in patches} == {(8, 8)}
    assert all((~patch.is_ignored).any() for patch in patches)
    assert {patch.weight for patch in patches} == {1.0}, "what weighs nothing is never drawn"


def test_classes_are_drawn_equally_often_in_every_batch() -> None:
    labels = [0] * 20 + [1] * 3 + [2]
    sampler = BalancedSampler(cubes(labels))
    for seed in range(5):
        drawn = [sample.label for sample in sampler.draw(np.random.default_rng(seed), 9)]
        assert np.bincount(drawn).tolist() == [3, 3, 3]
    seen = counts(sampler, 9, 200)
    assert chisquare(seen[:20]).pvalue > 0.01
    assert chisquare(seen[20:23]).pvalue > 0.01


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 1), st.integers(1, 40), st.integers(0, 999))
def test_positives_have_their_share_of_every_batch(share: float, count: int, seed: int) -> None:
    sampler = BalancedSampler(cubes([0, 0, 0, 1]), positive_share=share)
    drawn = sampler.draw(np.random.default_rng(seed), count)
    assert len(drawn) == count
    assert abs(sum(sample.label for sample in drawn) - share * count) < 1 + 1e-9


def test_shares_that_are_no_whole_numbers_are_kept_in_the_mean() -> None:
    sampler, rng = BalancedSampler(cubes([0, 0, 1]), positive_share=1 / 3), np.random.default_rng(0)
    positives = sum(sample.label for _ in range(300) for sample in sampler.draw(rng, 4))
    assert positives == pytest.approx(400, abs=40)


def test_images_with_lesions_balance_against_images_without() -> None:
    with_lesion = [replace(sample_of((6, 6), [(1.5, 1.5, 3.5, 3.5)]), weight=2.0)]
    ignored = replace(with_lesion[0], is_ignored=np.array([True]))
    masked = Sample.without_boxes(np.zeros((1, 6, 6), np.float32), mask=np.ones((1, 6, 6), np.uint8))
    store = SampleStore([*with_lesion, ignored, masked, replace(masked, mask=None)])
    assert store.classes().tolist() == [1, 0, 1, 0]


def test_every_epoch_has_each_sample_once_and_an_order_of_its_own() -> None:
    sampler = OrderedSampler(cubes([0] * 12))
    rng = np.random.default_rng(0)
    epochs = [rows_of(sampler.draw(rng, 12)) for _ in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4, "the order changes from epoch to epoch"
    other = OrderedSampler(cubes([0] * 12), seed=1)
    assert rows_of(other.draw(rng, 12)) != epochs[0]
    assert epochs[0] != list(range(12))


def test_batches_run_across_epochs() -> None:
    sampler = OrderedSampler(cubes([0] * 3), is_shuffled=False)
    rng = np.random.default_rng(0)
    assert rows_of(sampler.draw(rng, 8)) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert rows_of(sampler.draw(rng, 2)) == [2, 0]


def test_an_epoch_may_hold_each_sample_several_times() -> None:
    drawn = rows_of(OrderedSampler(cubes([0] * 4), times=5).draw(np.random.default_rng(0), 20))
    assert np.bincount(drawn).tolist() == [5] * 4
    assert drawn[:4] != drawn[4:8]
    assert (steps_for(100, 32), steps_for(100, 32, times=5), steps_for(100, 32, epochs=2, times=10)) == (
        4,
        16,
        63,
    )


def hard(labels: list[int], **arguments: Any) -> HardMiningSampler:  # noqa: ANN401
    return HardMiningSampler(cubes(labels), **arguments)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 80),
    st.sampled_from([1.0, 2.0, 4.0]),
    st.floats(0.05, 1),
    st.integers(0, 999),
)
def test_a_round_holds_negatives_at_its_ratio(
    positives: int, negatives: int, ratio: float, random_share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    sampler = hard([1] * positives + [0] * negatives, ratio=ratio, random_share=random_share)
    sampler.begin_round(rng, rng.random(positives + negatives))
    chosen_positives, chosen_negatives = sampler.chosen
    assert chosen_positives.tolist() == list(range(positives))
    assert (
        len(set(chosen_negatives.tolist()))
        == len(chosen_negatives)
        == min(round(ratio * positives), negatives)
    )
    drawn = [sample.label for sample in sampler.draw(rng, 20)]
    assert abs(sum(drawn) - 20 / (1 + ratio)) < 1


def test_hard_negatives_come_from_the_highest_scored_and_the_others_from_anywhere() -> None:
    scores = np.concatenate([np.zeros(5), np.arange(200) / 200])
    taken = np.zeros(205)
    for seed in range(200):
        sampler = hard([1] * 5 + [0] * 200, ratio=4, widening=2, random_share=0.25)
        sampler.begin_round(np.random.default_rng(seed), scores)
        taken[sampler.chosen[1]] += 1
    # 15 of the 30 highest, and 5 of any others
    assert taken[-30:].sum() / 200 == pytest.approx(15 + 5 * 15 / 185, abs=0.3)
    assert chisquare(taken[-30:]).pvalue > 0.01
    assert (taken[5:-30] > 0).mean() > 0.9


def test_positives_are_never_chosen_by_score() -> None:
    sampler = hard([1] * 6 + [0] * 30)
    scores = np.concatenate([np.linspace(0, 1, 6), np.full(30, 0.5)])
    sampler.begin_round(np.random.default_rng(0), scores)
    seen = counts(sampler, 50, 60)[:6]
    assert chisquare(seen).pvalue > 0.01


def test_what_is_ambiguous_or_no_error_is_left_out() -> None:
    is_ambiguous = np.array([True, False, True, False, False, False])
    sampler = hard([1, 1, 0, 0, 0, 0], ratio=3, random_share=0.0, widening=2)
    sampler.begin_round(np.random.default_rng(0), [0.9, 0.9, 0.99, 0.5, 0.4, 0.3], is_ambiguous)
    assert sampler.chosen[0].tolist() == [1]
    assert sorted(sampler.chosen[1].tolist()) == [3, 4, 5]
    errors = hard([1, 0, 0, 0, 0], ratio=2, random_share=0.0, widening=2, threshold=0.5)
    for seed in range(10):
        errors.begin_round(np.random.default_rng(seed), [0.9, 0.8, 0.7, 0.1, 0.1])
        assert sorted(errors.chosen[1].tolist()) == [1, 2]


def test_the_hardest_alone_come_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="made models worse"):
        naive = hard([1] + [0] * 20, ratio=3, widening=1, random_share=0)
    naive.begin_round(np.random.default_rng(0), np.arange(21))
    assert sorted(naive.chosen[1].tolist()) == [18, 19, 20]


def test_the_hardest_of_several_models_are_those_that_any_of_them_scores_high() -> None:
    sampler = HardMiningSampler(cubes([1, 0, 0, 0, 0]), ratio=2.0, widening=1.0, random_share=0.01)
    one, other = np.array([0.9, 0.8, 0.0, 0.1, 0.0]), np.array([0.9, 0.0, 0.7, 0.0, 0.1])
    sampler.begin_round(np.random.default_rng(0), np.max([one, other], axis=0))
    assert sorted(sampler.chosen[1].tolist()) == [1, 2]


def test_before_the_first_round_negatives_are_random() -> None:
    seen = counts(hard([1, 1] + [0] * 10), 50, 20)
    assert chisquare(seen[:2]).pvalue > 0.01
    assert chisquare(seen[2:]).pvalue > 0.01


def test_near_misses_lie_beside_a_lesion() -> None:
    distances = [1.0, 3.0, 4.9, 5.0, np.inf, 4.0]
    assert is_near_miss(distances, [3, 3, 3, 3, 3, 6]).tolist() == [False, True, True, False, False, False]


def test_mining_refuses_what_cannot_work() -> None:
    with pytest.raises(InputRefusedError, match="there are 0 and 2"):
        hard([0, 0])
    with pytest.raises(InputRefusedError, match="ratio above 0"):
        hard([0, 1], ratio=0)
    sampler = hard([0, 1])
    for scores in ([0.1], [0.1, np.nan]):
        with pytest.raises(InputRefusedError, match="finite score for each of 2"):
            sampler.begin_round(np.random.default_rng(0), scores)


def test_samples_with_greater_losses_are_drawn_more_often() -> None:
    sampler = OhemSampler(cubes([0] * 4), hard_share=0.5, memory=0.0)
    rng = np.random.default_rng(0)
    for sample in sampler.draw(rng, 200):
        sampler.feedback([sample], [[1.0, 1.0, 1.0, 3.0][rows_of([sample])[0]]])
    np.testing.assert_allclose(sampler.probabilities(), [1 / 6, 1 / 6, 1 / 6, 1 / 2])
    seen = np.bincount(rows_of(sampler.draw(rng, 4000)))
    assert chisquare(seen, [2000 / 6 + 500] * 3 + [1500]).pvalue > 0.01


def test_samples_that_were_not_seen_count_as_the_worst_and_losses_fade() -> None:
    sampler = OhemSampler(cubes([0] * 3), memory=0.5)
    assert sampler.probabilities().tolist() == [1 / 3] * 3
    first = next(sample for sample in sampler.draw(np.random.default_rng(0), 30) if rows_of([sample]) == [0])
    sampler.feedback([first, first], [4.0, 2.0])
    np.testing.assert_allclose(sampler.probabilities(), [1 / 3] * 3)
    sampler.feedback([first], [float("inf")])
    assert json.loads(json.dumps(sampler.state())) == {"losses": [1.5, None, None]}
    with pytest.raises(ValueError, match="samples that it drew"):
        sampler.feedback(cubes([0]), [1.0])


@pytest.mark.parametrize(
    ("share", "count", "old"), [(0.5, 8, {4}), (0.25, 8, {2}), (0.5, 5, {2, 3}), (0.0, 4, {0})]
)
def test_a_share_of_every_batch_is_old(share: float, count: int, old: set[int]) -> None:
    mixed = MixedSampler(WeightedSampler(cubes([0] * 4)), WeightedSampler(cubes([1] * 4)), share)
    rng = np.random.default_rng(0)
    batches = [[sample.label for sample in mixed.draw(rng, count)] for _ in range(100)]
    assert {batch.count(0) for batch in batches} == old
    assert np.mean([batch.count(0) for batch in batches]) == pytest.approx(share * count, abs=0.15)
    if share == 0.5:
        assert len({batch[0] for batch in batches}) == 2, "old and new are shuffled"


def test_new_samples_are_those_of_the_folders_that_are_named(tmp_path: Path) -> None:
    paths = []
    for number, sample in enumerate(cubes([0, 1, 0, 1, 0])):
        path = tmp_path / ("new" if number > 2 else "old") / f"{number}.npz"
        path.parent.mkdir(exist_ok=True)
        write_sample(path, sample)
        paths.append(path)
    plain: dict[str, Any] = {"name": "ordered", "arguments": {"is_shuffled": False}}
    arguments = {"old": plain, "new": plain, "new_in": ["new"], "replay_share": 0.75}
    mixed = build_sampler("mixed", paths, arguments)
    drawn = [sorted(rows_of(mixed.draw(np.random.default_rng(0), 4))) for _ in range(2)]
    assert drawn == [[0, 1, 2, 3], [0, 1, 2, 4]]
    for folders in (["old", "new"], ["none"]):
        with pytest.raises(InputRefusedError, match="are to be mixed"):
            build_sampler("mixed", paths, {**arguments, "new_in": folders})
    with pytest.raises(InputRefusedError, match="There is no sampler called 'lottery'"):
        build_sampler("mixed", paths, {**arguments, "new": {"name": "lottery"}})


def test_losses_reach_the_sampler_that_drew_the_sample() -> None:
    old, new = WeightedSampler(cubes([0] * 2)), OhemSampler(cubes([1] * 2))
    assert MixedSampler(old, old).feedback is None
    mixed = MixedSampler(old, new)
    drawn = mixed.draw(np.random.default_rng(0), 40)
    assert mixed.feedback is not None
    mixed.feedback(drawn, [2.0] * 40)
    assert mixed.state() == {"new": {"losses": [2.0, 2.0]}}
    with pytest.raises(InputRefusedError, match="share of old"):
        MixedSampler(old, new, 1.5)


def remembering() -> list[Any]:
    labels = [0, 1] * 6
    mined = hard(labels)
    mined.begin_round(np.random.default_rng(0), np.arange(12) / 12)
    return [
        OrderedSampler(cubes(labels)),
        mined,
        OhemSampler(cubes(labels)),
        MixedSampler(OrderedSampler(cubes(labels)), OhemSampler(cubes(labels))),
    ]


@pytest.mark.parametrize("kind", range(4))
def test_what_was_restored_goes_on_with_the_same_samples(kind: int) -> None:
    straight, resumed = remembering()[kind], remembering()[kind]
    for seed in range(3):
        drawn = straight.draw(np.random.default_rng(seed), 7)
        if getattr(straight, "feedback", None) is not None:
            straight.feedback(drawn, [float(row) for row in rows_of(drawn)])
    resumed.restore(json.loads(json.dumps(straight.state())))
    for seed in range(3, 6):
        ahead, again = (rows_of(each.draw(np.random.default_rng(seed), 7)) for each in (straight, resumed))
        assert ahead == again


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 5), max_size=40), st.integers(0, 4000))
def test_the_store_keeps_no_more_than_its_budget(order: list[int], budget: int) -> None:
    store = SampleStore(_files(), budget)
    sizes = [row * 100 + 4 for row in range(6)]
    for row in order:
        assert store[row].image.nbytes == sizes[row]
        assert store.used_bytes <= budget
    if order and sizes[order[-1]] <= budget:
        assert store[order[-1]] is store[order[-1]], "what was read last is kept"


_FOLDER: list[Path] = []


@pytest.fixture(autouse=True, scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("samples")
    for row in range(6):
        image = np.full((1, 1, row * 25 + 1), row, np.float32)
        write_sample(
            folder / f"{row}.npz",
            Sample.without_boxes(image, label=row % 2, weight=row + 1.0, group=f"g{row}"),
        )
    _FOLDER[:] = [folder]


def _files() -> list[Path]:
    return [_FOLDER[0] / f"{row}.npz" for row in range(6)]


def test_samples_are_read_when_they_are_drawn() -> None:
    store = SampleStore(_files())
    assert store.used_bytes == 0
    assert store.weights().tolist() == [1, 2, 3, 4, 5, 6]
    assert store.classes().tolist() == [0, 1, 0, 1, 0, 1]
    assert [about.group for about in store.abouts] == [f"g{row}" for row in range(6)]
    drawn = WeightedSampler(store).draw(np.random.default_rng(0), 4)
    assert 0 < store.used_bytes <= sum(sample.image.nbytes for sample in drawn)


def test_a_file_with_a_mask_alone_is_a_positive_where_it_holds_something(tmp_path: Path) -> None:
    for row in range(2):
        mask = np.full((1, 4, 4), row, np.uint8)
        write_sample(
            tmp_path / f"{row}.npz", Sample.without_boxes(np.zeros((1, 4, 4), np.float32), mask=mask)
        )
    assert SampleStore([tmp_path / "0.npz", tmp_path / "1.npz"]).classes().tolist() == [0, 1]


def test_every_sampler_of_the_table_is_built_by_name() -> None:
    for name in set(SAMPLERS) - {"mixed"}:
        shape = {"shape": [1, 1]} if name == "patches" else {}
        assert len(build_sampler(name, cubes([0, 1, 0]), shape).draw(np.random.default_rng(0), 5)) == 5


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("hardest", {}, "known are balanced, hard-mining"),
        ("weighted", {"size": 3}, "do not fit the sampler 'weighted'"),
        ("patches", {"shape": [0, 4]}, "at least 1 voxel"),
        ("balanced", {"positive_share": 2}, "from 0 to 1"),
        ("ordered", {"times": 0}, "at least once"),
        ("ohem", {"memory": 1}, "below 1"),
    ],
)
def test_samplers_refuse_what_does_not_fit(name: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InputRefusedError, match=told):
        build_sampler(name, cubes([0, 1]), arguments)


def test_there_must_be_something_to_draw() -> None:
    with pytest.raises(InputRefusedError, match="no sample"):
        WeightedSampler([])
    with pytest.raises(InputRefusedError, match="weights of samples"):
        WeightedSampler(cubes([0], [0.0]))
