"""Telling apart errors that mean too little memory, on whatever device."""

from __future__ import annotations

import gc
import sys

__all__ = ["is_out_of_memory", "release_memory"]

TYPES = ("MemoryError", "OutOfMemoryError")
PHRASES = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out: MemoryError, torch's own types, and what its backends write."""
    if any(kind.__name__ in TYPES for kind in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error).lower() for phrase in PHRASES)


def release_memory() -> None:
    """Give back what torch keeps of a device's memory for later, where torch runs at all."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
