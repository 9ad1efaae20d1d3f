"""The elements of a DICOM header as Python values."""

from __future__ import annotations

from struct import iter_unpack
from typing import TYPE_CHECKING, Any

from napari_medlab.images.dicom.attributes import TAGS

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Elements", "first", "listed", "numbers", "words"]

BINARY = {"US": "H", "SS": "h", "UL": "I", "FL": "f", "FD": "d", "OV": "Q"}
TEXTS = frozenset({"CS", "UI", "LO", "SH", "TM"})


class Elements:
    """One level of a header: a data set, or an item of a sequence.

    Parameters
    ----------
    little : bool
        The order of bytes.
    raw : dict of tag to bytes
    sequences : dict of tag to list of Elements
    signed : set of tags
        Those that the file itself calls signed.
    """

    def __init__(self, *, little: bool = True) -> None:
        self.little = little
        self.raw: dict[int, bytes] = {}
        self.sequences: dict[int, list[Elements]] = {}
        self.signed: set[int] = set()

    def __contains__(self, keyword: str) -> bool:
        return TAGS[keyword][0] in self.raw or TAGS[keyword][0] in self.sequences

    def get(self, keyword: str) -> Any:  # noqa: ANN401 - what the attribute holds
        """Return the value of an attribute: a list of texts, of numbers or of items, or bytes; None where it has none.

        Raises
        ------
        ValueError
            Where a number is none.
        """
        tag, kind = TAGS[keyword]
        if kind == "SQ":
            return self.sequences.get(tag)
        value = self.raw.get(tag)
        if not value:
            return None
        if kind == "OW":
            return value if self.little else _swapped(value)
        if kind in TEXTS:
            return [part.strip() for part in _text(value).split("\\")]
        if kind in ("DS", "IS"):
            return [float(part) for part in _text(value).split("\\") if part.strip()] or None
        return self._unpacked(value, self._integer(tag) if kind == "XS" else BINARY[kind])

    def with_later(self, others: Iterable[Elements]) -> Elements:
        """Return these elements and those of ``others``: of an attribute that several have, the last counts."""
        merged = Elements(little=self.little)
        for source in (self, *others):
            merged.raw.update(source.raw)
            merged.sequences.update(source.sequences)
            merged.signed |= source.signed
        return merged

    def _integer(self, tag: int) -> str:
        """Return the form of a number that is stored as pixels are."""
        representation = self.raw.get(TAGS["PixelRepresentation"][0])
        return "h" if tag in self.signed or (representation and any(representation)) else "H"

    def _unpacked(self, value: bytes, form: str) -> list[float]:
        order = "<" if self.little else ">"
        size = {"H": 2, "h": 2, "I": 4, "f": 4, "d": 8, "Q": 8}[form]
        return [number for (number,) in iter_unpack(order + form, value[: len(value) // size * size])] or None  # type: ignore[return-value]


def first(elements: Elements, keyword: str, default: Any = None) -> Any:  # noqa: ANN401 - what the attribute holds
    """Return the first value of an attribute, or ``default`` where it has none or an empty one."""
    value = elements.get(keyword)
    return default if value is None or value[0] in ("", None) else value[0]


def numbers(elements: Elements, keyword: str) -> list[float]:
    """Return the numbers of an attribute; none where it holds anything else."""
    try:
        return list(elements.get(keyword) or [])
    except ValueError:
        return []


def words(elements: Elements, keyword: str) -> list[str]:
    """Return the texts of an attribute."""
    return list(elements.get(keyword) or [])


def listed(elements: Elements, keyword: str) -> str:
    """Return the first text of an attribute, or an empty one."""
    return str(first(elements, keyword, ""))


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


def _swapped(value: bytes) -> bytes:
    swapped = bytearray(len(value) // 2 * 2)
    swapped[0::2], swapped[1::2] = value[1::2], value[0 : len(value) // 2 * 2 : 2]
    return bytes(swapped)
