"""The tiled engine against MONAI's SlidingWindowInferer: time, memory, and how far either is from the whole image at once.

Run as ``python benchmarks/engine.py``, or with ``--small`` for a minute's worth. Each run has a process of its own, with
the same network, weights, precision and image. MONAI needs the image as float32 in memory, and leaves logits there; the
engine reads it tile by tile, and writes probabilities to disk. What the image itself takes is counted for neither: the
volume is in memory as int16 before, the slide is a file. The volume is a chest CT of a patient, brought to 200 slices, where
``MEDLAB_TEST_DATA`` names a folder of samples, and an enlarged phantom otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from engine_images import large_chest, real_chest, write_section

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from numpy.typing import NDArray
    from torch import nn

    from napari_medlab.images import Image
    from napari_medlab.models.preprocessing import Preprocessing

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is first imported

MIB = 1 << 20
RESET = Path("/proc/self/clear_refs")
"""Where Linux is told to count a process's peak of memory anew."""
WINDOW = (-1000.0, 400.0)
VOLUME, SMALL_VOLUME = (200, 512, 512), (64, 192, 192)
SLIDE, SMALL_SLIDE, PART = 20_000, 3_000, 5_000
MULTIPLE = 8
HALOS = {"volume": 16, "slide": 24}
"""From 24 on tiles are exact; with 16 the volume stays within the limit, and takes a sixth less."""
CORES = {"volume": (200, 96, 96), "slide": (976, 976)}
PIECES = {"volume": (96, 192, 192), "slide": (1024, 1024)}
"""What is small enough for the network to see at once."""
LIMIT = 1e-3
GOALS = {"volume": (2.0, 1 / 2), "slide": (3.0, 1 / 10)}
"""Times as fast, and share of the memory, with the last rule of :data:`SKIPS`."""
SKIPS = {"volume": ("none", "air", "lungs"), "slide": ("none", "glass")}


def main() -> None:
    """Print the figures, or those of one run where a run was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small images")
    parser.add_argument("--only", choices=["volume", "slide", "part"], help="one image alone")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(RUNS[json.loads(given.run)["run"]](json.loads(given.run))))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, kind, precision in (("volume", "volume", "fp32"), ("volume", "volume", "bf16"),
                                      ("slide", "slide", "bf16"), ("part", "slide", "fp32")):  # fmt: skip
            if given.only in (None, name):
                path = make_image(Path(folder), name, is_small=given.small)
                compare(kind, precision, path, Path(folder))


def compare(kind: str, precision: str, path: Path, folder: Path) -> None:
    """Run both on one image, and print times and memory as ratios."""
    print(f"\n{path.stem}, {precision}", flush=True)
    asked = {"kind": kind, "precision": precision, "path": str(path)}
    monai = child({**asked, "run": "monai"})
    print(f"  {'MONAI SlidingWindowInferer':28}{_figures(monai)}", flush=True)
    for skip in SKIPS[kind]:
        out = folder / f"{path.stem}-{precision}-{skip}"
        ours = child({**asked, "run": "engine", "skip": skip, "out": str(out)})
        faster, share = monai["seconds"] / ours["seconds"], ours["mib"] / monai["mib"]
        least, most = GOALS[kind] if skip == SKIPS[kind][-1] else (1.0, 1.0)
        verdict = "ok" if faster >= least and share <= most else "MISSED"
        print(
            f"  {'engine, skipping ' + skip:28}{_figures(ours)}  {faster:.2f} × as fast "
            f"({monai['cpu_seconds'] / ours['cpu_seconds']:.2f} × by processor time), {share:.3f} of the memory "
            f"(goal {least:.0f} ×, {most:.2f}: {verdict}); {ours['tiles']} tiles of {ours['total']}",
            flush=True,
        )
    far = child({**asked, "run": "exactness"})
    for name, difference in far.items():
        print(f"  {name:60} {difference:.2e}", flush=True)


def _figures(run: dict[str, Any]) -> str:
    return f"{run['seconds']:7.1f} s  {run['cpu_seconds']:7.1f} s of processors  {run['mib']:7.0f} MiB"


def child(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what a run in a process of its own prints."""
    command = [sys.executable, __file__, "--run", json.dumps(asked)]
    answer: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    )
    return answer


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

    return {**measured(work), "tiles": len(plans[0].tiles), "total": plans[0].total}


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
    return {
        f"engine against the whole piece (at most {LIMIT:.0e} in fp32)": float(
            np.abs(tiled - reference).max()
        ),
        "MONAI against the whole piece": float(np.abs(monai - reference).max()),
        "engine against MONAI": float(np.abs(monai - tiled).max()),
    }


RUNS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "monai": run_monai, "engine": run_engine, "exactness": run_exactness,
}  # fmt: skip


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
    from monai.networks.nets import UNet

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
    laid_out = network.to(memory_format=layout)

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
    from monai.inferers import SlidingWindowInferer

    side = 96 if asked["kind"] == "volume" else 512
    inferer = SlidingWindowInferer((side,) * dims_of(asked), sw_batch_size=4, overlap=0.25, mode="gaussian")
    with torch.inference_mode():
        logits: torch.Tensor = inferer(image, forward(network, asked))
    return logits


def rule_of(asked: dict[str, Any]) -> Any:  # noqa: ANN401 - imported in the child alone
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
    import psutil

    before = psutil.Process().memory_info().rss
    if RESET.exists():
        RESET.write_text("5")  # the peak begins anew
    began, computed = time.perf_counter(), time.process_time()
    answer = work()
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - computed
    del answer  # held until the clock has stopped, as whoever asked for it would
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "mib": (peak_bytes() - before) / MIB}


def peak_bytes() -> int:
    """Return the most memory that this process had: since the last reset on Linux, since its start elsewhere."""
    if RESET.exists():
        lines = RESET.with_name("status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def make_image(folder: Path, name: str, *, is_small: bool) -> Path:
    """Write the volume or the slide, and return where it is."""
    if name == "volume":
        path = folder / "volume.npy"
        if not path.exists():
            data = os.environ.get("MEDLAB_TEST_DATA")
            shape = SMALL_VOLUME if is_small else VOLUME
            np.save(path, large_chest(shape) if data is None else real_chest(Path(data), shape))
        return path
    path = folder / f"{name}.tif"
    write_section(path, SMALL_SLIDE if is_small else SLIDE if name == "slide" else PART)
    return path


if __name__ == "__main__":
    main()
