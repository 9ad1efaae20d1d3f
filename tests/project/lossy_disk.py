"""A disk that loses power: what was synced is there, of everything else any part, in any order, torn.

SQLite runs on it as on any other; each write, cut and sync is noted. An image is what a machine could find after the
power failed at one moment: every write since the file's last sync is there or not, sector by sector.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

SECTOR = 512
SYSTEM = "lossy"


@dataclass
class DiskFile:
    """One file: what is safe, and what has been done to it since it was last synced.

    Parameters
    ----------
    safe : bytes or None
        The content after the last sync; None where the file itself may be gone.
    pending : list of (offset, bytes) and of lengths to which it was cut
    """

    safe: bytes | None = None
    pending: list[tuple[int, bytes] | int] = field(default_factory=list)

    def sync(self) -> None:
        """Make everything safe."""
        content = bytearray(self.safe or b"")
        for change in self.pending:
            _apply(content, change)
        self.safe, self.pending = bytes(content), []

    def after_power_loss(self, chance: random.Random) -> bytes | None:
        """Return one content that may be found; None where the file may not be there at all."""
        if self.safe is None and chance.random() < 0.25:
            return None
        content = bytearray(self.safe or b"")
        pending = [change for change in self.pending if chance.random() < 0.6]
        if chance.random() < 0.5:
            chance.shuffle(pending)
        for change in pending:
            _apply(content, _torn(change, chance))
        return bytes(content)


class LossyDisk(apsw.VFS):
    """Notes what is done to the files of one folder."""

    def __init__(self) -> None:
        self.files: dict[str, DiskFile] = {}
        super().__init__(SYSTEM, base="")

    def xOpen(self, name: Any, flags: list[int]) -> LossyFile:  # noqa: ANN401, N802 - apsw's interface
        """Return a file whose changes are noted."""
        return LossyFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802 - apsw's interface
        """Delete a file: at once, as none of ours is ever needed after it was deleted."""
        super().xDelete(filename, syncdir)
        self.files.pop(Path(filename).name, None)

    def image(self, folder: Path, chance: random.Random) -> None:
        """Write what may be found after a loss of power into a folder."""
        for name, file in self.files.items():
            content = file.after_power_loss(chance)
            if content is not None:
                (folder / name).write_bytes(content)


class LossyFile(apsw.VFSFile):
    """One open file; whatever succeeds is noted."""

    def __init__(self, disk: LossyDisk, name: Any, flags: list[int]) -> None:  # noqa: ANN401 - apsw's interface
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._file = disk.files.setdefault(Path(path).name, DiskFile())

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's interface
        """Write, and note it."""
        super().xWrite(data, offset)
        self._file.pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's interface
        """Cut, and note it."""
        super().xTruncate(newsize)
        self._file.pending.append(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's interface
        """Make everything safe."""
        super().xSync(flags)
        self._file.sync()


def _apply(content: bytearray, change: tuple[int, bytes] | int) -> None:
    if isinstance(change, int):
        del content[change:]
        return
    offset, data = change
    if len(content) < offset + len(data):
        content.extend(bytes(offset + len(data) - len(content)))
    content[offset : offset + len(data)] = data


def _torn(change: tuple[int, bytes] | int, chance: random.Random) -> tuple[int, bytes] | int:
    """Return a write, or the first of its sectors alone."""
    if isinstance(change, int) or chance.random() < 0.7:
        return change
    offset, data = change
    first = SECTOR - offset % SECTOR
    sectors = max(0, -(-(len(data) - first) // SECTOR))
    kept = first + SECTOR * chance.randrange(sectors) if sectors else chance.choice((0, len(data)))
    return offset, data[:kept]
