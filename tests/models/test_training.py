from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from training_pieces import (
    RECIPE,
    GoesRound,
    MakesSamples,
    bright_sample,
    brightened,
    same_weights,
    small_net,
    trained,
)

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.models.training.feed import Feed
from napari_medlab.models.training.metrics import metrics_path
from napari_medlab.models.training.precision import chosen_precision
from napari_medlab.models.training.recipe import (
    FINE_TUNING,
    FreezeSettings,
    LookaheadSettings,
    OptimiserSettings,
    Recipe,
    ValidationSettings,
)
from napari_medlab.models.training.samples import Sample, read_sample, write_sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from napari_medlab.models.training.feed import Transforms

KINDS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adam": {"optimiser": OptimiserSettings(name="adam")},
    "sgd": {"optimiser": OptimiserSettings(name="sgd", nesterov=True)},
    "lookahead": {"optimiser": OptimiserSettings(lookahead=LookaheadSettings(3, 0.5))},
    "bfloat16": {"precision": "bfloat16"},
    "auto": {"precision": "auto"},
    "accumulation": {"accumulate": 3},
    "average": {"ema_decay": 0.9},
    "frozen": {"freeze": FreezeSettings(("backbone.",), 4), "freeze_norms": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_was_stopped_goes_on_to_the_bit(kind: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, **KINDS[kind])
    transforms: Transforms = ([brightened], [])
    straight, _ = trained(recipe, GoesRound(), transforms=transforms)
    state = tmp_path / "state.checkpoint"
    seen = []
    for stop in (*sorted(np.random.default_rng(len(kind)).choice(np.arange(1, 9), 2, replace=False)), None):
        # a fresh network and sampler each time, as in a new process
        resumed, steps = trained(
            recipe, GoesRound(), cancel_after=stop, checkpoint=state, transforms=transforms
        )
        seen += [step.number for step in steps]
    assert seen == list(range(1, RECIPE.steps + 1))
    assert same_weights(straight, resumed)


def test_a_finished_training_is_read_from_its_state(tmp_path: Path) -> None:
    finished, _ = trained(checkpoint=tmp_path / "state")
    again, steps = trained(checkpoint=tmp_path / "state")
    assert steps == []
    assert same_weights(finished, again)


def test_the_loss_falls() -> None:
    _, steps = trained(replace(RECIPE, steps=40))
    losses = [step.losses["total"] for step in steps]
    assert [step.number for step in steps] == list(range(1, 41))
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    first, again, other = (trained(r)[0] for r in (RECIPE, RECIPE, replace(RECIPE, seed=9)))
    assert same_weights(first, again)
    assert not same_weights(first, other)


def test_random_numbers_of_whoever_trains_are_left_alone() -> None:
    network = small_net()
    before = torch.get_rng_state()
    trained(replace(RECIPE, steps=2), network=network)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("parts", [2, 3, 4, 9])
def test_parts_of_a_batch_do_what_the_whole_does(parts: int) -> None:
    whole = small_net(norm=False, dropout=0)
    split = small_net(norm=False, dropout=0)
    sgd = replace(RECIPE, steps=3, optimiser=OptimiserSettings(name="sgd"))
    _, at_once = trained(sgd, network=whole)
    _, in_parts = trained(replace(sgd, accumulate=parts), network=split)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(tensor, split.state_dict()[name])
    assert [s.losses["total"] for s in at_once] == pytest.approx(
        [s.losses["total"] for s in in_parts], rel=1e-5
    )


def test_frozen_norms_do_not_move() -> None:
    network, _ = trained(replace(RECIPE, freeze_norms=True))
    moving, _ = trained()
    for name, tensor in small_net().state_dict().items():
        if "running" in name:
            assert torch.equal(network.state_dict()[name], tensor)
            assert not torch.equal(moving.state_dict()[name], tensor)


def test_a_frozen_part_stands_still_for_the_steps_that_it_is_told_to() -> None:
    recipe = replace(RECIPE, freeze=FreezeSettings(("backbone.",), 3))
    still, _ = trained(replace(recipe, steps=3))
    moved, _ = trained(recipe)
    for name, tensor in small_net().state_dict().items():
        is_still = torch.equal(still.state_dict()[name], tensor)
        assert is_still == name.startswith("backbone."), name
        assert not torch.equal(moved.state_dict()[name], tensor), name


def test_the_average_of_weights_is_the_one_of_its_equation() -> None:
    # with one step the decay is (1 + 1) / (10 + 1)
    last, _ = trained(replace(RECIPE, steps=1))
    mean, _ = trained(replace(RECIPE, steps=1, ema_decay=0.9))
    for name, start in small_net().state_dict().items():
        if start.is_floating_point():
            expected = start * (2 / 11) + last.state_dict()[name] * (9 / 11)
            torch.testing.assert_close(mean.state_dict()[name], expected)


class Told:
    """A validator that says what it was told to say, and keeps the weights that it saw."""

    def __init__(self, figures: Sequence[float]) -> None:
        self.figures = list(figures)
        self.seen: list[dict[str, torch.Tensor]] = []

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        assert not network.training
        self.seen.append({name: tensor.clone() for name, tensor in network.state_dict().items()})
        return {"dice": self.figures[len(self.seen) - 1]}


def validated(figures: Sequence[float], patience: int, **change: Any) -> tuple[nn.Module, list[int], Told]:  # noqa: ANN401
    settings = ValidationSettings(every=2, metric="dice", better="higher", patience=patience)
    told = Told(figures)
    network, steps = trained(replace(RECIPE, validation=settings, **change), validate=told)
    assert all((step.metrics is not None) == (step.number % 2 == 0 or step.number == 9) for step in steps)
    return network, [step.number for step in steps], told


def test_the_best_weights_are_kept() -> None:
    network, steps, told = validated([0.1, 0.7, 0.3, 0.2, 0.5], patience=0)
    assert steps[-1] == 9
    assert all(torch.equal(tensor, told.seen[1][name]) for name, tensor in network.state_dict().items())


def test_a_training_that_gets_no_better_stops_early() -> None:
    network, steps, told = validated([0.4, 0.3, float("nan")], patience=2)
    assert steps[-1] == 6
    assert all(torch.equal(tensor, told.seen[0][name]) for name, tensor in network.state_dict().items())


def test_what_is_validated_is_the_average_where_one_is_taken() -> None:
    network, _, told = validated([0.1, 0.2, 0.3, 0.4, 0.5], patience=0, ema_decay=0.5)
    assert all(torch.equal(tensor, told.seen[-1][name]) for name, tensor in network.state_dict().items())
    plain, _ = trained()
    assert not same_weights(network, plain)


def test_early_stopping_is_remembered_over_a_stop(tmp_path: Path) -> None:
    settings = ValidationSettings(every=2, metric="dice", better="higher", patience=2)
    recipe, state = replace(RECIPE, validation=settings), tmp_path / "state"
    trained(recipe, checkpoint=state, cancel_after=5, validate=Told([0.9, 0.1]))
    resumed, steps = trained(recipe, checkpoint=state, validate=Told([0.2, 1.0]))
    assert [step.number for step in steps] == [6]
    straight, _ = trained(recipe, validate=Told([0.9, 0.1, 0.2]))
    assert same_weights(resumed, straight)


def test_a_metric_that_the_validator_does_not_give_is_refused() -> None:
    with pytest.raises(InputRefusedError, match=r"no 'loss'; it gives dice"):
        trained(replace(RECIPE, validation=ValidationSettings(every=1)), validate=Told([0.1]))


def test_a_damaged_state_and_one_of_another_recipe_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    trained(replace(RECIPE, steps=2), checkpoint=state)
    with pytest.raises(InputRefusedError) as caught:
        trained(replace(RECIPE, steps=3), checkpoint=state)
    assert caught.value.code == "other-checkpoint"
    state.write_bytes(state.read_bytes()[:-200])
    with pytest.raises(InputRefusedError) as caught:
        trained(replace(RECIPE, steps=2), checkpoint=state)
    assert caught.value.code == "checkpoint"


def test_nothing_in_a_state_is_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (tmp_path.joinpath("ran").touch, ())

    torch.save({"schema": 1, "network": Evil()}, tmp_path / "state")
    with pytest.raises(InputRefusedError) as caught:
        trained(checkpoint=tmp_path / "state")
    assert caught.value.code == "checkpoint"
    assert not (tmp_path / "ran").exists()


def test_the_course_is_one_line_for_each_step_whatever_was_stopped(tmp_path: Path) -> None:
    state = tmp_path / "state.checkpoint"
    trained(replace(RECIPE, checkpoint_seconds=1e9), checkpoint=state, cancel_after=4)
    path = metrics_path(state)
    # a killed process wrote steps that its state does not know, and half a line
    path.write_text(path.read_text() + '{"number": 5, "losses": {}}\n{"numb')
    trained(replace(RECIPE, checkpoint_seconds=1e9), checkpoint=state)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == list(range(1, 10))
    assert all(line["losses"]["total"] > 0 and line["learning_rate"] > 0 for line in lines)


def test_a_loss_that_is_no_number_ends_the_training() -> None:
    def spoilt(rng: np.random.Generator, sample: Sample) -> Sample:
        del rng
        return replace(sample, image=np.full_like(sample.image, np.nan))

    with pytest.raises(MedlabError) as caught:
        trained(transforms=([spoilt], []))
    assert caught.value.code == "diverged"


class Learns(MakesSamples):
    def __init__(self) -> None:
        self.told: list[tuple[int, list[float]]] = []

    def feedback(self, samples: Sequence[Sample], losses: Sequence[float]) -> None:
        self.told.append((len(samples), list(losses)))


def test_a_sampler_that_learns_is_told_the_loss_of_every_sample() -> None:
    sampler = Learns()
    _, steps = trained(replace(RECIPE, steps=3, accumulate=2), sampler)
    assert [count for count, _ in sampler.told] == [4, 4, 4]
    assert [np.mean(losses) for _, losses in sampler.told] == pytest.approx(
        [s.losses["total"] for s in steps], rel=1e-5
    )


def test_samples_of_several_sizes_are_grown_to_one() -> None:
    class Sizes:
        def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
            del count
            small = replace(bright_sample(rng), boxes=np.array([[0, 1, 2, 3]], np.float32))
            image = np.ones((1, 11, 5), np.float16)
            return [small, Sample.without_boxes(image, mask=np.ones((1, 11, 5), np.uint8))]

    feed = Feed(Sizes(), ((), ()), replace(RECIPE, batch_size=2), 4, 1)
    batch = feed.take()
    feed.close()
    assert tuple(batch.images.shape) == (2, 1, 12, 8)
    assert batch.images.dtype == torch.float32
    assert [sample.shape for sample in batch.samples] == [(12, 8), (12, 8)]
    assert batch.samples[1].mask is not None
    assert int(batch.samples[1].mask.sum()) == 55
    np.testing.assert_array_equal(batch.samples[0].boxes, [[0, 1, 2, 3]])
    assert float(batch.images[0, 0, 9].max()) == pytest.approx(float(batch.drawn[0].image.min()))


def test_batches_made_ahead_are_those_made_one_by_one() -> None:
    ahead = Feed(GoesRound(), ([brightened], []), RECIPE, 1, 1)
    single = Feed(GoesRound(), ([brightened], []), RECIPE, 1, 1)
    single._ahead = 0
    for _ in range(RECIPE.steps):
        first, second = ahead.take(), single.take()
        assert torch.equal(first.images, second.images)
        assert first.sampler == second.sampler
    ahead.close()
    single.close()


def test_half_precision_on_a_cpu_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="CUDA alone"):
        trained(replace(RECIPE, precision="float16"))
    assert chosen_precision("auto", torch.device("cpu")) in {"float32", "bfloat16"}


