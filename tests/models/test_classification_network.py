from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.classification.objective import ClassificationObjective
from napari_medlab.models.networks import build_network
from napari_medlab.models.networks.cube_bodies import (
    BODIES,
    ConvolutionLayers,
    InceptionResidual,
    SqueezeResidual,
)
from napari_medlab.models.networks.cubes import POOLINGS, CubeClassifier, middle
from napari_medlab.models.training.samples import Sample

TINY: dict[str, Any] = {"sides": [8], "channels": [4, 8]}


def made(**design: Any) -> CubeClassifier:  # noqa: ANN401 - the design's fields
    torch.manual_seed(0)
    network = build_network("cube-classifier", {**TINY, **design})
    assert isinstance(network, CubeClassifier)
    return network


def unreached(network: nn.Module) -> list[str]:
    return [
        name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()
    ]


def check_it_learns(network: CubeClassifier, objective: ClassificationObjective) -> None:
    rng = np.random.default_rng(0)
    labels = [0, 1, 1, 0]
    # a lesion is bright in the middle
    side = network.side
    shape = np.zeros((1, side, side, side), np.float32)
    shape[:, 2:-2, 2:-2, 2:-2] = 1
    images = [(label * shape + rng.normal(0, 0.2, shape.shape)).astype(np.float32) for label in labels]
    samples = [Sample.without_boxes(image, label=label) for image, label in zip(images, labels, strict=True)]
    batch = torch.from_numpy(np.stack(images))
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    losses = []
    for _ in range(5):
        optimiser.zero_grad()
        total = objective.losses(network, batch, samples)["total"]
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < losses[0]
    assert unreached(network) == []


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("pooling", [*POOLINGS, ["global", "centre crop"]])
def test_every_body_with_every_pooling_learns_and_reaches_all_weights(
    body: str, pooling: str | list[str]
) -> None:
    check_it_learns(made(body=body, pooling=pooling, activation="prelu"), ClassificationObjective())


