"""Where a path out of a file from outside leads: inside a folder or nowhere, the same on every system."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

__all__ = ["is_file_name", "safe_join"]

MAX_NAME = 512
"""So many characters a path inside a folder may have."""
RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that mean a device on Windows, with any ending."""
DRIVE_OR_STREAM = ":"


def safe_join(folder: Path, name: str) -> Path:
    """Return where a file of that name lies below a folder.

    Raises
    ------
    ValueError
        Where the name is absolute, leads upwards, names a drive, a stream or a device, or holds what no name should.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    odd = (
        not parts
        or len(name) > MAX_NAME
        or name.startswith(("/", "\\"))
        or not name.isprintable()
        or any(_is_odd(part) for part in parts)
    )
    if odd:
        raise ValueError(f"a file is named {name[:80]!r}, which is no place inside a folder")
    return folder.joinpath(*parts)


def is_file_name(name: str) -> bool:
    """Tell whether a name is that of one file on every system, without a folder."""
    return (
        "/" not in name
        and "\\" not in name
        and 0 < len(name) <= MAX_NAME
        and name.isprintable()
        and not _is_odd(name)
    )


def _is_odd(part: str) -> bool:
    is_device = RESERVED.fullmatch(part) is not None
    return part in ("..", ".") or DRIVE_OR_STREAM in part or part != part.rstrip(". ") or is_device
