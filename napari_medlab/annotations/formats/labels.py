"""Text from outside that people will read: labels, ids and the names of images."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

__all__ = ["MAX_NAME", "MAX_TEXT", "checked_name", "checked_text", "leads_outside", "shown"]

MAX_TEXT = 256
"""So many characters a label or an id may have."""
MAX_NAME = 1024
"""So many characters the name of an image may have, its folders counted."""
SHOWN = 40
OUTSIDE = re.compile(r"^([a-zA-Z]:|/|[a-z]+://)|(^|/)\.\.(/|$)")
"""How a path begins or what it holds when it leads out of its folder."""


def checked_text(value: object, what: str = "the label", most: int = MAX_TEXT) -> str:
    """Return a text of 1 to ``most`` printable characters, without blanks around it.

    Raises
    ------
    ValueError
        Where it is anything else, control characters included; the message says what was got.
    """
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > most or not text.isprintable():
        raise ValueError(f"{what} is {shown(value)}, expected 1 to {most} printable characters")
    return text


def checked_name(value: object, what: str = "the image's name") -> str:
    """Return the name of an image as a file states it, with forward slashes.

    Folders below stay part of the name. Of a path that leads elsewhere (absolute, with a drive or with ``..``) only the
    last part is kept, so that no name reaches out of the folder that it is looked for in.

    Raises
    ------
    ValueError
        Where it is no text of 1 to 1,024 printable characters, or names no file.
    """
    text = checked_text(value, what, MAX_NAME).replace("\\", "/")
    path = PurePosixPath(text)
    name = path.name if leads_outside(text) else str(path)
    if name in ("", ".", ".."):
        raise ValueError(f"{what} is {shown(value)}, expected the name of a file")
    return name


def leads_outside(path: str) -> bool:
    """Tell whether a path is absolute, has a drive, or goes up with ``..``."""
    return OUTSIDE.search(path.replace("\\", "/")) is not None


def shown(value: object) -> str:
    """Return a value as a message shows it: no longer than forty characters."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and not -(10**18) < value < 10**18:
        return "a number of more than 18 digits"  # its digits may be too many to be written
    text = value[: SHOWN + 1] if isinstance(value, str) else repr(value)
    return repr(text[:SHOWN] + "…" if len(text) > SHOWN else text) if isinstance(value, str) else text[:SHOWN]
