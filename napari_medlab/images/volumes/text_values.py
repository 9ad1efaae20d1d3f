"""Pixels that are written out as decimal numbers."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_not_shorter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["check_text", "values_of_text"]

MAX_TEXT_BYTES = 64 << 20
READ_BYTES = 1 << 20
WRITTEN = b"0123456789+-.eE \t\r\n\v\f"
"""What numbers and the space between them consist of; NaN and infinity are no pixels."""


def check_text(path: Path, count: int, available: int) -> None:
    """Refuse text that is too short for ``count`` numbers, or too long to be read as text."""
    check_not_shorter(path, 2 * count - 1, available)
    if available > MAX_TEXT_BYTES:
        raise ImageRefusedError(
            f"{path.name} holds its pixels as {available >> 20} MiB of text.",
            code="size",
            hint=f"At most {MAX_TEXT_BYTES >> 20} MiB of text are read: save the pixels as raw or gzip.",
        )


def values_of_text(
    file: IO[bytes], dtype: np.dtype[Any], start: int, count: int, total: int
) -> Iterator[NDArray[Any]]:
    """Yield numbers ``start`` to ``start + count`` of those that a file holds from where it stands.

    Raises
    ------
    EOFError, OverflowError
        Where it holds fewer or more than ``total``.
    ValueError
        Where it holds anything else, or a number that its type cannot.
    """
    at = 0
    for words in _words(file):
        first, last = (min(max(place - at, 0), len(words)) for place in (start, start + count))
        if last > first:
            yield _numbers(words[first:last], dtype)
        at += len(words)
        if at > total:
            raise OverflowError(f"more than {total} numbers")
    if at < total:
        raise EOFError(f"{at} of {total} numbers are there")


def _words(file: IO[bytes]) -> Iterator[list[bytes]]:
    rest = b""
    while data := file.read(READ_BYTES):
        if data.translate(None, WRITTEN):
            raise ValueError("the pixels should be written as numbers, and other signs stand between them")
        words = (rest + data).split()
        # the last one may go on in the next piece
        rest = b"" if data[-1:].isspace() else words.pop()
        if len(rest) > READ_BYTES:
            raise ValueError("a number of over a million digits")
        yield words
    yield rest.split()


def _numbers(words: list[bytes], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return np.array([float(word) for word in words], dtype)
    limits, values = np.iinfo(dtype), [int(word) for word in words]
    if min(values) < limits.min or max(values) > limits.max:
        raise ValueError(f"numbers from {min(values)} to {max(values)} are no values of the type {dtype}")
    return np.array(values, dtype)
