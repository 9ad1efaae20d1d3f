"""How much memory an image may take."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medlab.images.image import Image

__all__ = ["fits_in_memory", "memory_budget_bytes"]

SHARE = 4
"""A quarter of the machine's memory: the rest is for the window, a model and everything else that runs."""
FALLBACK_BYTES = 8 << 30
"""What a machine is taken to have where it does not say."""


def memory_budget_bytes() -> int:
    """Return how many bytes one decoded image may take: a quarter of the machine's memory."""
    return _physical_bytes() // SHARE


def fits_in_memory(image: Image) -> bool:
    """Tell whether level 0 of an image may be decoded as a whole."""
    return image.estimated_bytes <= memory_budget_bytes()


def _physical_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        pass
    try:
        return int(importlib.import_module("psutil").virtual_memory().total)
    except ImportError:
        return FALLBACK_BYTES
