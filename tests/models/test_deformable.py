from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from napari_medlab.models.networks.deformable import DeformableConvolution, replace_convolutions

SEED = 3


def plain(dims: int, **rest: Any) -> nn.Conv2d | nn.Conv3d:  # noqa: ANN401 - what a convolution takes
    torch.manual_seed(SEED)
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(4, 6, 3, **rest).double()


def picture(dims: int) -> torch.Tensor:
    return torch.randn(
        2, 4, *(9, 8, 6)[:dims], generator=torch.Generator().manual_seed(SEED), dtype=torch.float64
    )


def offset_by(layer: DeformableConvolution, offset: list[float]) -> None:
    """Let every point of the kernel look the same way off."""
    bias = layer.offsets.bias
    assert bias is not None
    with torch.no_grad():
        points = bias[: len(bias) * layer.dims // (layer.dims + layer.modulated)]
        points.copy_(torch.tensor(offset, dtype=points.dtype).repeat(len(points) // layer.dims))


@pytest.mark.parametrize("modulated", [False, True])
@pytest.mark.parametrize(
    "rest", [{"padding": 1}, {"stride": 2, "padding": 1, "groups": 2}, {"dilation": 2, "padding": 2}]
)
@pytest.mark.parametrize("dims", [2, 3])
def test_begins_as_the_plain_convolution(dims: int, rest: dict[str, Any], modulated: bool) -> None:
    convolution = plain(dims, **rest)
    layer = DeformableConvolution(convolution, modulated, offset_groups=2)
    torch.testing.assert_close(layer(picture(dims)), convolution(picture(dims)), atol=1e-12, rtol=0)


def test_begins_as_the_plain_convolution_in_single_precision_too() -> None:
    convolution = plain(2, padding=1).float()
    image = picture(2).float()
    torch.testing.assert_close(
        DeformableConvolution(convolution)(image), convolution(image), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_whole_offsets_look_at_the_image_shifted_by_them(dims: int) -> None:
    convolution = plain(dims, padding=1)
    layer = DeformableConvolution(convolution, modulated=False)
    offset_by(layer, [1.0, -2.0, 1.0][:dims])
    image = picture(dims)
    shifted = torch.roll(image, shifts=[-1, 2, -1][:dims], dims=list(range(2, 2 + dims)))
    inner = (..., *[slice(3, -3), slice(3, -3), slice(2, -2)][:dims])  # where nothing came in over the border
    torch.testing.assert_close(layer(image)[inner], convolution(shifted)[inner], atol=1e-12, rtol=0)


def test_half_offsets_look_between_pixels() -> None:
    convolution = plain(2, padding=1)
    layer = DeformableConvolution(convolution, modulated=False)
    offset_by(layer, [0.0, 0.5])
    image = picture(2)
    between = (image + torch.roll(image, shifts=-1, dims=3)) / 2
    torch.testing.assert_close(layer(image)[..., 1:-2], convolution(between)[..., 1:-2], atol=1e-12, rtol=0)


def test_points_moved_off_the_image_see_nothing() -> None:
    layer = DeformableConvolution(plain(2, padding=1, bias=False), modulated=False)
    offset_by(layer, [100.0, 0.0])
    assert layer(picture(2)).abs().max() == 0


def test_weights_scale_what_the_points_see_from_0_to_2() -> None:
    convolution = plain(2, padding=1, bias=False)
    layer = DeformableConvolution(convolution)
    bias = layer.offsets.bias
    assert bias is not None
    for logit, factor in [(-50.0, 0.0), (50.0, 2.0)]:
        with torch.no_grad():
            bias[18:] = logit
        torch.testing.assert_close(layer(picture(2)), factor * convolution(picture(2)), atol=1e-12, rtol=0)


def test_each_group_of_channels_has_offsets_of_its_own() -> None:
    convolution = plain(2, padding=1)
    layer = DeformableConvolution(convolution, modulated=False, offset_groups=2)
    bias = layer.offsets.bias
    assert bias is not None
    with torch.no_grad():
        bias[:18] = torch.tensor([100.0, 0.0]).repeat(9)  # the first two channels look away
    image = picture(2)
    torch.testing.assert_close(
        layer(image), convolution(image * torch.tensor([0, 0, 1, 1])[:, None, None]), atol=1e-12, rtol=0
    )


def test_gradients_reach_offsets_weights_kernel_and_image_and_are_right() -> None:
    layer = DeformableConvolution(nn.Conv2d(2, 2, 3, padding=1).double())
    torch.manual_seed(SEED)
    for parameter in layer.offsets.parameters():
        nn.init.uniform_(parameter, -0.2, 0.2)
    image = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    inputs = (image, *layer.parameters())
    assert torch.autograd.gradcheck(lambda *_: layer(image), inputs)


class Stages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(
            nn.Conv2d(4, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU())
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.last(self.first(image))
        return maps


def test_only_the_convolutions_of_size_3_in_the_chosen_stages_are_replaced() -> None:
    network = Stages()
    assert replace_convolutions(network, ["last"]) == ["last.1.0"]
    assert [name for name, part in network.named_modules() if isinstance(part, DeformableConvolution)] == [
        "last.1.0"
    ]


def test_a_replaced_network_says_the_same_and_takes_the_state_of_before() -> None:
    torch.manual_seed(SEED)
    network, other = Stages(), Stages()
    image = picture(2).float()
    before, state = network(image), network.state_dict()
    replace_convolutions(other, ["first", "last"])
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert all(".offsets." in key for key in missing)
    assert not unexpected
    torch.testing.assert_close(other(image), before, atol=1e-5, rtol=0)


def test_stages_that_are_not_there_or_hold_nothing_to_replace_are_refused() -> None:
    with pytest.raises(ValueError, match="no part called 'layer9'"):
        replace_convolutions(Stages(), ["layer9"])
    network = Stages()
    replace_convolutions(network, ["last"])
    with pytest.raises(ValueError, match="no convolution of size 3"):
        replace_convolutions(network, ["last"])


def test_convolutions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="3 groups"):
        DeformableConvolution(plain(2), offset_groups=3)
    with pytest.raises(ValueError, match="padded with zeros"):
        DeformableConvolution(nn.Conv2d(1, 1, 3, padding="same"))
