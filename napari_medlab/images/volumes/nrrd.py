"""NRRD volumes (``.nrrd``, ``.nhdr``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.image import ImageWarning
from napari_medlab.images.volumes.itk import open_with_itk
from napari_medlab.images.refusals import check_not_shorter, check_shape
from napari_medlab.images.volumes.text_headers import data_file_beside, numbers, refuse_dimensions, sizes, text_lines

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.image import Image

__all__ = ["open_nrrd"]

SPACES = frozenset(
    {"left-posterior-superior", "lps", "right-anterior-superior", "ras", "left-anterior-superior", "las"}
)


def open_nrrd(path: Path, decisions: Decisions = AS_IS) -> Image:
    """Return the volume of an NRRD file, its header checked before it is parsed."""
    fields = _fields(path)
    shape = sizes(path, "sizes", fields.get("sizes", ""))
    refuse_dimensions(path, len(shape))
    check_shape(path, shape)
    for name in ("spacings", "space directions", "space origin"):
        if name in fields:
            numbers(path, name, fields[name])
    pixels = _pixel_file(path, fields)
    is_compressed = fields.get("encoding", "").lower() != "raw"
    if not is_compressed:
        check_not_shorter(path, shape[0] * shape[1] * shape[2], pixels.stat().st_size)
    space = fields.get("space", "").lower()
    if space and space not in SPACES:
        raise ImageRefusedError(
            f"{path.name} lies in the space {space[:60]!r}, which is not the patient's.",
            code="space",
            hint="Save it in left-posterior-superior.",
        )
    message = "The header states no space; left and right are a guess."
    warnings = () if space and "space directions" in fields else (ImageWarning("no-orientation", message),)
    return open_with_itk(
        path, "NrrdImageIO", shape, file_format="NRRD", is_compressed=is_compressed, warnings=warnings
    )


def _fields(path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text_lines(path)[1:]:
        if not line.strip():
            break
        name, separator, value = line.partition(":")
        if separator and not line.startswith("#"):
            fields[name.strip().lower()] = value.strip()
    return fields


def _pixel_file(path: Path, fields: dict[str, str]) -> Path:
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        return path
    if name.upper().startswith("LIST") or "%" in name:
        raise ImageRefusedError(
            f"{path.name} spreads its pixels over several files ({name[:100]!r}).",
            code="unsupported",
            hint="Save it as one .nrrd file.",
        )
    return data_file_beside(path, name)
