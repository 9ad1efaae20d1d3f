"""The directories of a TIFF, read within limits: no value is fetched before its size is known to be sound."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.slides.source_file import SourceFile

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Directory", "TiffIndex", "read_index"]

MAX_DIRECTORIES = 10_000
MAX_ENTRIES = 4096
MAX_SUBS = 64
MAX_TEXT = 16 << 20
NDPI_FORMAT = 65420
CLASSIC_LIMIT = 1 << 32
NUMBERS = {1: "u1", 3: "u2", 4: "u4", 6: "i1", 7: "u1", 8: "i2", 9: "i4", 11: "f4", 12: "f8", 13: "u4",
           16: "u8", 17: "i8", 18: "u8"}  # fmt: skip
FRACTIONS = {5: "u4", 10: "i4"}
ASCII = 2
UNSIGNED_LONG = (4, 13)
WIDTHS = {ASCII: 1, **dict.fromkeys(FRACTIONS, 8), **{kind: int(form[1]) for kind, form in NUMBERS.items()}}


class Layout(NamedTuple):
    """How directories are laid out: classic TIFF, BigTIFF, or classic with the high halves of offsets behind (NDPI)."""

    order: str
    entries: str
    entry: str
    following: str
    high_halves: bool = False


class Field(NamedTuple):
    """One entry of a directory: its type, the number of its values, and either these or where they stand."""

    kind: int
    length: int
    value: bytes


@dataclass(frozen=True, eq=False)
class Directory:
    """One image of a TIFF.

    Parameters
    ----------
    file : SourceFile
    layout : Layout
    number : int
        Its place in the chain of directories; that of its parent for a sub-directory.
    fields : dict
        By tag.
    """

    file: SourceFile
    layout: Layout
    number: int
    fields: dict[int, Field]

    @property
    def width(self) -> int:
        """In pixels."""
        return self.whole(256)

    @property
    def height(self) -> int:
        """In pixels."""
        return self.whole(257)

    @property
    def samples(self) -> int:
        """Values a pixel."""
        return self.whole(277, 1)

    @property
    def is_tiled(self) -> bool:
        """Whether it is cut into tiles, and not into strips."""
        return 322 in self.fields

    @property
    def is_reduced(self) -> bool:
        """Whether it calls itself a smaller copy of another one."""
        return bool(self.whole(254) & 1) or self.whole(255) == 2

    @property
    def is_mask(self) -> bool:
        """Whether it calls itself the mask of another one."""
        return bool(self.whole(254) & 4)

    @property
    def description(self) -> str:
        """What the writer says about it: never to be shown, since it may name a patient."""
        return self.text(270)

    def whole(self, tag: int, default: int = 0) -> int:
        """Return the first value of a tag as a whole number."""
        values = self.numbers(tag, most=1)
        return int(values[0]) if len(values) else default

    def real(self, tag: int) -> float | None:
        """Return the first value of a tag, or None where it is absent or not finite."""
        values = self.numbers(tag, most=1)
        return float(values[0]) if len(values) and np.isfinite(values[0]) else None

    def numbers(self, tag: int, *, most: int | None = None) -> NDArray[Any]:
        """Return the values of a tag, at most so many of them; none where it is absent or holds text."""
        field = self.fields.get(tag)
        if field is None or (field.kind not in NUMBERS and field.kind not in FRACTIONS):
            return np.empty(0)
        if self.layout.high_halves and field.length == 1 and field.kind in UNSIGNED_LONG:
            return np.frombuffer(field.value, "<u8")
        count = field.length if most is None else min(field.length, most)
        data = self._data(tag, field, count)
        if field.kind in FRACTIONS:
            parts = np.frombuffer(data, self.layout.order + FRACTIONS[field.kind]).astype(np.float64)
            with np.errstate(divide="ignore", invalid="ignore"):
                quotients: NDArray[Any] = parts[::2] / parts[1::2]
            return quotients
        return np.frombuffer(data, self.layout.order + NUMBERS[field.kind])

    def text(self, tag: int) -> str:
        """Return the text of a tag, empty where it has none."""
        field = self.fields.get(tag)
        if field is None or WIDTHS.get(field.kind) != 1:
            return ""
        if field.length > MAX_TEXT:
            raise ImageRefusedError(
                f"{self.file.path.name}: a description of {field.length} bytes.",
                code="size",
                hint="The header is damaged; export the image again from its source.",
            )
        return self._data(tag, field, field.length).split(b"\0", 1)[0].decode("utf-8", "replace")

    def raw(self, tag: int) -> bytes:
        """Return a tag's values as they are stored; empty where it is absent."""
        field = self.fields.get(tag)
        return b"" if field is None or field.length > MAX_TEXT else self._data(tag, field, field.length)

    def subdirectories(self) -> tuple[Directory, ...]:
        """Return the images that hang below this one."""
        offsets = self.numbers(330, most=MAX_SUBS)
        return tuple(_directory(self.file, self.layout, int(offset), self.number)[0] for offset in offsets)

    def _data(self, tag: int, field: Field, count: int) -> bytes:
        width = WIDTHS.get(field.kind, 0)
        # in NDPI four bytes of eight are values
        inline = 4 if self.layout.high_halves else len(field.value)
        if width * field.length <= inline:
            return field.value[: width * count]
        offset = int.from_bytes(field.value, "little" if self.layout.order == "<" else "big")
        self.file.check_inside(offset, width * field.length)
        return self.file.read(offset, width * count)