@pytest.mark.parametrize(
    "design",
    [
        {"sides": [4, 8, 12]}, {"sides": [8, 12], "body": "vgg", "pooling": "centre crop"}, {"stem": "space-to-depth"},
        {"body": "se-residual", "se_place": "after"}, {"classes": 2}, {"dropout": 0.1},
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "objective", [ClassificationObjective(label_smoothing=0.1), ClassificationObjective("focal")]
)
def test_every_other_choice_learns_and_reaches_all_weights(
    design: dict[str, Any], objective: ClassificationObjective
) -> None:
    check_it_learns(made(**design), objective)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("stem", ["convolution", "space-to-depth"])
def test_the_practitioners_cubes_fit(body: str, stem: str) -> None:
    with torch.device("meta"):
        network = CubeClassifier(sides=[24, 32, 40], body=body, stem=stem, pooling=POOLINGS)
        assert network(torch.empty(2, 1, 40, 40, 40)).shape == (2,)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("stem", ["convolution", "space-to-depth"])
@pytest.mark.parametrize("body", BODIES)
def test_planes_and_volumes_and_both_stems(dims: int, stem: str, body: str) -> None:
    network = made(
        spatial_dims=dims, in_channels=2, stem=stem, body=body, classes=3, pooling="centre pooling"
    ).eval()
    assert network(torch.rand(2, 2, *[8] * dims)).shape == (2, 3)
    assert made(spatial_dims=dims, stem=stem, body=body).eval()(torch.rand(2, 1, *[8] * dims)).shape == (2,)


def test_each_branch_has_its_own_cube_and_gradients() -> None:
    network = made(sides=[4, 8, 12], channels=[4, 4], pooling="fully connected", hidden=4).eval()
    cubes = torch.rand(2, 1, 12, 12, 12, requires_grad=True)
    network(cubes).sum().backward()
    assert len(network.branches) == 3
    assert network.side == 12
    for branch in network.branches:
        assert all(
            weight.grad is not None and bool(weight.grad.isfinite().all()) for weight in branch.parameters()
        )
        assert any(bool(weight.grad.any()) for weight in branch.parameters() if weight.grad is not None)
    # the smallest branch sees the middle alone
    cubes.grad = None
    network.branches[0](middle(cubes, 4)).sum().backward()
    assert cubes.grad is not None
    seen = cubes.grad.abs().amax(dim=(0, 1)).nonzero()
    assert seen.min() >= 4
    assert seen.max() <= 7


def test_one_branch_is_not_several() -> None:
    assert len(made().branches) == 1
    alone, three = made(), made(sides=[4, 8, 12])
    inputs = [network.get_parameter("out.1.weight").shape[1] for network in (alone, three)]
    assert inputs[1] == 3 * inputs[0]


def test_the_middle_of_a_larger_cube_is_judged() -> None:
    network = made().eval()
    cubes = torch.rand(1, 1, 12, 12, 12)
    torch.testing.assert_close(network(cubes), network(cubes[..., 2:10, 2:10, 2:10]))


def pool_of(network: CubeClassifier) -> nn.Module:
    return network.get_submodule("branches.0.pools.0")


def seen_by_pooling(pooling: str) -> torch.Tensor:
    """Return which cells of the last maps matter, (8, 8)."""
    network = made(spatial_dims=2, sides=[16], pooling=pooling, body="vgg").eval()
    maps = torch.rand(1, 8, 8, 8, requires_grad=True)
    pool_of(network)(maps).sum().backward()
    assert maps.grad is not None
    return maps.grad.abs().sum(dim=(0, 1)) > 0


def test_centre_crop_sees_only_the_centre() -> None:
    seen = seen_by_pooling("centre crop")
    assert seen[2:6, 2:6].all()
    assert int(seen.sum()) == 16


def test_global_pooling_sees_everything_and_forgets_where() -> None:
    assert seen_by_pooling("global").all()
    network = made(spatial_dims=2, pooling="global")
    maps = torch.rand(1, 8, 4, 4)
    pool = pool_of(network)
    torch.testing.assert_close(pool(maps), pool(maps.flip(2, 3)))


def test_the_input_outside_of_a_centre_crop_does_not_matter_beyond_what_the_body_sees() -> None:
    network = made(spatial_dims=2, sides=[32], body="vgg", pooling="centre crop").eval()
    cubes = torch.rand(1, 1, 32, 32, requires_grad=True)
    network(cubes).sum().backward()
    assert cubes.grad is not None
    seen = cubes.grad[0, 0].abs() > 0
    # 8 of 16 cells are 16 voxels; five convolutions, of which two after halving, add 3 + 4 to each side
    assert seen[8:24, 8:24].any()
    assert not seen[:1].any()
    assert not seen[:, -1:].any()


def test_centre_pooling_takes_the_largest_of_three_crops() -> None:
    network = made(spatial_dims=2, sides=[16], pooling="centre pooling")
    pool = pool_of(network)
    maps = torch.zeros(1, 1, 8, 8)
    maps[0, 0, 0, 0], maps[0, 0, 2, 2], maps[0, 0, 3, 3] = 5, 3, 1
    # cells (2, 2) of the whole, of the middle half (4, 4), and of the middle quarter (2, 2)
    assert pool(maps).reshape(3, 2, 2)[:, 0, 0].tolist() == [5, 3, 1]


def squeeze_block(place: str) -> SqueezeResidual:
    block = SqueezeResidual(ConvolutionLayers(2, "relu"), 2, place).eval()
    with torch.no_grad():
        for weight in block.parameters():
            weight.zero_()
        # the squeeze gives 0.25 for every channel, whatever it sees: the sigmoid of -log 3
        block.squeeze.get_parameter("fc.2.bias").fill_(-float(np.log(3)))
        # the change is 4 everywhere: the last norm's shift
        (shift,) = [module.bias for module in block.second.modules() if isinstance(module, nn.BatchNorm2d)]
        shift.fill_(4.0)
    return block


def test_the_squeeze_weighs_the_change_before_the_addition_and_the_sum_after_it() -> None:
    features = torch.full((1, 2, 3, 3), 8.0)
    assert squeeze_block("before")(features).unique().tolist() == [8 + 0.25 * 4]
    assert squeeze_block("after")(features).unique().tolist() == [0.25 * (8 + 4)]


@pytest.mark.parametrize("place", ["before", "after"])
def test_both_places_have_the_same_weights_and_differ_in_what_they_give(place: str) -> None:
    network, other = (
        made(body="se-residual", se_place=place).eval(),
        made(body="se-residual", se_place="before").eval(),
    )
    assert network.state_dict().keys() == other.state_dict().keys()
    cubes = torch.rand(1, 1, 8, 8, 8)
    assert torch.allclose(network(cubes), other(cubes)) == (place == "before")


def test_inception_has_branches_of_three_reaches() -> None:
    block = InceptionResidual(ConvolutionLayers(2, "relu"), 4).eval()
    for weight in block.parameters():
        nn.init.ones_(weight)  # so that no neuron is shut
    reaches = []
    for branch in block.branches:
        image = torch.zeros(1, 4, 9, 9, requires_grad=True)
        branch(image + 1)[0, :, 4, 4].sum().backward()
        assert image.grad is not None
        rows = (image.grad.abs().sum(dim=(0, 1, 3)) > 0).nonzero()
        reaches.append(int(rows.max() - rows.min()) + 1)
    assert reaches == [1, 3, 5]


def test_prelu_has_slopes_to_learn_and_relu_none() -> None:
    slopes = [module for module in made(activation="prelu").modules() if isinstance(module, nn.PReLU)]
    assert len(slopes) >= 4
    assert all(slope.weight.requires_grad for slope in slopes)
    assert not any(isinstance(module, nn.PReLU) for module in made(activation="relu").modules())


def test_dense_layers_see_all_that_came_before() -> None:
    widths = [
        m.weight.shape[1]
        for m in made(body="dense").modules()
        if isinstance(m, nn.Conv3d) and m.kernel_size == (1, 1, 1)
    ]
    # of the first block: 4 features, and 3 more for each layer
    assert widths[:4] == [4, 7, 10, 13]


def test_the_default_is_small() -> None:
    torch.manual_seed(0)
    network = CubeClassifier(stem="space-to-depth", pooling=("global", "centre crop"))
    assert sum(weight.numel() for weight in network.parameters()) < 500_000


@pytest.mark.parametrize(
    "design",
    [
        {"sides": [7]}, {"sides": []}, {"sides": [0]}, {"sides": [8, 5], "channels": [4]}, {"body": "resnet"},
        {"pooling": "max"}, {"pooling": []}, {"stem": "patch"}, {"activation": "gelu"},
        {"body": "se-residual", "se_place": "within"}, {"nonsense": 1}, {"channels": []},
    ],
)  # fmt: skip
def test_a_design_that_does_not_fit_is_refused(design: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="do not fit"):
        build_network("cube-classifier", {**TINY, **design})
