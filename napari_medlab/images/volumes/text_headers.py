"""The text headers of MetaImage and NRRD, checked before anything is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_finite
from napari_medlab.safe_paths import safe_join

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = [
    "damaged",
    "data_file_beside",
    "header_lines",
    "millimetres",
    "numbers",
    "positive",
    "sizes",
    "unsupported",
]

MAX_HEADER = 1 << 20
MILLIMETRES = {
    "": 1.0, "?": 1.0, "???": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0,
    "um": 1e-3, "µm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "cm": 10.0, "m": 1e3, "meter": 1e3,
}  # fmt: skip


def header_lines(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the lines at the beginning of a file, each with the offset of what follows it.

    Raises
    ------
    ImageRefusedError
        Where who reads them has not found the header's end within 1 MiB.
    """
    with path.open("rb") as file:
        while line := file.readline(MAX_HEADER + 1 - file.tell()):
            if file.tell() > MAX_HEADER:
                damaged(path, f"its header does not end within {MAX_HEADER >> 10} KiB")
            yield line.decode("utf-8", "replace").rstrip("\r\n"), file.tell()


def numbers(path: Path, field: str, text: str, count: int | None = None) -> list[float]:
    """Return the finite numbers of a header field, ``count`` of them; NRRD's brackets and commas count as spaces."""
    words = text.translate(str.maketrans("(),", "   ")).split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        damaged(path, f"the header field {field} is {text[:100]!r}, expected numbers")
    if count is not None and len(values) != count:
        damaged(path, f"the header field {field} has {len(values)} numbers, expected {count}")
    check_finite(path, field, values)
    return values


def sizes(path: Path, field: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a header field."""
    values = np.asarray(numbers(path, field, text))
    if not np.array_equal(values, np.round(values)):
        raise ImageRefusedError(
            f"{path.name}: the header field {field} is {text[:100]!r}, expected whole numbers.",
            code="size",
            hint="The header is damaged; export the image again from its source.",
        )
    return tuple(int(value) for value in values)


def positive(path: Path, field: str, values: Sequence[float]) -> None:
    """Refuse steps between voxels that are 0 or negative."""
    if min(values) <= 0:
        raise ImageRefusedError(
            f"{path.name}: the header field {field} is {list(values)}, expected numbers above 0.",
            code="spacing",
            hint="Export the image again; a direction is turned round by its matrix, not by its spacing.",
        )


def millimetres(path: Path, field: str, units: Sequence[str]) -> float:
    """Return how many millimetres the one unit is that a header names along all axes."""
    known = {MILLIMETRES.get(unit.strip().lower()) for unit in units} or {1.0}
    factor = known.pop()
    if known or factor is None:
        unsupported(path, f"the header field {field} is {' '.join(units)[:100]!r}", "Save it in millimetres.")
    return factor


def data_file_beside(path: Path, name: str) -> Path:
    """Return the file of pixels that a header names, proven to lie in the header's folder or below it."""
    if name.upper().split()[:1] == ["LIST"] or "%" in name or not name:
        unsupported(
            path, f"its pixels are spread over several files ({name[:100]!r})", "Save it as one file."
        )
    folder = path.parent.resolve()
    try:
        target = safe_join(folder, name).resolve()
    except ValueError:
        target = folder.parent
    if not target.is_relative_to(folder):  # a link may lead out as well
        raise ImageRefusedError(
            f"{path.name} names a pixel file outside its own folder: {name[:200]!r}.",
            code="reference-outside",
            hint="Put the pixel file beside the header and name it without a folder.",
        )
    if not target.is_file():
        raise ImageRefusedError(
            f"{path.name} names a pixel file that is not there: {name[:200]!r}.",
            code="not-found",
            hint="Put the pixel file beside the header.",
        )
    return target


def damaged(path: Path, what: str) -> NoReturn:
    """Refuse a header that cannot be what its writer meant."""
    raise ImageRefusedError(
        f"{path.name}: {what}.",
        code="unreadable",
        hint="The header is damaged; export the image again from its source.",
    )


def unsupported(path: Path, what: str, hint: str) -> NoReturn:
    """Refuse what is sound and not read here."""
    raise ImageRefusedError(f"{path.name}: {what}, which is not read here.", code="unsupported", hint=hint)
