"""Damage to a document that keeps it well formed: a value of another kind, a key too many or missing."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

__all__ = ["damaged_json", "damaged_words"]

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, -1e308, 2**31, 2**53, 2**64, 10**400, "", "0", "nan", "../x", "/etc/passwd",
    "a" * 300, "\u202e\u0007", "=1+1", [], [[]], [None], [0, 0], {}, {"a": 1},
)  # fmt: skip
"""What stands where something else is expected."""
WORDS = (
    "", "0", "-1", "nan", "inf", "1e308", "1e400", "-0.0", "4294967296", "9" * 400, "0x10", "1,5", "=1+1", "../x", "C:x", "TRUE",
    "\u0663", "\u202e", "a" * 300, "1 2 3", ";;", "-1;-1", "%s", "&lt;x&gt;",
)  # fmt: skip
"""The same for text."""
WORD = re.compile(rb"(?<=[\">\s,;:])[^<>\"\s,;:=?]+(?=[\"<\s,;])")
EDITS = (1, 1, 1, 2, 3)
NUMBERS_SHARE = 0.4


def damaged_json(data: bytes, rng: random.Random) -> bytes:
    """Return a JSON document of which one to three places hold something else, twice as much, or nothing."""
    document = json.loads(data)
    for _ in range(rng.choice(EDITS)):
        places = list(_places(document))
        if not places:
            break
        holder, key = rng.choice(places)
        rng.choice((_replace, _replace, _replace, _remove, _repeat))(holder, key, rng)
    return json.dumps(document).encode()


def damaged_words(data: bytes, rng: random.Random) -> bytes:
    """Return XML, a table or other text of which one to three values are others."""
    for _ in range(rng.choice(EDITS)):
        found = list(WORD.finditer(data))
        if not found:
            break
        at = rng.choice(found)
        word = at.group()
        another = rng.choice((rng.choice(WORDS).encode(), rng.choice(found).group(), word * 2))
        data = data[: at.start()] + another + data[at.end() :]
    return data


def _places(value: Any) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Yield each container with the key or index of everything in it."""
    keys: Any = (
        value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _replace(holder: Any, key: Any, rng: random.Random) -> None:  # noqa: ANN401 - as above
    value = holder[key]
    if isinstance(value, int | float) and rng.random() < NUMBERS_SHARE:
        holder[key] = rng.choice((value + 1, -value, value * 1000, value / 3))
    else:
        holder[key] = rng.choice(VALUES)


def _remove(holder: Any, key: Any, rng: random.Random) -> None:  # noqa: ANN401 - as above
    del rng, holder[key]


def _repeat(holder: Any, key: Any, rng: random.Random) -> None:  # noqa: ANN401 - as above
    if isinstance(holder, list):
        holder[key:key] = [holder[key]] * rng.choice((1, 2, 50))
    else:
        holder[f"{key}{rng.choice(('', '2', ' '))}"] = holder[key]
