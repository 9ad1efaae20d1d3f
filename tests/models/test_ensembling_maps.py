from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.augmentation.symmetries import group
from napari_medlab.models.detection.detections import DecodeSettings, Detections
from napari_medlab.models.ensembling.averaging import MapChannels, average_logits, average_maps, channels_of
from napari_medlab.models.ensembling.members import Ensemble, joined_weights
from napari_medlab.models.ensembling.test_time import TestTime, symmetries, turn_back
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Sequence

HEATMAP = {"name": "centre-heatmap", "arguments": {"spatial_dims": 2, "channels": [4, 8], "classes": 2}}
UNET = {"name": "unet", "arguments": {"channels": [4, 8]}}
LINKNET = {"name": "linknet", "arguments": {"channels": [4, 8]}}
CUBES = {"name": "cube-classifier", "arguments": {"spatial_dims": 2, "sides": [8], "channels": [4]}}


def built(description: dict[str, Any], seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(description["name"], description["arguments"]).eval()


def ensemble(members: list[dict[str, Any]], **more: Any) -> Ensemble:  # noqa: ANN401 - the ensemble's arguments
    network = built({"name": "ensemble", "arguments": {"members": members, **more}})
    assert isinstance(network, Ensemble)
    return network


class Boxes(nn.Module):
    """A detector whose outputs are no maps: it finds bright pixels, as boxes, scored by their brightness."""

    multiple = 4

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"images": images}

    def decode(
        self, outputs: dict[str, torch.Tensor], image_shape: Sequence[int], settings: DecodeSettings
    ) -> list[Detections]:
        assert tuple(outputs["images"].shape[2:]) == tuple(image_shape)
        return [self._of(image[0].numpy(), settings) for image in outputs["images"]]

    def _of(self, image: np.ndarray[Any, np.dtype[np.float32]], settings: DecodeSettings) -> Detections:
        found = np.argwhere(image > settings.threshold).astype(np.float64)
        scores = image[image > settings.threshold].astype(np.float64)
        reach = np.array([2, 1])  # longer along y than along x
        boxes = np.concatenate([found - reach, found + reach], axis=1)
        return Detections(boxes, scores, np.zeros(len(found), np.int64))


# ---- averages


def test_logits_are_averaged_by_their_probabilities() -> None:
    members = [torch.tensor([[-2.0, 0.0, 3.0]]), torch.tensor([[1.0, 0.5, -4.0]])]
    expected = torch.logit(0.25 * members[0].sigmoid() + 0.75 * members[1].sigmoid())
    torch.testing.assert_close(average_logits(members, [0.25, 0.75]), expected)
    exclusive = average_logits(members, [0.25, 0.75], exclusive=True).softmax(dim=1)
    torch.testing.assert_close(exclusive, 0.25 * members[0].softmax(dim=1) + 0.75 * members[1].softmax(dim=1))


def test_certain_members_lose_no_digits() -> None:
    logits = torch.tensor([[-80.0, 40.0, 25.0]])
    torch.testing.assert_close(average_logits([logits], [1.0]), logits)
    torch.testing.assert_close(average_logits([logits, logits], [0.5, 0.5]), logits)
    assert average_logits([logits.half(), logits.half()], [0.5, 0.5]).isfinite().all()


def test_numbers_and_vectors_are_averaged_as_they_are() -> None:
    channels = MapChannels(logits=1, vectors=2)
    members = [torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)]
    found = average_maps(members, [0.3, 0.7], channels)
    torch.testing.assert_close(
        found[:, :1], average_logits([member[:, :1] for member in members], [0.3, 0.7])
    )
    torch.testing.assert_close(found[:, 1:], 0.3 * members[0][:, 1:] + 0.7 * members[1][:, 1:])


def test_a_network_says_what_its_channels_are() -> None:
    assert channels_of(built(HEATMAP)) == MapChannels(2, 2)
    assert channels_of(built(UNET)) == MapChannels()
    own = nn.Identity()
    own.map_channels = MapChannels(3, 2)  # type: ignore[assignment]
    assert channels_of(own) == MapChannels(3, 2)


# ---- ensembles


