"""Where each frame of compressed pixel data lies (DICOM PS3.5 A.4)."""

from __future__ import annotations

from itertools import pairwise
from struct import unpack
from typing import IO, TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.dicom.frames import Fragments

__all__ = ["locate_frames"]

ITEM, SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
"""How JPEG, JPEG-LS and JPEG 2000 begin."""
MAX_FRAGMENTS = 1_000_000


def locate_frames(
    path: Path, file: IO[bytes], offset: int, frames: int, extended: list[int] | None
) -> tuple[Fragments, ...]:
    """Return for each frame offset and length of its fragments.

    Parameters
    ----------
    path : Path
        For messages.
    file : binary file
    offset : int
        Of the first item, the basic offset table.
    frames : int
        How many the header announces.
    extended : list of int or None
        The extended offset table, where the header has one.

    Raises
    ------
    ImageRefusedError
        With code ``truncated`` or ``fragments``.
    """
    items = _items(path, file, offset)
    table, fragments = items[0], items[1:]
    if frames == 1:
        groups = [fragments]
    elif len(fragments) == frames:
        groups = [[fragment] for fragment in fragments]
    else:
        groups = _grouped(fragments, _first_bytes(file, table, fragments, extended), frames)
    if len(groups) != frames or not all(groups):
        raise ImageRefusedError(
            f"{path.name} announces {frames} frames, and its pixels are in {len(fragments)} pieces that do not say "
            "which frame they belong to.",
            code="fragments",
            hint="The file is cut short or damaged; copy it again from its source.",
        )
    return tuple(tuple(group) for group in groups)


def _items(path: Path, file: IO[bytes], offset: int) -> list[tuple[int, int]]:
    """Return offset and length of each item's value, the offset table first."""
    size = file.seek(0, 2)
    found: list[tuple[int, int]] = []
    at = offset
    while len(found) < MAX_FRAGMENTS:
        file.seek(at)
        head = file.read(8)
        if head[:4] == SEQUENCE_END:
            break
        length = unpack("<I", head[4:])[0] if len(head) == 8 and head[:4] == ITEM else -1
        if length < 0 and found and at >= size:  # the end mark alone is missing
            break
        if length < 0 or at + 8 + length > size:
            raise ImageRefusedError(
                f"{path.name} is cut short or damaged: piece {len(found)} of its compressed pixels is not there.",
                code="truncated",
                hint="Copy the file again from its source.",
            )
        found.append((at + 8, length))
        at += 8 + length
    if len(found) < 2:
        raise ImageRefusedError(
            f"{path.name} holds no compressed pixels.",
            code="truncated",
            hint="Copy the file again from its source.",
        )
    return found


def _first_bytes(
    file: IO[bytes], table: tuple[int, int], fragments: list[tuple[int, int]], extended: list[int] | None
) -> set[int]:
    """Return where the frames begin, counted from the first fragment's item: by a table, or by how pieces begin."""
    if extended:
        return set(extended)
    if table[1] >= 8:
        file.seek(table[0])
        content = file.read(table[1] // 4 * 4)
        return set(unpack(f"<{len(content) // 4}I", content))
    starts = set()
    for at, _ in fragments:
        file.seek(at)
        if file.read(8).startswith(STARTS):
            starts.add(at - 8 - (fragments[0][0] - 8))
    return starts


def _grouped(fragments: list[tuple[int, int]], starts: set[int], frames: int) -> list[list[tuple[int, int]]]:
    origin = fragments[0][0]
    begins = [number for number, (at, _) in enumerate(fragments) if at - origin in starts]
    if len(begins) != frames or begins[0] != 0:
        return []
    return [fragments[low:high] for low, high in pairwise([*begins, len(fragments)])]
