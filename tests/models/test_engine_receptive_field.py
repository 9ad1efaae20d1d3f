from __future__ import annotations

import pytest
import torch
from torch import nn

from napari_medlab.models.inference.receptive_field import receptive_radius


class Several(nn.Module):
    """Gives a fine and a coarse map, as detectors do."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(2, 3, 3, padding=1)
        self.coarse = nn.Conv2d(2, 3, 8, stride=4, padding=2)

    def forward(self, image: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        return {"maps": [self.fine(image), self.coarse(image)]}


class Gated(nn.Module):
    """Weighs its input by its own mean, as squeeze-and-excitation does."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * image.mean(dim=(2, 3), keepdim=True)


def test_kernels_add_up() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 5, padding=2))
    assert receptive_radius(network, 2, 1) == (3, 3)


def test_axes_have_their_own() -> None:
    network = nn.Conv3d(1, 1, (1, 3, 7), padding=(0, 1, 3))
    assert receptive_radius(network, 3, 1) == (0, 1, 3)


def test_strides_widen_what_follows_and_cells_of_the_lattice_count_as_one() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 2, stride=2), nn.Conv2d(2, 2, 3, padding=1))
    assert receptive_radius(network, 2, 2) == (2, 2)


def test_of_several_maps_the_widest_counts() -> None:
    assert receptive_radius(Several(), 2, 4, channels=2) == (2, 2)


def test_weights_that_cancel_or_silence_make_no_difference() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3), nn.BatchNorm2d(1), nn.ReLU())
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(-1.0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert receptive_radius(network, 2, 1) == (3, 3)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("whole", [nn.InstanceNorm2d(2), Gated()])
def test_what_looks_at_all_of_the_image_has_none(whole: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), whole)
    assert receptive_radius(network, 2, 1) is None
