"""JSON from outside, within bounds: size, depth, no number that is none, no key told twice; and its values by type.

The functions that look at values raise ValueError with what was got and what was expected; readers add the place.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.files import MAX_BYTES, collector_paused, read_text, write_new
from napari_medlab.annotations.formats.labels import shown
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["FARTHEST", "MAX_DEPTH", "as_list", "as_object", "integer", "number", "numbers", "points", "read_json",
           "write_json"]  # fmt: skip

MAX_DEPTH = 64
"""Lists and objects may lie so deep in one another."""
FARTHEST = 1e7
"""No coordinate lies further out, in pixels: no image is as large."""
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
PLAIN_STRING = re.compile(rb'"[^"]*+"')
OTHER_THAN_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
OTHER_THAN_STRUCTURE = bytes(sorted(set(range(256)) - set(b'[]{}"')))
HINT = "Export it again from its source, or open it in an editor at that place."


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the values of a JSON file in UTF-8.

    Raises
    ------
    InputRefusedError
        With code ``"file"`` or ``"too-large"``; with ``"json"`` where it is no JSON (the line and column are told), is
        nested deeper than 64, holds ``NaN`` or ``Infinity``, or names a key twice in one object.
    """
    text = read_text(path, "json", max_bytes)
    try:
        _check_depth(text.encode())
        with collector_paused():
            return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputRefusedError(
            f"{path.name} line {error.lineno} column {error.colno}: no JSON here ({error.msg}).",
            code="json",
            hint=HINT,
        ) from error
    except (ValueError, RecursionError) as error:  # a number of very many digits is a ValueError
        raise InputRefusedError(f"{path.name}: {error}.", code="json", hint=HINT) from error


def write_json(path: Path, value: object) -> None:
    """Write a new JSON file, on one line; floats keep all their digits. Raise as :func:`write_new`."""
    write_new(path, json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode())


def as_object(value: object, what: str) -> dict[str, Any]:
    """Return a value that is an object."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)}, expected an object")
    return value


def as_list(value: object, what: str) -> list[Any]:
    """Return a value that is a list."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shown(value)}, expected a list")
    return value


def number(value: object, what: str, most: float = FARTHEST) -> float:
    """Return a finite number that is not beyond ``most`` on either side."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise ValueError(f"{what} is {shown(value)}, expected a number from {-most:g} to {most:g}")
    return float(value)


def integer(value: object, what: str, least: int = 0, most: int = 2**53) -> int:
    """Return a whole number; one with a decimal point counts where nothing stands behind it."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, bool) or not isinstance(whole, int) or not least <= whole <= most:
        raise ValueError(f"{what} is {shown(value)}, expected a whole number from {least} to {most}")
    return whole


def numbers(value: object, what: str, most: float = FARTHEST) -> NDArray[np.float64]:
    """Return a list of finite numbers, none beyond ``most`` on either side, as float64 (n,)."""
    given = as_list(value, what)
    if not set(map(type, given)) <= {int, float}:
        wrong = next(item for item in given if type(item) not in (int, float))
        raise ValueError(f"{what} holds {shown(wrong)}, expected numbers")
    try:
        array = np.asarray(given, dtype=np.float64)
    except OverflowError as error:
        raise ValueError(f"{what} holds a number of too many digits") from error
    if not (np.abs(array) <= most).all():
        wrong = array[~(np.abs(array) <= most)][0]
        raise ValueError(f"{what} holds {shown(float(wrong))}, expected numbers from {-most:g} to {most:g}")
    return array


def points(value: object, what: str) -> NDArray[np.float64]:
    """Return a list of (x, y) pairs as the file counts them, float64 (n, 2); numbers after the second are left out."""
    given = as_list(value, what)
    if not set(map(type, given)) <= {list}:
        raise ValueError(
            f"{what} holds {shown(next(item for item in given if type(item) is not list))}, expected points"
        )
    lengths = set(map(len, given))
    if lengths and (min(lengths) < 2 or len(lengths) > 1):
        raise ValueError(
            f"{what} has points of {' and '.join(map(str, sorted(lengths)[:3]))} numbers, expected x and y"
        )
    width = lengths.pop() if lengths else 2
    return numbers(list(chain.from_iterable(given)), what).reshape(-1, width)[:, :2]


def _check_depth(text: bytes) -> None:
    if b"\\" in text:
        structure = STRING.sub(b"", text).translate(None, OTHER_THAN_BRACKETS)
    else:  # without escapes a string ends at the next quotation mark, and there is little left to look through
        structure = PLAIN_STRING.sub(b"", text.translate(None, OTHER_THAN_STRUCTURE))
    brackets = np.frombuffer(structure.replace(b'"', b""), dtype=np.uint8)
    steps = np.where((brackets == ord("[")) | (brackets == ord("{")), 1, -1).astype(np.int8)
    deepest = int(np.cumsum(steps, dtype=np.int32).max(initial=0))
    if deepest > MAX_DEPTH:
        raise ValueError(f"lists and objects lie {deepest} deep in one another, {MAX_DEPTH} is the limit")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number that JSON has")
