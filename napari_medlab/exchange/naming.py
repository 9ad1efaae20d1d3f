"""By what names the images of a file may be known, where it can be read only once they are found."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from napari_medlab.annotations.formats.files import read_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.exchange.formats import Format

__all__ = ["names_of", "names_within", "stems_of"]

ADDED = re.compile(
    r"[-_. ](seg|segmentation|mask|masks|label|labels|labelmap|pred|prediction|rtstruct|rtss|gt)$",
    re.IGNORECASE,
)
"""What people put behind the name of an image to call its masks."""
ENDINGS = (".nii.gz",)


def names_of(found: Format, path: Path) -> list[str]:
    """Return the names by which the image of a file may be known, the best first: series that it names, and its own."""
    series_of = getattr(found.code(), "series_of", None)
    return [*(series_of(path) if series_of is not None else ()), *stems_of(path)]


def names_within(found: Format, path: Path) -> list[str]:
    """Return the names of the images that a table or a folder speaks of whose sizes one has to know to read it."""
    if found.name == "hubmap":
        lines = read_text(path, "hubmap").splitlines()
        header = [cell.strip(' "') for cell in lines[0].split(",")] if lines else []
        column = header.index("id") if "id" in header else 0
        return [
            cells[column].strip(' "') for line in lines[1:] if len(cells := line.split(",")) == len(header)
        ]
    places = sorted(file.relative_to(path) for file in path.rglob("*.txt") if file.name != "classes.txt")
    if (path / "labels").is_dir():
        places = [place for place in places if "labels" in place.parts]
    # an ending is added, so that what stands behind a point of the name is none
    return [f"{place.with_suffix('').as_posix()}.png" for place in places]


def stems_of(path: Path) -> list[str]:
    """Return a file's name without its ending, and without what was added to that of the image."""
    name = path.name
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), path.suffix)
    stem = name[: len(name) - len(ending)] if ending else name
    return list(dict.fromkeys([stem, ADDED.sub("", stem)]))
