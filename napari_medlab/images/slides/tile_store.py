"""A cache on disk for tiles that took long to make: one SQLite file an image, the ones used least recently deleted."""

from __future__ import annotations

import hashlib
import math
import os
import sqlite3
import threading
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["LIMIT_BYTES", "TileStore", "cache_folder"]

LIMIT_BYTES = 20 << 30
LIMIT_VARIABLE, FOLDER_VARIABLE = "MEDLAB_CACHE_MIB", "MEDLAB_CACHE_DIR"
MIB = 1 << 20
COMPRESSION = 1
CHECK_EVERY = 256
SCHEMA = "CREATE TABLE IF NOT EXISTS tiles (place TEXT PRIMARY KEY, crc INTEGER, data BLOB) WITHOUT ROWID"


def cache_folder() -> Path:
    """Return where tiles are kept: ``MEDLAB_CACHE_DIR``, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_dir("napari-medlab")) / "pyramids"


class TileStore:
    """The tiles of one image. It is a cache: whatever is wrong with it, tiles are made again.

    Parameters
    ----------
    path : Path
        An SQLite file, made where there is none.
    limit_bytes : int
        What all the files in its folder may take together; nothing more is written beyond that.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path, self._limit = path, limit_bytes
        self._lock = threading.Lock()
        self._puts = 0
        self._is_full = False
        self._database: sqlite3.Connection | None = None
        with suppress(OSError, sqlite3.Error):
            path.parent.mkdir(
                mode=0o700, parents=True, exist_ok=True
            )  # patients' pixels: nobody else's to read
            self._database = _connect(path)
            path.touch()

    @classmethod
    def of(cls, name: str) -> TileStore:
        """Return the store of an image, by whatever tells it from all others."""
        stated = os.environ.get(LIMIT_VARIABLE, "")
        limit = int(stated) * MIB if stated.isdecimal() else LIMIT_BYTES
        return cls(cache_folder() / f"{hashlib.sha256(name.encode()).hexdigest()}.sqlite", limit)

    def has(self, level: int, index: tuple[int, ...]) -> bool:
        """Tell whether a tile is kept."""
        return bool(self._rows("SELECT 1 FROM tiles WHERE place = ?", _place(level, index)))

    def get(
        self, level: int, index: tuple[int, ...], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> NDArray[Any] | None:
        """Return a tile, or None where it is not kept or no longer what was put there."""
        place = _place(level, index)
        rows = self._rows("SELECT crc, data FROM tiles WHERE place = ?", place)
        # damaged, a row may hold anything in place of bytes
        if not rows or not isinstance(rows[0][1], bytes) or _crc(place, rows[0][1]) != rows[0][0]:
            return None
        import imagecodecs

        expected = math.prod(shape) * dtype.itemsize
        data = imagecodecs.zstd_decode(rows[0][1], out=expected)
        return np.frombuffer(data, dtype).reshape(shape) if len(data) == expected else None

    def put(self, level: int, index: tuple[int, ...], tile: NDArray[Any]) -> None:
        """Keep a tile, as long as there is room."""
        import imagecodecs

        with self._lock:
            if self._database is None:
                return
            self._puts += 1
            if self._puts % CHECK_EVERY == 1:
                self._is_full = not self._make_room()
            if self._is_full:
                return
        data = bytes(imagecodecs.zstd_encode(np.ascontiguousarray(tile).tobytes(), level=COMPRESSION))
        place = _place(level, index)
        self._rows("INSERT OR REPLACE INTO tiles VALUES (?, ?, ?)", place, _crc(place, data), data)

    def close(self) -> None:
        """Let the file go; from now on nothing is kept."""
        with self._lock:
            self._close()

    def __del__(self) -> None:
        self._close()

    def _rows(self, statement: str, *values: Any) -> list[Any]:  # noqa: ANN401 - whatever SQLite stores
        with self._lock:
            if self._database is None:
                return []
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                self._close()  # full or damaged: this image does without
                if _is_damaged(error):
                    with suppress(OSError):
                        _delete(self._path)
                return []

    def _close(self) -> None:
        database, self._database = getattr(self, "_database", None), None
        if database is not None:
            with suppress(sqlite3.Error):
                database.close()

    def _make_room(self) -> bool:
        """Delete the files of other images, the least recently used first, until there is room; tell whether there is."""
        with suppress(OSError):
            files = sorted(self._path.parent.glob("*.sqlite"), key=_last_used)
            sizes = {file: sum(map(_size, _parts(file))) for file in files}
            total = sum(sizes.values())
            for file in files:
                if total <= self._limit:
                    break
                if file != self._path:
                    _delete(file)
                    total -= sizes[file]
            return total <= self._limit
        return False


def _connect(path: Path) -> sqlite3.Connection:
    for attempt in range(2):
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            # killed at any moment it stays whole; after a power cut tiles are made again
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = OFF")
            database.execute(SCHEMA)
        except sqlite3.Error as error:
            database.close()
            if attempt or not _is_damaged(error):
                raise
            _delete(path)
        else:
            return database
    raise sqlite3.OperationalError("no cache")


def _is_damaged(error: sqlite3.Error) -> bool:
    """Tell whether a file is no database or no longer a whole one; else it may be in use, or its disk be full."""
    return getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _parts(path: Path) -> list[Path]:
    """Return a database and what SQLite lays beside it: a log of one would spoil another of its name."""
    return [path, *(path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal"))]


def _delete(path: Path) -> None:
    for part in _parts(path):
        part.unlink(missing_ok=True)


def _last_used(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0


def _crc(place: str, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(place.encode()))


def _place(level: int, index: tuple[int, ...]) -> str:
    return "/".join(map(str, (level, *index)))
