"""The ways to compute a network: they agree with float32, and leave the network as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.detection.detections import DecodeSettings
from napari_medlab.models.inference import devices
from napari_medlab.models.inference.backends import Backend, build_look, largest_difference
from napari_medlab.models.inference.devices import choose_devices
from napari_medlab.models.inference.openvino_backend import has_openvino
from napari_medlab.models.inference.outputs import flattened, mapped, refilled
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet
from napari_medlab.models.predicting.readouts import DetectionReadout, LogitReadout, ProbabilityReadout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.models.inference.backends import Precision


@pytest.fixture(params=[2, 3])
def network(request: pytest.FixtureRequest) -> CentreHeatmapNet:
    torch.manual_seed(0)
    return CentreHeatmapNet(request.param, (8, 8)).eval()


def tiles(network: CentreHeatmapNet, count: int = 3) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    return rng.random((count, 1, *(16,) * network.spatial_dims), dtype=np.float32)


@pytest.mark.parametrize(
    ("backend", "tolerance"),
    [
        (Backend(), 0.0),
        (Backend(channels_last=True), 1e-5),
        (Backend("bfloat16"), 0.02),
        (Backend("bfloat16", channels_last=True), 0.02),
    ],
    ids=lambda value: value.title if isinstance(value, Backend) else "",
)
def test_every_way_agrees_with_the_network_itself(
    network: CentreHeatmapNet, backend: Backend, tolerance: float
) -> None:
    batch = tiles(network)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).sigmoid()
    before = {name: (tensor.clone(), tensor.stride()) for name, tensor in network.state_dict().items()}
    found = build_look(network, ProbabilityReadout(), "cpu", backend).submit(batch).result()
    assert len(found) == 3
    assert found[0].dtype == np.float32
    assert float((torch.from_numpy(np.stack(found)) - expected).abs().max()) <= tolerance
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor.stride() == before[name][1]


def test_a_tile_gets_the_detections_that_the_network_decodes(network: CentreHeatmapNet) -> None:
    batch, settings = tiles(network), DecodeSettings(threshold=0.0, most=5)
    with torch.inference_mode():
        expected = network.decode(network(torch.from_numpy(batch)), batch.shape[2:], settings)
    found = build_look(network, DetectionReadout(network, settings), "cpu", Backend()).submit(batch).result()
    assert [len(each) for each in found] == [5, 5, 5]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)


def test_exclusive_classes_add_up_to_one() -> None:
    readout = ProbabilityReadout("softmax")
    (found,) = readout.results(readout.on_device(torch.tensor([[[1.0, 2.0], [3.0, -4.0]]])), (2,))
    np.testing.assert_allclose(found.sum(axis=0), [1.0, 1.0], rtol=1e-6)


def test_on_the_cpu_there_is_no_cpu_to_fall_back_to(network: CentreHeatmapNet) -> None:
    assert build_look(network, LogitReadout(), "cpu", Backend("bfloat16")).on_cpu() is None


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [
        ("cpu", "float16", "float16 is for GPUs"),
        ("cpu", "float64", "is no precision"),
        ("mps", "openvino", "OpenVINO runs on the CPU"),
        pytest.param(
            "cpu", "openvino", "not installed", marks=pytest.mark.skipif(has_openvino(), reason="it is")
        ),
    ],
)
def test_a_precision_that_is_not_to_be_had_is_refused(device: str, precision: Precision, said: str) -> None:
    with pytest.raises(InputRefusedError, match=said) as caught:
        build_look(CentreHeatmapNet(2, (8, 8)), LogitReadout(), device, Backend(precision))
    assert caught.value.code == "precision"


def test_openvino_agrees_on_tiles_of_other_sizes(network: CentreHeatmapNet) -> None:
    pytest.importorskip("openvino")
    example = torch.zeros(1, 1, *(24,) * network.spatial_dims)
    look = build_look(network, ProbabilityReadout(), "cpu", Backend("openvino"), example)
    plain = build_look(network, ProbabilityReadout(), "cpu", Backend())
    found, expected = (np.stack(each.submit(tiles(network)).result()) for each in (look, plain))
    assert np.abs(found - expected).max() <= 0.02


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_batches_on_cuda_overlap_and_keep_apart(network: CentreHeatmapNet, precision: Precision) -> None:
    look = build_look(network, ProbabilityReadout(), "cuda:0", Backend(precision))
    plain = build_look(network, ProbabilityReadout(), "cpu", Backend())
    batches = [tiles(network, count) for count in (1, 2, 3, 4)]
    waiting = [look.submit(batch) for batch in batches]
    for batch, pending in zip(batches, waiting, strict=True):
        expected = np.stack(plain.submit(batch).result())
        assert np.abs(np.stack(pending.result()) - expected).max() <= 0.02
    assert look.on_cpu() is not None


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("auto", ["cuda:0", "cuda:1", "cpu"], ("cuda:0", "cuda:1")),
        ("cuda", ["cuda:0", "cuda:1", "cpu"], ("cuda:0", "cuda:1")),
        ("cuda:1", ["cuda:0", "cuda:1", "cpu"], ("cuda:1",)),
        ("cpu", ["cuda:0", "cpu"], ("cpu",)),
        ("auto", ["mps", "cpu"], ("mps",)),
        ("auto", ["cpu"], ("cpu",)),
    ],
)
def test_devices_are_chosen(
    wanted: str, there: list[str], chosen: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: there)
    assert choose_devices(wanted) == chosen


@pytest.mark.parametrize("wanted", ["cuda", "cuda:2", "mps", "tpu", "cuda:x", ""])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ["cuda:0", "cpu"] if wanted == "cuda:2" else ["cpu"]
    monkeypatch.setattr(devices, "available_devices", lambda: there)
    with pytest.raises(InputRefusedError, match=f"here are {', '.join(there)}") as caught:
        choose_devices(wanted)
    assert caught.value.code == "device"


class Pair(NamedTuple):
    first: torch.Tensor
    second: int


@dataclass(frozen=True)
class Record:
    maps: list[torch.Tensor]
    name: str


def test_any_nesting_of_tensors_is_walked_through() -> None:
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    outputs = {"a": Pair(one, 7), "b": [Record([two], "x"), (three, None)]}
    assert [len(tensor) for tensor in flattened(outputs)] == [1, 2, 3]
    doubled = mapped(outputs, lambda tensor: tensor * 2)
    assert doubled["a"].second == 7
    assert doubled["b"][0].name == "x"
    assert doubled["b"][0].maps[0].tolist() == [2, 2]
    refill = refilled(outputs, [three, two, one])
    assert [len(tensor) for tensor in flattened(refill)] == [3, 2, 1]


def test_outputs_of_other_shapes_or_without_numbers_differ_without_limit() -> None:
    plain = torch.Tensor.float
    assert largest_difference([torch.zeros(2)], [torch.tensor([0.0, 0.25])], plain) == 0.25
    assert largest_difference([torch.zeros(2)], [torch.zeros(3)], plain) == float("inf")
    assert largest_difference(torch.zeros(2), torch.tensor([0.0, float("nan")]), plain) == float("inf")
