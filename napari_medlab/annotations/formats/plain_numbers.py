"""Numbers that stand as words in text and XML, each checked before it counts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations.formats.json_files import FARTHEST
from napari_medlab.annotations.formats.labels import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["finite_numbers", "whole_number"]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
WHOLE = re.compile(r"\d{1,15}", re.ASCII)


def finite_numbers(words: Sequence[str], what: str, most: float = FARTHEST) -> NDArray[np.float64]:
    """Return words as float64 (n,).

    Raises
    ------
    ValueError
        Where a word is no decimal number, or one beyond ``most`` on either side; not a number and infinity are none.
    """
    stripped = [word.strip() for word in words]
    for word in stripped:
        if NUMBER.fullmatch(word) is None:
            raise ValueError(f"{what} holds {shown(word)}, expected a number")
    values = np.asarray(stripped, dtype=np.float64)
    if not (np.abs(values) <= most).all():
        wrong = stripped[int(np.flatnonzero(~(np.abs(values) <= most))[0])]
        raise ValueError(f"{what} holds {shown(wrong)}, expected a number from {-most:g} to {most:g}")
    return values


def whole_number(word: str | None, what: str, least: int = 0, most: int = 2**53) -> int:
    """Return a word as a whole number; raise ValueError where it is none, or not from ``least`` to ``most``."""
    stripped = (word or "").strip()
    if WHOLE.fullmatch(stripped) is None or not least <= int(stripped) <= most:
        raise ValueError(f"{what} is {shown(word)}, expected a whole number from {least} to {most}")
    return int(stripped)
