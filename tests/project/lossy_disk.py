"""A disk that loses power: what was synced is there, of everything else any part, in any order, torn.

SQLite runs on it as on any other; each write, cut and sync is noted. An image is what a machine could find after the
power failed at one moment: every write since the file's last sync is there or not, sector by sector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    # apsw may be missing where types are checked
    import random
    from collections.abc import Callable

    class VFS:
        def __init__(self, name: str, base: str) -> None: ...
        def xDelete(self, filename: str, syncdir: bool) -> None: ...  # noqa: N802

    class VFSFile:
        def __init__(self, vfs: str, name: object, flags: list[int]) -> None: ...
        def xWrite(self, data: bytes, offset: int) -> None: ...  # noqa: N802
        def xTruncate(self, newsize: int) -> None: ...  # noqa: N802
        def xSync(self, flags: int) -> None: ...  # noqa: N802
else:
    from apsw import VFS, VFSFile

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


class LossyDisk(VFS):
    """Notes what is done to the files of one folder.

    Attributes
    ----------
    files, ghosts : dict
        What is there, and what was deleted without the folder having been synced since: it may still be there.
    on_change : callable or None
        Called before each change.
    """

    def __init__(self) -> None:
        self.files: dict[str, DiskFile] = {}
        self.ghosts: dict[str, DiskFile] = {}
        self.on_change: Callable[[], None] | None = None
        super().__init__(SYSTEM, base="")

    def xOpen(self, name: Any, flags: list[int]) -> LossyFile:  # noqa: ANN401, N802 - apsw's interface
        """Return a file whose changes are noted."""
        self.about_to_change()
        return LossyFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - apsw's interface
        """Delete a file, and note whether that is safe."""
        self.about_to_change()
        super().xDelete(filename, syncdir)
        name = Path(filename).name
        file = self.files.pop(name, None)
        if syncdir:
            self.ghosts.clear()
        elif file is not None and file.safe is not None:
            self.ghosts[name] = file

    def about_to_change(self) -> None:
        """Let somebody look before the next change."""
        if self.on_change is not None:
            self.on_change()

    def settle(self) -> None:
        """Make everything safe, as after a long while."""
        self.ghosts.clear()
        for file in self.files.values():
            file.sync()

    def image(self, folder: Path, chance: random.Random) -> None:
        """Write what may be found after a loss of power into a folder."""
        for name in {**self.ghosts, **self.files}:
            content = self._content(name, chance)
            if content is not None:
                (folder / name).write_bytes(content)

    def _content(self, name: str, chance: random.Random) -> bytes | None:
        file, ghost = self.files.get(name), self.ghosts.get(name)
        if ghost is not None and chance.random() < 0.5:
            return ghost.after_power_loss(chance)
        return file.after_power_loss(chance) if file is not None else None


class LossyFile(VFSFile):
    """One open file; whatever succeeds is noted."""

    def __init__(self, disk: LossyDisk, name: Any, flags: list[int]) -> None:  # noqa: ANN401 - apsw's interface
        super().__init__("", name, flags)
        path = name.filename() if hasattr(name, "filename") else str(name)
        self._disk = disk
        self._file = disk.files.setdefault(Path(path).name, DiskFile())

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's interface
        """Write, and note it."""
        self._disk.about_to_change()
        super().xWrite(data, offset)
        self._file.pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - apsw's interface
        """Cut, and note it."""
        self._disk.about_to_change()
        super().xTruncate(newsize)
        self._file.pending.append(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's interface
        """Make everything safe; the first sync of a log or journal is one of its folder, too."""
        self._disk.about_to_change()
        super().xSync(flags)
        if self._file.safe is None:
            self._disk.ghosts.clear()
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
