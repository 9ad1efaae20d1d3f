"""The errors that users see: what happened, where, what was found there, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "ImageRefusedError",
    "InputRefusedError",
    "MedlabError",
    "MissingExtraError",
    "Option",
    "ProjectError",
]


class MedlabError(Exception):
    """The base of every error raised on purpose.

    Parameters
    ----------
    message : str
        What happened, where, and what was found there.
    code : str
        A short stable word for programs, such as ``"gap"``.
    hint : str
        What the reader can do about it; empty where nothing can be done.
    """

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def as_json(self) -> dict[str, str]:
        """Return the error as the command line prints it: code, message and hint."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True)
class Option:
    """One way to go on after a refusal.

    Parameters
    ----------
    title : str
        What a person reads.
    decisions : dict
        :meth:`napari_medlab.images.Decisions.as_json` of the choice, as JSON values.
    """

    title: str
    decisions: dict[str, Any]


class InputRefusedError(MedlabError, ValueError):
    """Something handed in from outside (a file, a folder, a table) cannot be used as it is."""


class ImageRefusedError(InputRefusedError):
    """An image is not opened, because showing it would be wrong, unsafe or impossible.

    Parameters
    ----------
    message, code, hint : str
        As in :class:`MedlabError`.
    options : tuple of Option
        The decisions with which it would open; empty where there are none.
    """

    def __init__(self, message: str, *, code: str, hint: str = "", options: tuple[Option, ...] = ()) -> None:
        super().__init__(message, code=code, hint=hint)
        self.options = options


class ProjectError(MedlabError, RuntimeError):
    """A project cannot do what was asked: locked, read-only, damaged, or of a newer version."""


class MissingExtraError(MedlabError, ImportError):
    """An optional package is needed for this and is not installed."""
