"""Something that is done to the disk, and how to tell whether it was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Deed:
    """Something that is done to the disk.

    Parameters
    ----------
    make : makes what is there before, in a new folder
    open : opens what is worked on; no fault can happen yet
    act : does it; done a second time after it was refused
    state : tells ``"before"``, ``"after"``, or what is wrong
    """

    make: Callable[[Path], None]
    open: Callable[[Path], Any]
    act: Callable[[Path, Any], object]
    state: Callable[[Path], str]

    def close(self, subject: object) -> None:
        """Close what was opened."""
        if isinstance(subject, Project):
            subject.close()

    def again(self, place: Path) -> None:
        """Do it in a fresh start."""
        subject = self.open(place)
        self.act(place, subject)
        self.close(subject)
