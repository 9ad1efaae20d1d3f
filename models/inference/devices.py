"""Which devices a model runs on, from what somebody asked for and what is there."""

from __future__ import annotations

import re

from napari_medlab.errors import InputRefusedError

__all__ = ["WANTED", "available_devices", "choose_devices"]

WANTED = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
"""What may be asked for."""


def available_devices() -> list[str]:
    """Return the names of the devices of this machine, such as ``["cuda:0", "cuda:1", "cpu"]``, the CPU last."""
    import torch

    found = (
        [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    )
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def choose_devices(wanted: str = "auto") -> tuple[str, ...]:
    """Return the devices to work on side by side; at least one.

    Parameters
    ----------
    wanted : str
        ``"auto"``: all CUDA devices, else Apple's GPU, else the CPU; ``"cuda"``: all CUDA devices; or one of them by
        name, such as ``"cuda:1"``, ``"mps"`` or ``"cpu"``.

    Raises
    ------
    InputRefusedError
        ``device`` where that is not here, or is no name of a device.
    """
    there = available_devices()
    if WANTED.fullmatch(wanted) is None:
        raise _refused(f"{wanted!r:.40} is no device", there)
    if wanted == "auto":
        kind = there[0].partition(":")[0]
    elif wanted in there:
        return (wanted,)
    else:
        kind = wanted
    chosen = tuple(name for name in there if name.partition(":")[0] == kind)
    if not chosen:
        raise _refused(f"The device {wanted!r} is not on this machine", there)
    return chosen


def _refused(reason: str, there: list[str]) -> InputRefusedError:
    return InputRefusedError(
        f"{reason}; here are {', '.join(there)}.",
        code="device",
        hint="Use 'auto' to have one chosen, or 'cpu'. A CUDA device needs a build of PyTorch for CUDA.",
    )
