"""What the window says of an error: the same as the command line, but for what can only be typed there."""

from __future__ import annotations

import re

from napari_medlab.errors import MedlabError

__all__ = ["in_words"]

FLAG = re.compile(r"(?<!\w)--[a-z]")

HINTS = {
    "unknown-format": "Choose its format where the file hides what it is.",
    "no-frozen-cases": "Choose “add as frozen test cases” in MedLab cases, and add images that no training has seen.",
}
"""What to do in the window, by the code of the error."""


def in_words(error: Exception) -> str:
    """Return what happened and what can be done about it in the window."""
    if not isinstance(error, MedlabError):
        return str(error) or type(error).__name__
    hint = HINTS.get(error.code, "" if FLAG.search(error.hint) else error.hint)
    return f"{error.message}\n{hint}" if hint else error.message
