"""The little text that goes into headers: what was done to the pixels, and what their channels are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["label", "remark"]

MAX_LABEL = 256


def label(text: str) -> str:
    """Return a name without control characters, which would break XML, and of at most 256 characters."""
    return "".join(character for character in text if character.isprintable())[:MAX_LABEL]


def remark(sentences: Iterable[str], limit: int) -> str:
    """Return sentences as one line of at most ``limit`` ASCII characters, for headers of fixed size."""
    line = label("; ".join(sentences))
    return line.encode("ascii", "replace").decode("ascii")[:limit]
