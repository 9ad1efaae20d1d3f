"""One run of the engine's benchmark, in the process that it has for itself: MONAI's inferer, ours, or how exact both are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from measuring import peak_above

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.images import Image
    from napari_medlab.models.inference.planning import TilingRule
    from napari_medlab.models.preprocessing import Preprocessing

__all__ = ["RUNS"]

WINDOW = (-1000.0, 400.0)
MULTIPLE = 8
HALOS = {"volume": 16, "slide": 24}
"""From 24 on tiles are exact; with 16 the volume stays within the limit, and takes a sixth less."""
CORES = {"volume": (200, 96, 96), "slide": (976, 976)}
PIECES = {"volume": (96, 192, 192), "slide": (1024, 1024)}
"""What is small enough for the network to see at once."""


def run_monai(asked: dict[str, Any]) -> dict[str, Any]:
    """Measure MONAI's inferer, with the overlap and the weights that its own bundles use."""
    import torch

    network, image, preprocessing = prepare(asked)
    forward(network, asked)(torch.zeros(1, channels_of(asked), *(64,) * dims_of(asked)))

    def work() -> torch.Tensor:
        whole = preprocessing.prepare(image).read((0,) * dims_of(asked), image.grid.shape)
        return by_monai(torch.from_numpy(whole)[None], network, asked)

    return measured(work)


def run_engine(asked: dict[str, Any]) -> dict[str, Any]:
    """Measure the engine, from the file to a finished store of masks."""
    import zarr.codecs  # noqa: F401 - imported before the clock runs, as everything else

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.accumulating import segment
    from napari_medlab.models.inference.engine import plan_of
    from napari_medlab.models.inference.mask_store import MaskStore

    network, image, preprocessing = prepare(asked)
    look = NetworkLook(forward(network, asked))
    look.submit(np.zeros((1, channels_of(asked), *(64,) * dims_of(asked)), np.float32))
    plans = []

    def work() -> None:
        prepared = preprocessing.prepare(image)
        plans.append(plan_of(prepared, rule_of(asked)))
        store = MaskStore.create(Path(asked["out"]), prepared.grid, classes_of(asked))
        for _ in segment(prepared, look, plans[0], CancelToken(), store):
            pass

    pixels = float(np.prod(image.grid.shape))
    return {**measured(work), "tiles": len(plans[0].tiles), "total": plans[0].total, "pixels": pixels}


