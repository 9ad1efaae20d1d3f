"""What is wrong with a file from outside, gathered with the places, so that ten faults are told at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MAX_FAULTS", "Faults"]

MAX_FAULTS = 10


class Faults:
    """The faults of one file.

    Parameters
    ----------
    path : Path
    code : str
        Of the error, such as ``"coco"``.
    hint : str
        What to do about it.
    """

    def __init__(self, path: Path, code: str, hint: str) -> None:
        self._path = path
        self._code = code
        self._hint = hint
        self._told: list[str] = []

    def note(self, place: str, fault: object) -> None:
        """Keep a fault; raise the error where it is the tenth."""
        self._told.append(f"{self._path.name} {place}: {fault}" if place else f"{self._path.name}: {fault}")
        if len(self._told) >= MAX_FAULTS:
            self.refuse()

    def refuse(self) -> None:
        """Raise one error with all faults, where there are any.

        Raises
        ------
        InputRefusedError
        """
        if self._told:
            raise InputRefusedError("\n".join(self._told), code=self._code, hint=self._hint)

    def refused(self, fault: object, place: str = "") -> InputRefusedError:
        """Return the error to raise where reading cannot go on."""
        self._told.append(f"{self._path.name} {place}: {fault}" if place else f"{self._path.name}: {fault}")
        return InputRefusedError("\n".join(self._told), code=self._code, hint=self._hint)
