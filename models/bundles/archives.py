"""Zip files from elsewhere: judged by their tables of contents, unpacked by us, never beyond a folder."""

from __future__ import annotations

import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

from napari_medlab.safe_paths import safe_join

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["MAX_ARCHIVE_BYTES", "MAX_MEMBERS", "check_members", "contents", "unpack"]

MAX_ARCHIVE_BYTES = 4 << 30
MAX_MEMBERS = 20_000
BLOCK_BYTES = 1 << 20
END_RECORD = b"PK\x05\x06"
END_RECORD_BYTES = 22 + 0xFFFF
COUNT_AT = slice(10, 12)
TABLE_BYTES_AT = slice(12, 16)
MAX_TABLE_BYTES = 64 << 20


def contents(path: Path, *, most_bytes: int = MAX_ARCHIVE_BYTES) -> list[zipfile.ZipInfo]:
    """Return the members of a zip file, having checked how many there are and how large they claim to be.

    Raises
    ------
    ValueError
        Where it is no zip file, has over 20,000 members or a member twice, or unpacks to more than ``most_bytes``.
    """
    _check_end(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"it is a damaged archive: {error}") from error
    if len(members) > MAX_MEMBERS:
        raise ValueError(f"it holds {len(members)} files, more than {MAX_MEMBERS}")
    names = {member.filename for member in members}
    if len(names) < len(members):
        raise ValueError("it holds a file twice")
    total = sum(member.file_size for member in members)
    if total > most_bytes:
        raise ValueError(f"it unpacks to {total} bytes, more than {most_bytes}")
    return members


def check_members(members: Iterable[zipfile.ZipInfo], folder: Path) -> None:
    """Check that every member is a plain file that lies inside the folder.

    Raises
    ------
    ValueError
        Where one is a link, a device, encrypted, or named so that it would lie elsewhere.
    """
    for member in members:
        safe_join(folder, member.filename)
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"{member.filename[:80]!r} is a link or a device")
        if member.flag_bits & 1:
            raise ValueError(f"{member.filename[:80]!r} is encrypted")


def unpack(path: Path, members: Iterable[zipfile.ZipInfo], folder: Path) -> None:
    """Write members of a zip file, which :func:`check_members` has seen, into a folder.

    Raises
    ------
    ValueError
        Where one is damaged, or longer than it says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for member in members:
                if member.is_dir():
                    continue
                target = safe_join(folder, member.filename)
                target.parent.mkdir(parents=True, exist_ok=True)
                _copy(archive, member, target)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error


def _check_end(path: Path) -> None:
    """Check the count of members before the library makes an object of each."""
    size = path.stat().st_size
    if size > MAX_ARCHIVE_BYTES:
        raise ValueError(f"it holds {size} bytes, more than {MAX_ARCHIVE_BYTES}")
    with path.open("rb") as file:
        file.seek(max(0, size - END_RECORD_BYTES))
        tail = file.read()
    place = tail.rfind(END_RECORD)
    if place < 0:
        raise ValueError("it is no complete zip file")
    record = tail[place:]
    count, table = (
        int.from_bytes(record[COUNT_AT], "little"),
        int.from_bytes(record[TABLE_BYTES_AT], "little"),
    )
    # 64-bit archives give all ones where a number does not fit, which is more than is read either way
    if count > MAX_MEMBERS:
        raise ValueError(f"it holds {count} files or more, and {MAX_MEMBERS} are read")
    if table > MAX_TABLE_BYTES:
        raise ValueError(f"its table of contents has {table} bytes, more than {MAX_TABLE_BYTES}")


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    left = member.file_size
    with archive.open(member) as source, target.open("xb") as copy:
        while block := source.read(BLOCK_BYTES):
            left -= len(block)
            if left < 0:
                raise ValueError(f"{member.filename[:80]!r} is longer than it says")
            copy.write(block)
