from __future__ import annotations

import pytest
import torch

from napari_medlab.models.networks.linknet import LinkNet


def decoder_inputs(network: LinkNet, image: torch.Tensor) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    hooks = [
        part.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
        for part in network.decoder
    ]
    network(image)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("dims", [2, 3])
def test_the_decoder_adds_what_the_encoder_saw(dims: int) -> None:
    torch.manual_seed(0)
    network = LinkNet(dims, channels=(4, 8, 12)).eval()
    image = torch.rand(1, 1, *[16] * dims)
    with torch.inference_mode():
        levels = network.encoder(image)
        inputs = decoder_inputs(network, image)
        # as many channels as the encoder has there: nothing is joined
        assert [part.shape[1] for part in inputs] == [12, 8, 4]
        torch.testing.assert_close(inputs[0], levels[2])
        torch.testing.assert_close(inputs[1], network.decoder[0](levels[2]) + levels[1])
        torch.testing.assert_close(inputs[2], network.decoder[1](inputs[1]) + levels[0])


def test_without_the_decoder_the_links_alone_pass() -> None:
    torch.manual_seed(0)
    network = LinkNet(2, channels=(4, 8)).eval()
    image = torch.rand(1, 1, 8, 8)
    for weight in network.decoder[0].parameters():
        torch.nn.init.zeros_(weight)
    with torch.inference_mode():
        levels = network.encoder(image)
        torch.testing.assert_close(decoder_inputs(network, image)[1], levels[0])


def test_the_decoder_is_narrower_than_one_that_joins() -> None:
    network = LinkNet(2, encoder="b0")
    widths = [
        convolution.weight.shape[:2]
        for convolution in network.decoder.modules()
        if isinstance(convolution, torch.nn.Conv2d)
    ]
    assert max(inputs for _, inputs in widths) == 320
    assert [inputs for _, inputs in widths][::2] == [320, 112, 40, 24, 16]
