"""Whether a file is still the one that was opened: asked before each reading, so it has to cost next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["stamp_of"]


def stamp_of(path: Path) -> str:
    """Return size and time of change of a file or a folder."""
    status = path.stat()
    return f"{status.st_size}:{status.st_mtime_ns}"
