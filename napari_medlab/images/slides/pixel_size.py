"""The size of a slide's pixels in micrometres, from whichever header states it, or unknown."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.image import ImageWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_medlab.geometry import Unit

__all__ = ["from_aperio", "from_resolution", "lengths_of_ome", "plausible", "stack_spacing"]

MAX_MICROMETRES = 50.0
"""Coarser than any microscope: 72 dots per inch, which writers fill in when they know nothing, are 353 µm."""
OME_UNITS = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "nm": 1e-3, "pm": 1e-6, "Å": 1e-4}
CENTIMETRE, INCH = 3, 2
MICROMETRES = {CENTIMETRE: 10_000.0, INCH: 25_400.0}

FINEST_MM = 1e-3
"""Below this a grid in millimetres counts as damaged."""

Size = tuple[float, float]


def lengths_of_ome(attributes: Mapping[str, str]) -> tuple[Size | None, float | None]:
    """Return (y, x) µm, and the µm from slice to slice, from the attributes of a ``Pixels`` element."""
    return _both(lambda axis: _ome_length(attributes, axis)), _ome_length(attributes, "Z")


def from_aperio(description: str) -> Size | None:
    """Return (y, x) µm from Aperio's ``MPP = …``."""
    stated = re.search(r"\bMPP\s*=\s*([0-9.eE+-]+)", description)
    size = _number(stated.group(1)) if stated else None
    return None if size is None else (size, size)


def from_resolution(tags: Mapping[str, Any]) -> Size | None:
    """Return (y, x) µm from TIFF's resolution tags; a resolution without a unit says nothing about size."""
    unit = MICROMETRES.get(int(tags.get("ResolutionUnit", 1)))
    if unit is None:
        return None
    return _both(lambda axis: _from_dots(tags.get(f"{axis}Resolution"), unit))


def plausible(size: Size | None, *, is_exact: bool = False) -> tuple[Size | None, tuple[ImageWarning, ...]]:
    """Return a size that a microscope can have, or None with a warning that says what the header claims.

    Formats that state physical sizes and no resolutions (``is_exact``) are believed whatever they state.
    """
    if size is None:
        return None, (ImageWarning("unknown-spacing", "The header states no pixel size."),)
    if max(size) > MAX_MICROMETRES and not is_exact:
        message = (
            f"The header states {size[1]:.4g} µm a pixel, which is a print resolution: taken as unknown."
        )
        return None, (ImageWarning("unknown-spacing", message),)
    return size, ()


def stack_spacing(
    step: float | None, size: Size | None
) -> tuple[tuple[float, float, float], Unit, tuple[ImageWarning, ...]]:
    """Return the spacing (z, y, x) of a stack of slices and its unit: millimetres, or µm where that is too fine."""
    if step is None or size is None:
        message = "The header does not state the size of a voxel on all axes: taken as unknown."
        return (1.0, 1.0, 1.0), "px", (ImageWarning("unknown-spacing", message),)
    micrometres = (step, *size)
    if min(micrometres) < FINEST_MM * 1000:
        return micrometres, "um", ()
    return (step / 1000, size[0] / 1000, size[1] / 1000), "mm", ()


def _both(length: Callable[[str], float | None]) -> Size | None:
    y, x = length("Y"), length("X")
    return None if x is None or y is None else (y, x)


def _ome_length(attributes: Mapping[str, str], axis: str) -> float | None:
    size = _number(attributes.get(f"PhysicalSize{axis}", ""))
    unit = OME_UNITS.get(html.unescape(attributes.get(f"PhysicalSize{axis}Unit", "µm")))
    return None if size is None or unit is None else size * unit


def _from_dots(value: Any, unit: float) -> float | None:  # noqa: ANN401 - a number or a fraction
    numerator, denominator = value if isinstance(value, tuple) and len(value) == 2 else (value, 1)
    if not numerator or not denominator:
        return None
    size = unit * float(denominator) / float(numerator)
    return size if np.isfinite(size) and size > 0 else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None
