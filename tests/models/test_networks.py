from __future__ import annotations

import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.networks import build_network
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet


@pytest.mark.parametrize(("dims", "shape"), [(2, (32, 24)), (3, (16, 24, 8))])
@pytest.mark.parametrize("classes", [1, 3])
def test_maps_have_half_the_size_and_a_channel_for_each_thing(
    dims: int, shape: tuple[int, ...], classes: int
) -> None:
    network = CentreHeatmapNet(dims, (4, 8, 8), classes).eval()
    with torch.inference_mode():
        maps = network(torch.zeros(2, 1, *shape))
    assert maps.shape == (2, classes + 1 + dims, *(size // 2 for size in shape))


def test_an_untrained_network_expects_few_lesions() -> None:
    torch.manual_seed(0)
    network = CentreHeatmapNet(2, (4, 8, 8)).eval()
    with torch.inference_mode():
        scores = network(torch.zeros(1, 1, 16, 16))[:, 0].sigmoid()
    assert 0.001 < float(scores.mean()) < 0.1


@pytest.mark.parametrize("dims", [2, 3])
def test_moving_the_image_by_the_coarsest_stride_moves_the_maps(dims: int) -> None:
    torch.manual_seed(0)
    network = CentreHeatmapNet(dims, (4, 8, 8)).eval()
    # long enough that the middle does not see the ends
    image = torch.rand(1, 1, 192, *[16] * (dims - 1))
    with torch.inference_mode():
        maps = network(image)
        moved = network(torch.roll(image, 8, dims=2))
    inner = slice(44, 52)
    torch.testing.assert_close(
        torch.roll(maps, 4, dims=2)[:, :, inner], moved[:, :, inner], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["os.system", "CentreHeatmapNet", "", None, ["centre-heatmap"]])
def test_a_network_that_is_not_in_the_table_is_refused(name: object) -> None:
    with pytest.raises(InputRefusedError) as caught:
        build_network(name, {})
    assert caught.value.code == "unknown-network"


@pytest.mark.parametrize(
    "arguments",
    [
        {"spatial_dims": 4},
        {"channels": [16]},
        {"channels": ["a", 2, 3]},
        {"channels": [-1, 2, 3]},
        {"nonsense": 1},
        {"spatial_dims": "3"},
        [1, 2],
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments: object) -> None:
    with pytest.raises(InputRefusedError) as caught:
        build_network("centre-heatmap", arguments)  # type: ignore[arg-type]
    assert caught.value.code == "network-arguments"
