"""The choice of a backend, with made-up times: what is fastest and right, and what was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference import self_test
from napari_medlab.models.inference.backends import Backend, build_look
from napari_medlab.models.inference.self_test import Choice, TileSize, choose_backend, remembered
from napari_medlab.models.networks.centre_heatmap import CentreHeatmapNet
from napari_medlab.models.predicting.readouts import ProbabilityReadout

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from napari_medlab.models.inference.backends import NetworkLook, Readout

    Script = dict[str, tuple[float, float] | str]

SIZE = TileSize(1, 4, (32, 32))
RIGHT, WRONG = 0.5, 0.6


@pytest.fixture
def network() -> CentreHeatmapNet:
    return CentreHeatmapNet(2, (8, 8)).eval()


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Script], list[str]]:
    """Set what each way takes and answers, or how it fails; the list tells which were tried."""

    def prepare(ways: Script) -> list[str]:
        tried: list[str] = []

        def build(
            _network: object, _readout: object, _device: str, backend: Backend, _example: object
        ) -> str:
            tried.append(backend.title)
            return backend.title

        def timed(look: str, _tile: object) -> tuple[float, torch.Tensor]:
            way = ways[look]
            if isinstance(way, str):
                raise RuntimeError(way)
            return way[0], torch.full((1, 2, 4, 4), way[1])

        monkeypatch.setattr(self_test, "build_look", build)
        monkeypatch.setattr(self_test, "_timed", timed)
        return tried

    return prepare


ALL: Script = {
    "float32": (1.0, RIGHT),
    "bfloat16": (0.2, RIGHT),
    "float32, channels last": (0.5, RIGHT),
    "bfloat16, channels last": (0.25, RIGHT),
    "openvino": (0.9, RIGHT),
}


def choose(network: CentreHeatmapNet, precision: str = "auto") -> Choice:
    return choose_backend(network, ProbabilityReadout(), SIZE, device="cpu", precision=precision)


def test_the_fastest_is_chosen(network: CentreHeatmapNet, script: Callable[[Script], list[str]]) -> None:
    script(ALL)
    choice = choose(network)
    assert (choice.devices, choice.backend.title) == (("cpu",), "bfloat16")
    assert choice.seconds["bfloat16"] == 0.2
    assert choice.as_json()["precision"] == "bfloat16"
    assert choice.as_json()["self_test"]["differences"]["bfloat16"] == 0.0


def test_what_is_fast_and_wrong_is_not_chosen(
    network: CentreHeatmapNet, script: Callable[[Script], list[str]]
) -> None:
    script({**ALL, "bfloat16": (0.1, WRONG), "bfloat16, channels last": (0.1, float("nan"))})
    choice = choose(network)
    assert choice.backend.title == "float32, channels last"
    assert choice.differences["bfloat16"] == pytest.approx(0.1)
    assert choice.differences["bfloat16, channels last"] == float("inf")


def test_what_gains_little_is_not_worth_a_rounding(
    network: CentreHeatmapNet, script: Callable[[Script], list[str]]
) -> None:
    little: Script = {**dict.fromkeys(ALL, (0.95, RIGHT)), "float32": (1.0, RIGHT)}
    script(little)
    assert choose(network).backend.title == "float32"


def test_what_fails_is_told_and_another_is_chosen(
    network: CentreHeatmapNet, script: Callable[[Script], list[str]]
) -> None:
    script({**ALL, "bfloat16": "no such kernel\nand more"})
    choice = choose(network)
    assert choice.backend.title == "bfloat16, channels last"
    assert choice.failed == {"bfloat16": "RuntimeError: no such kernel"}


def test_what_was_asked_for_is_kept_to_however_slow_or_coarse(
    network: CentreHeatmapNet, script: Callable[[Script], list[str]]
) -> None:
    script({**ALL, "bfloat16": (3.0, WRONG), "bfloat16, channels last": (4.0, WRONG)})
    assert choose(network, "bfloat16").backend.title == "bfloat16"
    assert choose(network, "float32").backend.precision == "float32"


def test_what_was_asked_for_and_does_not_work_is_refused(
    network: CentreHeatmapNet, script: Callable[[Script], list[str]]
) -> None:
    script({**ALL, "bfloat16": "no kernel", "bfloat16, channels last": "no kernel"})
    with pytest.raises(InputRefusedError, match="no kernel") as caught:
        choose(network, "bfloat16")
    assert caught.value.code == "precision"


def test_when_time_is_up_only_the_first_is_tried(
    network: CentreHeatmapNet, script: Callable[[Script], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = script({**ALL, "bfloat16": (2.0, RIGHT)})
    monkeypatch.setattr(self_test, "SECONDS", -1.0)
    assert choose(network).backend.title == "float32"
    assert tried == ["float32", "bfloat16"]


def test_a_gpu_that_cannot_compute_the_network_leaves_it_to_the_cpu(
    network: CentreHeatmapNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = build_look

    def build(
        network: nn.Module, readout: Readout[Any], device: str, backend: Backend, example: torch.Tensor
    ) -> NetworkLook[Any]:
        if device == "mps":
            raise NotImplementedError("no such layer on mps")
        return real(network, readout, device, backend, example)

    monkeypatch.setattr(self_test, "build_look", build)
    monkeypatch.setattr(
        self_test, "choose_devices", lambda wanted: ("mps",) if wanted == "auto" else (wanted,)
    )
    choice = choose_backend(network, ProbabilityReadout(), SIZE)
    assert choice.devices == ("cpu",)
    assert choice.failed["mps"] == "no such layer on mps"
    with pytest.raises(NotImplementedError):
        choose_backend(network, ProbabilityReadout(), SIZE, device="mps")


def test_a_network_is_tested_for_real(network: CentreHeatmapNet) -> None:
    choice = choose(network)
    assert choice.seconds["float32"] > 0
    assert choice.differences["bfloat16"] <= 0.02
    assert choice.failed == {}


def test_a_choice_is_made_once() -> None:
    made: list[int] = []

    def make() -> Choice:
        made.append(1)
        return Choice(("cpu",), Backend())

    first = remembered(("once", "and", "no more"), make)
    assert remembered(("once", "and", "no more"), make) is first
    assert made == [1]


@pytest.mark.parametrize("side", [1, 10, 24, 33, 1000])
def test_tiles_of_the_test_fit_the_network(side: int) -> None:
    size = TileSize(3, 8, (40, 64, 61))
    tile = size.example(side)
    assert tile.shape[:2] == (1, 3)
    assert all(length % 8 == 0 and length <= 64 for length in tile.shape[2:])
    assert tile.dtype == np.float32
    assert 0 <= tile.min() < tile.max() <= 1
    assert TileSize(1, 8, (21, 21), is_fixed=True).scaled(side) == (21, 21)
