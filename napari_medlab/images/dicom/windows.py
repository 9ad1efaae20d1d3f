"""The limits of brightness that a DICOM header offers: windows and look-up tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.images.dicom.values import first, numbers, words
from napari_medlab.images.image import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.images.dicom.values import Elements

__all__ = ["windows_of"]

MAX_WINDOWS = 8
MAX_NAME = 40
CURVE = 256
"""How many steps of a curve are kept: more than a screen shows."""
SIGMOID_REACH = 4.0
"""A sigmoid is shown between the values that lie this many quarter-widths from its centre."""


def windows_of(elements: Elements) -> tuple[Window, ...]:
    """Return the VOI LUTs (DICOM PS3.3 C.11.2) and then the windows of a header, in real values.

    What is not finite, has no width or is no table is left out.
    """
    tables = [_table(item) for item in (elements.get("VOILUTSequence") or [])[:MAX_WINDOWS]]
    centres, widths = numbers(elements, "WindowCenter"), numbers(elements, "WindowWidth")
    names = _names(elements, "WindowCenterWidthExplanation")
    is_sigmoid = str(first(elements, "VOILUTFunction", "")).upper() == "SIGMOID"
    windows = []
    for number, (centre, width) in enumerate(zip(centres[:MAX_WINDOWS], widths, strict=False)):
        if np.isfinite([centre, width]).all() and width > 0:
            name = names[number] if number < len(names) else ""
            windows.append(_sigmoid(name, centre, width) if is_sigmoid else _linear(name, centre, width))
    return (*(table for table in tables if table is not None), *windows)


def _linear(name: str, centre: float, width: float) -> Window:
    return Window(name, centre - width / 2, centre + width / 2)


def _sigmoid(name: str, centre: float, width: float) -> Window:
    reach = np.linspace(-SIGMOID_REACH, SIGMOID_REACH, CURVE)
    curve = 1 / (1 + np.exp(-reach))  # 1 / (1 + exp(-4 (x - centre) / width)), PS3.3 C.11.2.1.3.1
    low, high = centre - SIGMOID_REACH * width / 4, centre + SIGMOID_REACH * width / 4
    return Window(name, low, high, tuple(np.round(curve, 5).tolist()))


def _table(item: Elements) -> Window | None:
    descriptor, data = numbers(item, "LUTDescriptor"), item.get("LUTData")
    if len(descriptor) != 3 or data is None:
        return None
    count, low, bits = int(descriptor[0]) % 65536 or 65536, int(descriptor[1]), int(descriptor[2])
    if not 2 <= count <= 65536 or not 8 <= bits <= 16:
        return None
    form = np.uint16 if len(data) >= 2 * count else np.uint8
    values: NDArray[np.float64] = np.frombuffer(data, form, len(data) // np.dtype(form).itemsize)[
        :count
    ].astype(np.float64)
    if len(values) != count:
        return None
    curve = np.interp(
        np.linspace(0, count - 1, min(count, CURVE)), np.arange(count), values / ((1 << bits) - 1)
    )
    name = _names(item, "LUTExplanation")
    return Window(
        name[0] if name else "", low, low + count - 1, tuple(np.round(np.clip(curve, 0, 1), 5).tolist())
    )


def _names(elements: Elements, keyword: str) -> list[str]:
    return ["".join(c for c in word if c.isprintable())[:MAX_NAME] for word in words(elements, keyword)]
