"""Opening and reading images: lazily, in their true place, or with a reason why not."""

from __future__ import annotations

from napari_medlab.images.budget import fits_in_memory, memory_budget_bytes, set_memory_budget
from napari_medlab.images.contents import Entry, contents
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.images.image import Image, ImageWarning, Window
from napari_medlab.images.opening import open_here, open_image

__all__ = [
    "AS_IS",
    "Decisions",
    "Entry",
    "Image",
    "ImageWarning",
    "Window",
    "contents",
    "fingerprint",
    "fits_in_memory",
    "memory_budget_bytes",
    "open_here",
    "open_image",
    "set_memory_budget",
]
