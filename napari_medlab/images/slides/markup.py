"""The elements of foreign XML, found without parsing it: no entity is expanded and nothing else is opened."""

from __future__ import annotations

import html
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Element", "elements", "plain"]

MAX_ELEMENTS = 500_000
MAX_NAME = 256
ATTRIBUTE = re.compile(r"""([\w:.-]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)')""")


class Element(NamedTuple):
    """The start or the end of an element.

    Parameters
    ----------
    name : str
        Without its namespace.
    attributes : dict of str
    is_end : bool
    text : str
        What stands between this tag and the next, at most 256 characters of it.
    """

    name: str
    attributes: dict[str, str]
    is_end: bool
    text: str


def elements(path: Path, xml: str, *names: str) -> Iterator[Element]:
    """Yield the elements of these names in the order of the text.

    Raises
    ------
    ImageRefusedError
        Where the text declares entities, or holds more elements than any image needs.
    """
    if re.search(r"<!\s*(?:DOCTYPE|ENTITY)", xml):
        raise ImageRefusedError(
            f"{path.name}: its description declares entities, which no scanner writes.",
            code="unsupported",
            hint="The file was made to do harm, or is damaged; export it again from its source.",
        )
    for count, found in enumerate(_pattern(names).finditer(xml)):
        if count > MAX_ELEMENTS:
            raise ImageRefusedError(
                f"{path.name}: its description has more than {MAX_ELEMENTS} elements.",
                code="size",
                hint="The header is damaged; export the image again from its source.",
            )
        end, name, inside = found.groups()
        attributes = {key: html.unescape(one or other) for key, one, other in ATTRIBUTE.findall(inside)}
        text = xml[found.end() : found.end() + MAX_NAME].split("<", 1)[0].strip()
        yield Element(name, attributes, bool(end), text)
        if inside.endswith("/"):
            yield Element(name, {}, True, "")


def plain(text: object) -> str:
    """Return a name out of a file as it can be shown: no control characters, at most 256."""
    return "".join(character for character in str(text) if character.isprintable())[:MAX_NAME]


@lru_cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    # possessive, so that no text makes it go back and try again
    inside = r"""(?:[^<>"']|"[^"<]*"|'[^'<]*')*+"""
    return re.compile(rf"<(/?)(?:\w+:)?({'|'.join(names)})\b({inside})>")
