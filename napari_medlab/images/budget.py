"""How much memory an image may take."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medlab.images.image import Image

__all__ = ["fits_in_memory", "memory_budget_bytes", "set_memory_budget"]

SHARE = 4
"""A quarter of the machine's memory: the rest is for the window, a model and everything else that runs."""
VARIABLE = "MEDLAB_MEMORY_BUDGET_MIB"
MIB = 1 << 20
_chosen: list[int] = []


def memory_budget_bytes() -> int:
    """Return how many bytes one decoded image may take.

    What :func:`set_memory_budget` was told last; else what the environment variable ``MEDLAB_MEMORY_BUDGET_MIB`` says;
    else a quarter of the machine's memory.
    """
    if _chosen:
        return _chosen[0]
    stated = os.environ.get(VARIABLE, "")
    return int(stated) * MIB if stated.isdecimal() and int(stated) > 0 else _physical_bytes() // SHARE


def set_memory_budget(count_bytes: int | None) -> None:
    """Set the budget of this process, and of the readers that it asks; None goes back to the default."""
    _chosen[:] = [] if count_bytes is None else [count_bytes]


def fits_in_memory(image: Image) -> bool:
    """Tell whether level 0 of an image may be decoded as a whole."""
    return image.estimated_bytes <= memory_budget_bytes()


def _physical_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().total)
