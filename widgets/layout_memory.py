"""How the window was laid out last time, and which projects were open: kept between sessions, and never more than that."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import make_folder, replace_file, state_folder

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Remembered", "recall", "remember"]

FILE = "window.json"
MOST = 8
"""So many projects are remembered."""
LAYOUT = 1
"""Raised whenever docks get other names: an older layout is not brought back then."""


@dataclass(frozen=True)
class Remembered:
    """What is kept.

    Parameters
    ----------
    state : bytes
        ``QMainWindow.saveState`` with the version :data:`LAYOUT`; empty for none.
    station : str
        The title of the station that was in front.
    projects : tuple of str
        Folders, the latest first.
    """

    state: bytes = b""
    station: str = ""
    projects: tuple[str, ...] = ()

    def with_project(self, folder: Path) -> Remembered:
        """Return the same with a project as the latest one."""
        name = str(folder.absolute())
        return replace(self, projects=(name, *(other for other in self.projects if other != name))[:MOST])


def recall() -> Remembered:
    """Return what was kept; nothing where it cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored: dict[str, Any] = json.loads((state_folder() / FILE).read_text(encoding="utf-8"))
        is_ours = stored["layout"] == LAYOUT
        return Remembered(
            base64.b64decode(stored["state"]) if is_ours else b"",
            str(stored["station"]) if is_ours else "",
            tuple(map(str, stored["projects"]))[:MOST],
        )
    return Remembered()


def remember(what: Remembered) -> None:
    """Keep this in place of what was kept before; a disk that takes nothing is no reason to disturb the reader."""
    with suppress(OSError):
        make_folder(state_folder())
        text = json.dumps({**asdict(what), "state": base64.b64encode(what.state).decode(), "layout": LAYOUT})
        replace_file(state_folder() / FILE, text.encode())
