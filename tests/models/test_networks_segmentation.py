from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from monai.networks.nets.flexible_unet import FlexibleUNet

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.networks import build_network
from napari_medlab.models.networks.efficient import ENCODERS
from napari_medlab.models.segmentation.objective import SegmentationObjective
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from torch import nn

SMALL: list[tuple[str, dict[str, Any], tuple[int, ...]]] = [
    ("unet", {"channels": [4, 8, 8]}, (16, 24)),
    ("unet", {"channels": [4, 8], "spatial_dims": 3, "residual_units": 0, "dropout": 0.1}, (8, 12, 8)),
    ("linknet", {"channels": [4, 8, 8]}, (16, 24)),
    ("linknet", {"channels": [4, 8], "spatial_dims": 3}, (8, 12, 8)),
    ("linknet", {"encoder": "b0"}, (32, 64)),
    ("linknet", {"encoder": "b0", "spatial_dims": 3}, (32, 32, 32)),
    ("efficient-unet", {"encoder": "b0", "decoder_channels": [16, 8, 8, 4, 4]}, (64, 32)),
    (
        "efficient-unet",
        {"encoder": "b0", "decoder_channels": [16, 8, 8, 4, 4], "spatial_dims": 3},
        (32, 32, 32),
    ),
]


def made(name: str, arguments: dict[str, Any], **more: int) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, {**arguments, **more})


@pytest.mark.parametrize(("name", "arguments", "shape"), SMALL)
def test_segmenters_give_logits_of_each_class_at_the_input_size(
    name: str, arguments: dict[str, Any], shape: tuple[int, ...]
) -> None:
    network = made(name, arguments, classes=2, in_channels=3).eval()
    assert all(size % int(network.multiple) == 0 for size in shape)  # type: ignore[arg-type]
    with torch.inference_mode():
        assert network(torch.rand(2, 3, *shape)).shape == (2, 2, *shape)


def check_it_learns(network: nn.Module, shape: tuple[int, ...], objective: SegmentationObjective) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((1, *shape), np.uint8)
    inner: tuple[int | slice, ...] = (0, *[slice(4, 12 if size > 8 else 8) for size in shape])
    mask[inner] = 1
    images = [(mask + rng.normal(0, 0.2, mask.shape)).astype(np.float32) for _ in range(2)]
    samples = [Sample.without_boxes(image, mask=mask) for image in images]
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    batch = torch.from_numpy(np.stack(images))
    losses = []
    for _ in range(4):
        optimiser.zero_grad()
        total = objective.losses(network, batch, samples)["total"]
        total.backward()
        optimiser.step()
        losses.append(float(total.detach()))
    assert losses[-1] < losses[0]
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


@pytest.mark.parametrize(("name", "arguments", "shape"), SMALL)
def test_a_few_steps_reach_every_weight_and_lower_the_loss(
    name: str, arguments: dict[str, Any], shape: tuple[int, ...]
) -> None:
    check_it_learns(made(name, arguments), shape, SegmentationObjective("bce+dice"))


@pytest.mark.parametrize("loss", ["bce", "dice", "jaccard", "focal", "bce+jaccard", "bce+dice+jaccard"])
def test_every_loss_trains(loss: str) -> None:
    check_it_learns(made("unet", {"channels": [4, 8]}), (16, 16), SegmentationObjective(loss))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_fits_the_decoder(encoder: str) -> None:
    with torch.device("meta"):
        network = made("linknet", {"encoder": encoder})
        assert network(torch.empty(1, 1, 64, 32)).shape == (1, 1, 64, 32)


@pytest.mark.parametrize(("times", "encoder"), [(2.5, "b4"), (8, "b7")])
def test_larger_encoders_are_larger(times: float, encoder: str) -> None:
    with torch.device("meta"):
        small, large = made("efficient-unet", {}), made("efficient-unet", {"encoder": encoder})
    weights = [sum(weight.numel() for weight in network.parameters()) for network in (small, large)]
    assert weights[1] > times * weights[0]


def test_the_head_of_a_classifier_of_photographs_is_left_out() -> None:
    whole = FlexibleUNet(1, 1, "efficientnet-b0")
    ours = made("efficient-unet", {})
    assert {name for name in whole.state_dict() if name not in ours.state_dict()} == {
        name
        for name in whole.state_dict()
        if name.startswith(("encoder._conv_head", "encoder._bn1", "encoder._fc"))
    }
    # what is left is MONAI's network to the last bit, but for rounding in the activation
    ours.load_state_dict(
        {name: value for name, value in whole.state_dict().items() if name in ours.state_dict()}
    )
    image = torch.rand(1, 1, 32, 64)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(image), whole.eval()(image), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "reach"),
    [("unet", {"channels": [4, 8]}, 24), ("linknet", {"channels": [4, 8]}, 24)],
)
def test_cutting_into_tiles_does_not_change_the_middle(
    name: str, arguments: dict[str, Any], reach: int
) -> None:
    network = made(name, arguments).eval()
    image = torch.rand(1, 1, 16, 96)
    with torch.inference_mode():
        whole, tile = network(image), network(image[..., 24:88])
    torch.testing.assert_close(tile[..., reach:-reach], whole[..., 24 + reach : 88 - reach])


@pytest.mark.parametrize("name", ["efficient-unet", "linknet"])
@pytest.mark.parametrize("encoder", ["b9", "resnet10", "efficientnet-b0", "../b0"])
def test_an_encoder_that_is_not_known_is_refused(name: str, encoder: str) -> None:
    with pytest.raises(InputRefusedError, match="known are b0"):
        build_network(name, {"encoder": encoder})


@pytest.mark.parametrize("name", ["unet", "efficient-unet", "linknet", "cube-classifier"])
def test_pretrained_weights_are_not_offered(name: str) -> None:
    with pytest.raises(InputRefusedError, match="pretrained"):
        build_network(name, {"pretrained": True})
