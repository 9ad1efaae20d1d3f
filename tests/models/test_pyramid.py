from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from napari_medlab.models.networks.pyramid import BACKBONES, Backbone, FeaturePyramid

TINY = {"name": "resnet10", "planes": [4, 6, 8, 10], "stem_kernel": 3}


def pyramid(**settings: Any) -> FeaturePyramid:  # noqa: ANN401 - plain settings
    torch.manual_seed(0)
    return FeaturePyramid(**{"backbone": TINY, "channels": 5, **settings}).eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_levels_have_the_strides_that_they_say(dims: int) -> None:
    network = pyramid(spatial_dims=dims, levels=(2, 3, 4, 5, 6))
    image = torch.zeros(1, 1, *(64,) * dims)
    strides = [64 // features.shape[-1] for features in network(image)]
    assert strides == [4, 8, 16, 32, 64]
    assert network.strides == [(stride,) * dims for stride in strides]
    assert network.multiple == 64


def test_only_the_wanted_levels_are_returned() -> None:
    network = pyramid(levels=(3, 5))
    assert [features.shape[1:] for features in network(torch.zeros(1, 1, 64, 64))] == [(5, 8, 8), (5, 2, 2)]
    assert network.multiple == 32


def test_thick_slices_may_keep_their_stride() -> None:
    backbone = {**TINY, "stem_stride": [1, 2, 2], "pool": False, "stages": 2}
    network = pyramid(spatial_dims=3, backbone=backbone, levels=(2, 3))
    assert network.strides == [(1, 2, 2), (2, 4, 4)]
    assert [f.shape[2:] for f in network(torch.zeros(1, 1, 4, 8, 8))] == [(4, 4, 4), (2, 2, 2)]
    assert network.multiple == 4


def test_p6_is_made_from_the_backbone_or_from_the_pyramid() -> None:
    """From C5 it has the backbone's 10 features to start from, from P5 the pyramid's 5; P7 starts from P6 in both."""
    shapes = {}
    for source in ("c5", "p5"):
        network = pyramid(p6_from=source)
        shapes[source] = [convolution.get_parameter("weight").shape[1] for convolution in network.beyond]
    assert shapes == {"c5": [10, 5], "p5": [5, 5]}


@pytest.mark.parametrize(("source", "reaches"), [("c5", False), ("p5", True)])
def test_p6_learns_through_the_pyramid_only_where_it_comes_from_p5(source: str, reaches: bool) -> None:
    network = pyramid(p6_from=source, levels=(5, 6))
    network(torch.rand(1, 1, 64, 64))[1].sum().backward()
    lateral = network.top_down.inner_blocks[0]
    assert (lateral.weight.grad is not None) == reaches
    assert network.backbone.stages[-1][0].conv1.weight.grad is not None  # type: ignore[index]


def test_fine_levels_know_what_coarse_ones_see() -> None:
    """A change of the coarsest stage alone shows at every level."""
    network = pyramid(levels=(2, 3, 4, 5))
    image = torch.rand(1, 1, 64, 64)
    before = network(image)
    nn.init.constant_(network.top_down.inner_blocks[-1].get_parameter("bias"), 3.0)
    assert all((now - then).abs().max() > 0.01 for now, then in zip(network(image), before, strict=True))


@pytest.mark.parametrize("name", [name for name in BACKBONES if name in ("resnet18", "resnet34", "resnet50")])
def test_backbones_have_their_widths(name: str) -> None:
    backbone = Backbone(name=name, planes=(2, 3, 4, 5), stages=3, in_channels=3).eval()
    found = backbone(torch.zeros(1, 3, 32, 32))
    wide = 4 if name == "resnet50" else 1
    assert [features.shape[1] for features in found] == [2 * wide, 3 * wide, 4 * wide] == backbone.channels


def test_a_tile_shows_what_the_whole_image_does() -> None:
    """Away from the border of the tile, and where it begins at a multiple of the strides."""
    network = pyramid(backbone={**TINY, "stages": 1}, levels=(2,))
    image = torch.rand(1, 1, 128, 32)
    (whole,), (tile,) = network(image), network(image[:, :, 32:96])
    torch.testing.assert_close(tile[:, :, 6:-6], whole[:, :, 14:18], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": (4, 3)}, "ascend"),
        ({"levels": (1, 2)}, "at least 2"),
        ({"levels": ()}, "ascend"),
        ({"p6_from": "p4"}, "c5 or p5"),
        ({"backbone": {"name": "vgg"}}, "no backbone called 'vgg'"),
        ({"backbone": {"stages": 5}}, "1 to 4 stages"),
    ],
)
def test_pyramids_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pyramid(**settings)
