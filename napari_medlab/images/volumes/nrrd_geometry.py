"""Where the voxels of an NRRD lie."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images.image import ImageWarning
from napari_medlab.images.volumes.text_headers import damaged, millimetres, numbers, positive, unsupported

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["geometry_of"]

TO_LPS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
VECTOR = re.compile(r"\s*(\([^()]*\)|none)")


def geometry_of(
    path: Path, fields: dict[str, str], shape: tuple[int, ...], axes: int
) -> tuple[Grid, tuple[ImageWarning, ...]]:
    """Return the grid of a header's first three axes, and what to say about it."""
    _refuse_others(path, fields)
    flips = _flips(path, fields)
    message = "The header states no space; left and right are a guess."
    unsure = (ImageWarning("no-orientation", message),)
    if "space directions" in fields:
        scale = millimetres(path, "space units", shlex.split(fields.get("space units", "")))
        affine = np.eye(4)
        affine[:3, :3] = (_vectors(path, fields["space directions"], axes) * flips * scale)[::-1].T
        affine[:3, 3] = np.asarray(_origin(path, fields)) * flips * scale
        return Grid(shape, affine, "mm"), () if "space" in fields else unsure
    if "spacings" in fields:
        words = fields["spacings"].split()
        spacing = numbers(path, "spacings", " ".join(words[:3]), 3)  # that of time may be NaN
        positive(path, "spacings", spacing)
        scale = millimetres(path, "units", shlex.split(fields.get("units", ""))[:3])
        return Grid.axis_aligned(shape, np.asarray(spacing[::-1]) * scale), unsure
    message = "The header states no voxel size."
    return Grid.axis_aligned(shape, (1.0, 1.0, 1.0), unit="px"), (ImageWarning("unknown-spacing", message),)


def _flips(path: Path, fields: dict[str, str]) -> NDArray[np.int64]:
    """Return by what the coordinates of the header's space are multiplied to be LPS."""
    space = fields.get("space", "left-posterior-superior").lower()
    if space not in TO_LPS:
        raise ImageRefusedError(
            f"{path.name} lies in the space {space[:60]!r}, which is not the patient's.",
            code="space",
            hint="Save it in left-posterior-superior.",
        )
    return np.asarray(TO_LPS[space])


def _vectors(path: Path, text: str, axes: int) -> NDArray[np.float64]:
    """Return the steps along x, y and z as rows."""
    found, at = [], 0
    while match := VECTOR.match(text, at):
        found.append(match[1])
        at = match.end()
    if text[at:].strip() or len(found) != axes or "none" in found[:3] or found[3:] != ["none"] * (axes - 3):
        raise ImageRefusedError(
            f"{path.name}: space directions are {text[:200]!r}, expected a vector for each of the first three axes "
            f"{'and none for the fourth' if axes > 3 else 'and nothing else'}.",
            code="unsupported" if "none" in found[:3] and axes > 3 else "direction",
            hint="Save one value a voxel; the first three axes must lie in space.",
        )
    return np.asarray([numbers(path, "space directions", vector, 3) for vector in found[:3]])


def _origin(path: Path, fields: dict[str, str]) -> list[float]:
    return numbers(path, "space origin", fields["space origin"], 3) if "space origin" in fields else [0.0] * 3


def _refuse_others(path: Path, fields: dict[str, str]) -> None:
    """Refuse the other ways to say where voxels lie, of which readers make different things."""
    if fields.get("space dimension", "3") != "3":
        damaged(path, f"space dimension is {fields['space dimension'][:40]!r}, expected 3")
    for name in ("axis mins", "axis maxs"):
        if set(fields.get(name, "").lower().split()) - {"nan"}:
            unsupported(path, f"places by {name}", "Save it with space directions and a space origin.")