@pytest.mark.parametrize("member", [HEATMAP, UNET, LINKNET, CUBES])
def test_an_ensemble_of_one_equals_its_member(member: dict[str, Any]) -> None:
    network = ensemble([member])
    images = torch.rand(2, 1, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(images), network.members[0](images), atol=1e-5, rtol=1e-5)


def test_members_of_several_kinds_are_averaged_by_their_weights() -> None:
    network = ensemble([UNET, LINKNET], weights=[1, 3])
    images = torch.rand(1, 1, 8, 8)
    with torch.inference_mode():
        first, second = (member(images).sigmoid() for member in network.members)
        torch.testing.assert_close(network(images).sigmoid(), 0.25 * first + 0.75 * second)
    assert network.multiple == 4


def test_folds_are_joined_from_their_own_tensors() -> None:
    folds = [built(UNET, seed) for seed in range(3)]
    network = ensemble([UNET] * 3)
    network.load_state_dict(joined_weights([fold.state_dict() for fold in folds]))
    images = torch.rand(1, 1, 8, 8)
    with torch.inference_mode():
        expected = torch.stack([fold(images).sigmoid() for fold in folds]).mean(dim=0)
        torch.testing.assert_close(network(images).sigmoid(), expected)


def test_heatmaps_of_folds_are_decoded_as_one() -> None:
    network = ensemble([HEATMAP, HEATMAP])
    settings = DecodeSettings(threshold=0.0, most=5)
    with torch.inference_mode():
        maps = network(torch.rand(1, 1, 16, 16))
    (found,) = network.decode(maps, (16, 16), settings)
    (expected,) = network.members[0].decode(maps, (16, 16), settings)  # type: ignore[operator]
    np.testing.assert_array_equal(found.boxes, expected.boxes)


def test_members_without_weight_say_nothing() -> None:
    network = ensemble([UNET, UNET], weights=[0, 2])
    with torch.no_grad():
        next(network.members[0].parameters()).fill_(torch.nan)
        images = torch.rand(1, 1, 8, 8)
        torch.testing.assert_close(network(images), network.members[1](images), atol=1e-5, rtol=1e-5)


def test_boxes_of_detectors_are_fused() -> None:
    network = ensemble([UNET, UNET], weights=[1, 1], join="boxes")
    network.members = nn.ModuleList([Boxes(), Boxes()])
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 3, 4] = 0.8
    outputs = network(image)
    outputs[1] = {"images": outputs[1]["images"] / 2}
    (found,) = network.decode(outputs, (8, 8), DecodeSettings(threshold=0.1))
    assert len(found) == 1
    assert found.scores[0] == pytest.approx(0.6)
    np.testing.assert_allclose(found.boxes, [[1, 3, 5, 5]])


def test_outputs_of_several_shapes_are_not_averaged() -> None:
    scaled = {"factor": 1, "classes": [0], "channels": [4, 4]}
    wide = {"name": "centre-heatmap", "arguments": {"spatial_dims": 2, "channels": [4, 8], "classes": 1}}
    for members in ([HEATMAP, wide], [{"name": "scaled-heatmap", "arguments": {"scales": [scaled]}}]):
        with pytest.raises(InputRefusedError, match="Join their boxes"):
            ensemble(members)(torch.rand(1, 1, 8, 8))


@pytest.mark.parametrize(
    "arguments",
    [
        {"members": []}, {"members": [UNET], "weights": [1, 1]}, {"members": [UNET], "weights": [0]},
        {"members": [UNET, UNET], "weights": [-1, 2]}, {"members": [UNET], "join": "scores"},
        {"members": [UNET], "probabilities": "none"}, {"members": [UNET], "weights": [float("nan")]},
    ],
)  # fmt: skip
def test_an_ensemble_that_does_not_fit_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError, match="do not fit the network"):
        build_network("ensemble", arguments)


def test_a_member_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="known are"):
        build_network("ensemble", {"members": [{"name": "os.system", "arguments": {}}]})


# ---- symmetries at test time


def test_names_and_groups_of_symmetries() -> None:
    assert [one.name for one in symmetries(["flip y", "flip x", "rot180"], 2)] == [
        "identity",
        "flip y",
        "flip x",
        "rot180",
    ]
    assert len(symmetries(["square", "flip y"], 2)) == 8
    assert len(symmetries(["cube rotations"], 3)) == 24
    assert symmetries([], 3)[0].name == "identity"
    with pytest.raises(InputRefusedError, match="rot45"):
        symmetries(["rot45"], 2)


