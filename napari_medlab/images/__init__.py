"""Opening and reading images: lazily, in their true place, or with a reason why not."""

from __future__ import annotations

from napari_medlab.images.budget import fits_in_memory, memory_budget_bytes
from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.images.image import Image, ImageWarning
from napari_medlab.images.opening import open_image

__all__ = [
    "Image",
    "ImageWarning",
    "fingerprint",
    "fits_in_memory",
    "memory_budget_bytes",
    "open_image",
]
