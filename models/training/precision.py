"""In which precision a training runs: what a recipe asks for, and what this machine is fastest with."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    import torch

__all__ = ["chosen_precision", "dtype_of"]

WORTH_WHILE = 1.3
"""On a CPU, bfloat16 must be faster by this factor; without instructions for it, it is slower than float32."""

REPEATS = 4


def chosen_precision(asked: str, device: torch.device) -> str:
    """Return ``"float32"``, ``"bfloat16"`` or ``"float16"`` for what a recipe asks for.

    Raises
    ------
    InputRefusedError
        Where float16 is asked for and the device is not CUDA: its gradients vanish without a scaler.
    """
    if asked == "float16" and device.type != "cuda":
        raise InputRefusedError(
            f"float16 trains on CUDA alone, and the network is on {device.type}.", code="precision",
            hint='Choose "bfloat16", "float32" or "auto".',
        )  # fmt: skip
    return _fastest(device.type) if asked == "auto" else asked


def dtype_of(precision: str) -> torch.dtype | None:
    """Return what autocast is to use; None for float32, which needs no autocast."""
    import torch

    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


@lru_cache(maxsize=4)
def _fastest(device_type: str) -> str:
    """Return the fastest precision; measured once for a process, on a CPU by the time of a small convolution."""
    import torch

    if device_type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability()[0] >= 8 else "float16"
    if device_type != "cpu":
        return "float32"
    layer = torch.nn.Conv3d(16, 32, 3, padding=1)
    volume = torch.ones(2, 16, 24, 24, 24)
    # alternately, and the least of each: whatever else the machine does meanwhile slows both
    seconds = [
        (_seconds(layer, volume, mixed=False), _seconds(layer, volume, mixed=True)) for _ in range(REPEATS)
    ]
    plain, mixed = (min(times) for times in zip(*seconds, strict=True))
    return "bfloat16" if plain > WORTH_WHILE * mixed else "float32"


def _seconds(layer: torch.nn.Module, volume: torch.Tensor, *, mixed: bool) -> float:
    import torch

    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        layer(volume).float().sum().backward()
    return time.perf_counter() - began
