from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.augmentation import augment, cut_patch
from napari_medlab.models.training.loop import Step, train
from napari_medlab.models.training.recipe import Recipe
from napari_medlab.models.training.samples import Sample, phantom_sample, read_sample, write_sample
from napari_medlab.phantoms.chest_ct import Site

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe(steps=6, batch_size=2, patch_shape=(16, 32, 32), learning_rate=5e-3, warmup_steps=1, seed=3)
WITH_NODULES = 1


@pytest.fixture(scope="module")
def sample() -> Sample:
    return phantom_sample(WITH_NODULES, Preprocessing(1.5, (-1000.0, 400.0)), Site(shape=(32, 80, 88)))


def fresh_network() -> CentreHeatmapNet:
    torch.manual_seed(0)
    return CentreHeatmapNet(3, (8, 8, 8))


def trained(
    sample: Sample, recipe: Recipe = RECIPE, checkpoint: Path | None = None, cancel_after: int | None = None
) -> tuple[CentreHeatmapNet, list[Step]]:
    network, steps, cancel = fresh_network(), [], CancelToken()

    def report(step: Step) -> None:
        steps.append(step)
        if step.number == cancel_after:
            cancel.cancel("that is enough")

    try:
        train(network, [sample, replace(sample, weight=0.5)], recipe, cancel, report, checkpoint)
    except CancelledError:
        assert cancel_after is not None
    return network, steps


def test_the_loss_falls(sample: Sample) -> None:
    patch = cut_patch(np.random.default_rng(0), sample, RECIPE.patch_shape, 1.0)
    _, steps = trained(patch, replace(RECIPE, steps=8, learning_rate=2e-2))
    losses = [step.losses["total"] for step in steps]
    assert [step.number for step in steps] == list(range(1, 9))
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:2])


def test_a_training_that_was_stopped_goes_on_to_the_bit(sample: Sample, tmp_path: Path) -> None:
    straight, _ = trained(sample)
    checkpoint = tmp_path / "state.checkpoint"
    _, before = trained(sample, checkpoint=checkpoint, cancel_after=3)
    resumed, after = trained(sample, checkpoint=checkpoint)
    assert [step.number for step in (*before, *after)] == [1, 2, 3, 4, 5, 6]
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_same_seed_gives_the_same_weights_and_another_gives_others(sample: Sample) -> None:
    short = replace(RECIPE, steps=2)
    first, again, other = (trained(sample, r)[0].state_dict()["out.weight"] for r in (short, short, replace(short, seed=9)))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_frozen_norms_keep_their_statistics(sample: Sample) -> None:
    network, _ = trained(sample, replace(RECIPE, steps=1, freeze_norms=True))
    untouched = fresh_network().state_dict()
    for name, tensor in network.state_dict().items():
        if "running" in name:
            assert torch.equal(tensor, untouched[name])


def test_a_recipe_comes_back_from_json() -> None:
    import json

    assert Recipe.from_json(json.loads(json.dumps(RECIPE.as_json()))) == RECIPE


def test_a_patch_holds_what_the_volume_holds_there(sample: Sample) -> None:
    # each voxel is a name of its place, so that it can be found again
    named = replace(sample, volume=np.arange(sample.volume.size, dtype=np.float64).reshape(sample.volume.shape))  # type: ignore[arg-type]
    for seed in range(20):
        patch = cut_patch(np.random.default_rng(seed), named, (16, 32, 32), 0.7)
        first = np.unravel_index(int(patch.volume[0, 0, 0]), sample.volume.shape)
        kept = [row for row in sample.centres if any(np.allclose(row - first, own, atol=1e-3) for own in patch.centres)]
        assert len(kept) == len(patch.centres) == len(patch.diameters) == len(patch.is_ignored)
        # what is cut by the border is ignored
        outside = ((patch.centres < 0) | (patch.centres > np.subtract((16, 32, 32), 1))).any(axis=1)
        assert patch.is_ignored[outside].all()


def test_patches_hold_lesions_as_often_as_asked_for(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    patches = [cut_patch(rng, sample, (16, 32, 32), 1.0) for _ in range(20)]
    assert all((~patch.is_ignored).any() for patch in patches)


def test_a_volume_smaller_than_the_patch_is_filled_up() -> None:
    volume = np.full((4, 6, 6), 0.5, np.float16)
    small = Sample(volume, np.array([[2, 3, 3]], np.float32), np.array([3], np.float32), np.array([False]))
    patch = cut_patch(np.random.default_rng(0), small, (8, 8, 8), 0.5)
    assert patch.volume.shape == (8, 8, 8)
    assert len(patch.centres) == 1
    assert not patch.is_ignored.any()


def test_lesions_go_along_when_a_patch_is_turned() -> None:
    volume = np.zeros((8, 16, 16), np.float16)
    volume[2, 5, 11] = 1
    sample = Sample(volume, np.array([[2, 5, 11]], np.float32), np.array([3], np.float32), np.array([False]))
    for seed in range(30):
        turned = augment(np.random.default_rng(seed), sample)
        brightest = np.unravel_index(int(turned.volume.argmax()), turned.volume.shape)
        np.testing.assert_allclose(turned.centres[0], brightest)
    np.testing.assert_array_equal(sample.centres, [[2, 5, 11]])


def test_a_sample_comes_back_from_its_file(sample: Sample, tmp_path: Path) -> None:
    write_sample(tmp_path / "one.npz", sample)
    again = read_sample(tmp_path / "one.npz")
    np.testing.assert_array_equal(again.volume, sample.volume)
    np.testing.assert_array_equal(again.centres, sample.centres)
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]