def run_exactness(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the largest differences of probabilities on a piece that the network can see at once."""
    import torch

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.engine import stream
    from napari_medlab.models.inference.planning import TilingRule
    from napari_medlab.models.inference.prepared import Prepared

    network, image, preprocessing = prepare(asked)
    whole = preprocessing.prepare(image)
    start = [
        (size - side) // 2 if size > side else 0
        for size, side in zip(whole.shape, PIECES[asked["kind"]], strict=True)
    ]
    stop = [
        a + min(side, size) for a, size, side in zip(start, whole.shape, PIECES[asked["kind"]], strict=True)
    ]
    piece = whole.read(start, stop)
    predict = forward(network, asked)
    reference = torch.sigmoid(predict(torch.from_numpy(piece)[None]).float())[0].numpy()
    rule = TilingRule((64,) * dims_of(asked), HALOS[asked["kind"]], MULTIPLE)
    tiled = np.zeros_like(reference)
    for tile, probabilities in stream(
        Prepared.of_array(piece), NetworkLook(predict, rounds=False), rule, CancelToken()
    ):
        tiled[(slice(None), *tile.core_box())] = probabilities[(slice(None), *tile.core_within())]
    monai = torch.sigmoid(by_monai(torch.from_numpy(piece)[None], network, asked).float())[0].numpy()
    return {"engine": float(np.abs(tiled - reference).max()), "monai": float(np.abs(monai - reference).max())}


class NetworkLook:
    """The network on the CPU; gives probabilities, as uint8 where they go to a store."""

    device = "cpu"

    def __init__(self, predict: Callable[[torch.Tensor], torch.Tensor], *, rounds: bool = True) -> None:
        self._predict = predict
        self._rounds = rounds

    def submit(self, batch: NDArray[np.float32]) -> Done:
        """Look at tiles, (batch, channel, …)."""
        import torch

        with torch.inference_mode():
            probabilities = self._predict(torch.from_numpy(batch)).float().sigmoid_()
            if self._rounds:
                probabilities = probabilities.mul_(255).round_().to(torch.uint8)
            return Done(list(probabilities.numpy()))

    def on_cpu(self) -> None:
        """Return nothing: it is there already."""
        return


class Done:
    """Results that are there."""

    def __init__(self, results: list[NDArray[Any]]) -> None:
        self._results = results

    def result(self) -> list[Any]:
        """Return them, one for each tile."""
        return self._results


def prepare(asked: dict[str, Any]) -> tuple[nn.Module, Image, Preprocessing]:
    """Return the network, the image and what is done to it first."""
    import torch
    from monai.networks.nets.unet import UNet

    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image, open_here
    from napari_medlab.models.preprocessing import Preprocessing

    torch.manual_seed(11)
    network = UNet(
        dims_of(asked),
        channels_of(asked),
        len(classes_of(asked)),
        (16, 32, 64, 96),
        (2, 2, 2),
        num_res_units=1,
        norm="batch",
    ).eval()
    if asked["kind"] == "slide":
        return network, open_here(Path(asked["path"])), Preprocessing(kind="slide")
    volume = np.load(asked["path"])
    image = Image.of_arrays([volume], Grid.axis_aligned(volume.shape, (1.0, 0.7, 0.7)), modality="CT")
    return network, image, Preprocessing(window=WINDOW)


def forward(network: nn.Module, asked: dict[str, Any]) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network at the precision that was asked for, and channels last, for either."""
    import torch

    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims_of(asked)]
    laid_out: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]

    def predict(batch: torch.Tensor) -> torch.Tensor:
        with (
            torch.inference_mode(),
            torch.autocast("cpu", torch.bfloat16, enabled=asked["precision"] == "bf16"),
        ):
            answer: torch.Tensor = laid_out(batch.contiguous(memory_format=layout))
            return answer

    return predict


def by_monai(image: torch.Tensor, network: nn.Module, asked: dict[str, Any]) -> torch.Tensor:
    """Return the logits of MONAI's inferer."""
    import torch
    from monai.inferers.inferer import SlidingWindowInferer

    side = 96 if asked["kind"] == "volume" else 512
    inferer = SlidingWindowInferer((side,) * dims_of(asked), sw_batch_size=4, overlap=0.25, mode="gaussian")
    with torch.inference_mode():
        logits = inferer(image, forward(network, asked))
    if not isinstance(logits, torch.Tensor):
        raise TypeError("the network has one output")
    return logits


def rule_of(asked: dict[str, Any]) -> TilingRule:
    """Return how the engine cuts the image."""
    from napari_medlab.models.inference.planning import TilingRule

    return TilingRule(CORES[asked["kind"]], HALOS[asked["kind"]], MULTIPLE, skip=asked["skip"])


def dims_of(asked: dict[str, Any]) -> int:
    """Return the number of spatial axes."""
    return 3 if asked["kind"] == "volume" else 2


def channels_of(asked: dict[str, Any]) -> int:
    """Return the number of input channels."""
    return 1 if asked["kind"] == "volume" else 3


def classes_of(asked: dict[str, Any]) -> list[str]:
    """Return the names of the network's classes."""
    return ["nodule", "vessel"] if asked["kind"] == "volume" else ["glomerulus"]


def measured(work: Callable[[], object]) -> dict[str, Any]:
    """Return how long something takes, on the clock and in all threads, and how much memory more than before, at the most."""
    with peak_above() as peak:
        began, computed = time.perf_counter(), time.process_time()
        answer = work()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - computed
        del answer  # held until the clock has stopped, as whoever asked for it would
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "mib": peak()}


RUNS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "monai": run_monai, "engine": run_engine, "exactness": run_exactness,
}  # fmt: skip
"""What can be asked for, by name."""