@pytest.mark.parametrize("description", [UNET, HEATMAP])
def test_averaged_over_a_group_maps_turn_with_the_image(description: dict[str, Any]) -> None:
    network = built(description)
    averaged = TestTime(network, symmetries(["square"], 2))
    image = torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        maps, alone = averaged(image), network(image)
        for turn in group("square", 2):
            turned = turn_back(averaged(turn.apply(image)), turn, averaged.map_channels)
            torch.testing.assert_close(turned, maps, atol=1e-5, rtol=1e-4)
        turn = group("square", 2)[3]
        assert not torch.allclose(
            turn_back(network(turn.apply(image)), turn, averaged.map_channels), alone, atol=1e-3
        )


def test_a_volume_turns_in_all_24_ways() -> None:
    network = built({"name": "centre-heatmap", "arguments": {"spatial_dims": 3, "channels": [4, 4]}})
    averaged = TestTime(network, symmetries(["cube rotations"], 3))
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        maps = averaged(image)
        for turn in group("cube rotations", 3)[::5]:
            turned = turn_back(averaged(turn.apply(image)), turn, averaged.map_channels)
            torch.testing.assert_close(turned, maps, atol=1e-5, rtol=1e-4)


def test_sides_may_differ() -> None:
    averaged = TestTime(built(UNET), symmetries(["square"], 2))
    with torch.inference_mode():
        assert averaged(torch.rand(1, 1, 8, 16)).shape == (1, 1, 8, 16)


@pytest.mark.parametrize("dims", [2, 3])
def test_offsets_still_point_to_the_centre_after_turning_back(dims: int) -> None:
    shape = (8, 6, 4)[:dims]
    centre = torch.tensor((2.3, 3.6, 1.2)[:dims])

    def field(symmetry_shape: Sequence[int], target: torch.Tensor) -> torch.Tensor:
        cells = torch.stack(
            torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in symmetry_shape], indexing="ij")
        )
        offsets = target.reshape(-1, *[1] * dims) - cells
        return torch.cat([torch.zeros(1, *symmetry_shape), torch.ones(1, *symmetry_shape), offsets])[None]

    channels = MapChannels(1, dims)
    for turn in group("square" if dims == 2 else "cube", dims):
        seen = field(turn.shape(shape), turn.apply_points(centre, shape))
        torch.testing.assert_close(turn_back(seen, turn, channels), field(shape, centre))


def test_a_classifier_gives_one_answer_for_all_turns() -> None:
    averaged = TestTime(built(CUBES), symmetries(["square"], 2))
    cube = torch.rand(3, 1, 8, 8)
    with torch.inference_mode():
        logits = averaged(cube)
        assert logits.shape == (3,)
        for turn in group("square", 2):
            torch.testing.assert_close(averaged(turn.apply(cube)), logits)


def test_boxes_are_turned_back_and_fused() -> None:
    averaged = TestTime(Boxes(), symmetries(["square rotations"], 2))
    image = torch.zeros(2, 1, 8, 12)
    image[0, 0, 3, 9] = 0.8
    found, none = averaged.decode(averaged(image), (8, 12), DecodeSettings(threshold=0.1, iou=0.2))
    assert len(none) == 0
    assert len(found) == 1
    np.testing.assert_allclose(found.centres, [[3, 9]], atol=1e-9)
    # two of the four positions lie on their side
    np.testing.assert_allclose(found.boxes, [[1.5, 7.5, 4.5, 10.5]])
    assert found.scores[0] == pytest.approx(0.8)


def test_maps_of_a_detector_are_decoded_once() -> None:
    averaged = TestTime(built(HEATMAP), symmetries(["flip y"], 2))
    with torch.inference_mode():
        maps = averaged(torch.rand(1, 1, 16, 16))
    (found,) = averaged.decode(maps, (16, 16), DecodeSettings(threshold=0.0, most=3))
    assert len(found) == 3


def test_everything_stays_on_the_networks_device() -> None:
    network = TestTime(ensemble([HEATMAP, HEATMAP]), symmetries(["square"], 2)).to("meta")
    assert network(torch.empty(1, 1, 8, 8, device="meta")).is_meta