@dataclass(frozen=True, eq=False)
class TiffIndex:
    """All directories of a TIFF's chain, in order; sub-directories are read when asked for."""

    file: SourceFile
    directories: tuple[Directory, ...]

    @property
    def first(self) -> Directory:
        """The first directory."""
        return self.directories[0]


def read_index(path: Path) -> TiffIndex:
    """Return the directories of a file, their values still unread.

    Raises
    ------
    ImageRefusedError
        Where they form a loop, are too many, or lie beyond the end of the file.
    """
    file = SourceFile(path)
    layout, offset = _start(file)
    directories: list[Directory] = []
    seen: set[int] = set()
    while offset:
        if offset in seen or len(seen) >= MAX_DIRECTORIES:
            what = "form a loop" if offset in seen else f"are more than {MAX_DIRECTORIES}"
            raise ImageRefusedError(
                f"{path.name}: its directories {what}.",
                code="unreadable" if offset in seen else "size",
                hint="The file is damaged or no image; export it again from its source.",
            )
        seen.add(offset)
        directory, offset = _directory(file, layout, offset, len(directories))
        directories.append(directory)
    if not directories:
        raise ImageRefusedError(
            f"{path.name} holds no image.", code="empty", hint="Export it again from its source."
        )
    return TiffIndex(file, tuple(directories))


def _start(file: SourceFile) -> tuple[Layout, int]:
    head = file.read(0, 8)
    order = "<" if head[:2] == b"II" else ">"
    if struct.unpack(order + "H", head[2:4])[0] == 43:
        return Layout(order, "Q", "HHQ8s", "Q"), int(struct.unpack(order + "Q", file.read(8, 8))[0])
    classic = Layout(order, "H", "HHI4s", "I")
    if order == "<" and file.size > CLASSIC_LIMIT:
        # what is smaller reads the same either way
        offset = int.from_bytes(file.read(4, 8), "little")
        if offset + 2 < file.size and NDPI_FORMAT in _directory(file, classic, offset, 0)[0].fields:
            return Layout(order, "H", "HHI4s", "Q", high_halves=True), offset
    return classic, int(struct.unpack(order + "I", head[4:])[0])


def _directory(file: SourceFile, layout: Layout, offset: int, number: int) -> tuple[Directory, int]:
    """Return the directory at an offset, and the offset of the next."""
    order = layout.order
    width = struct.calcsize(order + layout.entries)
    count = int(struct.unpack(order + layout.entries, file.read(offset, width))[0])
    if count > MAX_ENTRIES:
        raise ImageRefusedError(
            f"{file.path.name}: a directory of {count} entries.",
            code="size",
            hint="The file is damaged; copy it again.",
        )
    entry, last = struct.calcsize(order + layout.entry), struct.calcsize(order + layout.following)
    at = offset + width
    table = file.read(at, count * entry + last)
    high = file.read(at + len(table), 4 * count) if layout.high_halves else b""
    fields: dict[int, Field] = {}
    for place, (tag, kind, values, value) in enumerate(
        struct.iter_unpack(order + layout.entry, table[: count * entry])
    ):
        fields.setdefault(tag, Field(kind, values, value + high[4 * place : 4 * place + 4]))
    return Directory(file, layout, number, fields), int(
        struct.unpack(order + layout.following, table[-last:])[0]
    )