def test_a_recipe_comes_back_from_json() -> None:
    full = replace(
        FINE_TUNING, optimiser=OptimiserSettings(lookahead=LookaheadSettings()), validation=ValidationSettings(),
        freeze=FreezeSettings(("backbone.",), 5), ema_decay=0.99,
    )  # fmt: skip
    for recipe in (RECIPE, FINE_TUNING, full):
        assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


def test_every_mistake_in_a_recipe_is_told_with_its_path() -> None:
    document = {
        "steps": 0, "rate": 1, "optimiser": {"name": "x", "bestas": 1, "betas": [1, "a"]}, "freeze_norms": 1,
        "schedule": {"milestones": [0.5, 2], "floor": 0}, "validation": [], "seed": True, "clip_norm": None,
    }  # fmt: skip
    with pytest.raises(InputRefusedError) as caught:
        Recipe.from_json(document)
    told = [line.strip() for line in caught.value.message.splitlines()[1:]]
    assert {line.split(": ")[0] for line in told} == {
        "steps", "rate", "optimiser.name", "optimiser.bestas", "optimiser.betas[1]", "freeze_norms",
        "schedule.milestones[1]", "schedule.floor", "validation", "seed",
    }  # fmt: skip
    assert "steps: expected 1 or more, got 0" in told
    assert any(
        line.startswith("optimiser.bestas: is not known; known are name, weight_decay") for line in told
    )


def test_a_sample_comes_back_from_its_file(tmp_path: Path) -> None:
    sample = replace(bright_sample(np.random.default_rng(0)), label=1, weight=2.5, group="patient 7")
    write_sample(tmp_path / "one.npz", sample)
    again = read_sample(tmp_path / "one.npz")
    np.testing.assert_array_equal(again.image, sample.image)
    assert again.mask is not None
    assert (again.label, again.weight, again.group) == (1, 2.5, "patient 7")
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]
