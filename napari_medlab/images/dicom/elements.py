"""Reading the header of a DICOM file: its wanted elements, the others stepped over.

Sequences that nobody wants cost nothing, whatever their depth; what claims to be longer than the file is refused.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.attributes import SEQUENCES, WANTED
from napari_medlab.images.dicom.values import Elements

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.dicom.streams import Forward

__all__ = ["Encoding", "HeaderReader", "PixelElement"]

WINDOW = 1 << 14
MAX_VALUE = 16 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 1_000_000
MAX_ITEMS = 20_000
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
GROUP_OF_META = 2


class Encoding(NamedTuple):
    """How elements are written."""

    explicit: bool
    little: bool


class PixelElement(NamedTuple):
    """Where the value of the pixel element begins, and how long it is: None where it is in fragments."""

    tag: int
    representation: str
    offset: int
    length: int | None


class _Head(NamedTuple):
    tag: int
    representation: bytes
    value: int
    length: int


class HeaderReader:
    """Reads elements from front to back.

    Parameters
    ----------
    path : Path
        For messages.
    source : Forward
    encoding : Encoding
    """

    def __init__(self, path: Path, source: Forward, encoding: Encoding) -> None:
        self._path, self._source, self.encoding = path, source, encoding
        order = "<" if encoding.little else ">"
        self._tag_and_length = Struct(order + "HHI").unpack_from
        self._short, self._long = Struct(order + "H").unpack_from, Struct(order + "I").unpack_from
        self._window, self._base = b"", 0
        self._count = 0

    def meta(self, at: int) -> tuple[Elements, int]:
        """Return the file meta information that begins at ``at``, and where it ends."""
        found = Elements(little=True)
        while (head := self._head(at)) is not None and head.tag >> 16 == GROUP_OF_META:
            at = self._take(found, head, WANTED)
        return found, at

    def dataset(self, at: int) -> tuple[Elements, PixelElement | None]:
        """Return the wanted elements from ``at`` on, and the pixel element where there is one."""
        found = Elements(little=self.encoding.little)
        while (head := self._head(at)) is not None:
            if head.tag in PIXELS:
                length = None if head.length == UNDEFINED else head.length
                return found, PixelElement(
                    head.tag, head.representation.decode("ascii", "replace"), head.value, length
                )
            at = self._take(found, head, WANTED)
        return found, None

    def _take(self, found: Elements, head: _Head, wanted: frozenset[int], depth: int = 0) -> int:
        """Keep an element where it is wanted; return where the next one begins."""
        self._count += 1
        if self._count > MAX_ELEMENTS:
            raise self._refusal(f"has more than {MAX_ELEMENTS} elements in its header", "size")
        if head.tag in wanted:
            if head.tag in SEQUENCES and head.representation in (b"SQ", b"UN", b""):
                items, end = self._items(head, depth + 1)
                found.sequences[head.tag] = items
                return end
            if head.length <= MAX_VALUE:
                found.raw[head.tag] = self._bytes(head.value, head.length)
                if head.representation == b"SS":
                    found.signed.add(head.tag)
                return head.value + head.length
        return self._skip(head) if head.length == UNDEFINED else self._step(head)

    def _items(self, head: _Head, depth: int) -> tuple[list[Elements], int]:
        """Return the items of a wanted sequence, and where it ends."""
        if depth > MAX_DEPTH:
            raise self._refusal(f"nests sequences deeper than {MAX_DEPTH}", "nesting")
        end = None if head.length == UNDEFINED else self._step(head)
        at, items = head.value, []
        while (end is None or at < end) and (item := self._head(at)) is not None and item.tag == ITEM:
            elements, at = self._item(item, depth)
            items.append(elements)
            if len(items) > MAX_ITEMS:
                raise self._refusal(f"has a sequence of more than {MAX_ITEMS} items", "size")
        return items, end if end is not None else at + 8

    def _item(self, item: _Head, depth: int) -> tuple[Elements, int]:
        found = Elements(little=self.encoding.little)
        end = None if item.length == UNDEFINED else self._step(item)
        at = item.value
        while (end is None or at < end) and (head := self._head(at)) is not None:
            if head.tag == ITEM_END:
                return found, at + 8
            at = self._take(found, head, WANTED, depth)
        return found, end if end is not None else at

    def _skip(self, head: _Head) -> int:
        """Return where an element of undefined length ends: a flat walk, so that no nesting is too deep."""
        at, depth = head.value, 1
        while depth:
            inner = self._head(at)
            if inner is None:
                raise self._refusal("ends within a sequence", "truncated")
            self._count += 1
            if self._count > MAX_ELEMENTS or depth > MAX_DEPTH:
                raise self._refusal(f"nests sequences deeper than {MAX_DEPTH}, or without end", "nesting")
            if inner.tag in (ITEM_END, SEQUENCE_END):
                depth, at = depth - 1, inner.value
            elif inner.length == UNDEFINED:
                depth, at = depth + 1, inner.value
            else:
                at = self._step(inner)
        return at

    def _step(self, head: _Head) -> int:
        end = head.value + head.length
        if self._source.size is not None and end > self._source.size:
            raise self._refusal(
                f"is cut short: element {head.tag >> 16:04X},{head.tag & 0xFFFF:04X} is said to be {head.length} bytes long",
                "truncated",
            )
        return end

    def _head(self, at: int) -> _Head | None:
        """Return tag, representation, offset and length of the element at ``at``; None at the end."""
        place = at - self._base
        if place + 12 > len(self._window) or place < 0:
            self._window, self._base, place = self._source.read(at, WINDOW), at, 0
            if len(self._window) < 8:
                return None
        window = self._window
        group, element, length = self._tag_and_length(window, place)
        tag = group << 16 | element
        if not self.encoding.explicit or group == 0xFFFE:
            return _Head(tag, b"", at + 8, length)
        representation = window[place + 4 : place + 6]
        if representation in LONG:
            if len(window) < place + 12:
                return None
            return _Head(tag, representation, at + 12, self._long(window, place + 8)[0])
        if not (
            representation.isalpha() and representation.isupper()
        ):  # some writers change to implicit half-way
            return _Head(tag, b"", at + 8, length)
        return _Head(tag, representation, at + 8, self._short(window, place + 6)[0])

    def _bytes(self, at: int, count: int) -> bytes:
        place = at - self._base
        if place < 0 or place + count > len(self._window):
            self._window, self._base, place = self._source.read(at, max(count, WINDOW)), at, 0
        value = self._window[place : place + count]
        if len(value) < count:
            raise self._refusal("ends within its header", "truncated")
        return value

    def _refusal(self, what: str, code: str) -> ImageRefusedError:
        return ImageRefusedError(
            f"{self._path.name} {what}.",
            code=code,
            hint="The file is damaged; export it again from its source.",
        )
