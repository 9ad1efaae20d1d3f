"""Between arrays and the pictures that Qt draws, whichever binding it comes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtGui import QImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["pixels_of", "qimage_of"]


def qimage_of(picture: NDArray[np.uint8]) -> QImage:
    """Return a picture, uint8 (y, x) or (y, x, 3), for Qt to draw; it owns its pixels."""
    pixels = np.ascontiguousarray(picture)
    height, width = pixels.shape[:2]
    form = QImage.Format.Format_Grayscale8 if pixels.ndim == 2 else QImage.Format.Format_RGB888
    return QImage(pixels.data, width, height, pixels.strides[0], form).copy()


def pixels_of(image: QImage) -> NDArray[np.uint8]:
    """Return a copy of what was drawn: uint8 (y, x) of 8 bits a pixel, (y, x, 4) of 32, channels as they lie in memory."""
    bits = image.constBits()
    if hasattr(bits, "setsize"):  # PyQt gives a pointer that does not know its length, PySide a memoryview
        bits.setsize(image.sizeInBytes())
    channels = image.depth() // 8
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    pixels = rows[:, : image.width() * channels].copy()
    return pixels if channels == 1 else pixels.reshape(image.height(), image.width(), channels)
