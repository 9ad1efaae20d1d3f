"""Small pictures kept on disk: one file each, the ones used least recently deleted."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.slides.tile_store import cache_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["PictureCache"]

LIMIT_BYTES = 1 << 30
LIMIT_VARIABLE = "MEDLAB_CACHE_MIB"
CHECK_EVERY = 1000
ROOM = 0.9
"""To this share of the limit the folder is brought back, so that this is not to be done again at once."""


class PictureCache:
    """A folder of arrays by name. It is a cache: whatever is wrong with it, pictures are made again.

    Safe to use from several threads and several windows. A damaged file is noticed by its checksum.

    Parameters
    ----------
    folder : Path
        Made where there is none; nobody else may read what is in it.
    limit_bytes : int
        What its files may take together.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        stated = os.environ.get(LIMIT_VARIABLE, "")
        self._folder = folder
        self._limit = min(limit_bytes, int(stated) << 20) if stated.isdecimal() else limit_bytes
        self._puts = 0
        self._lock = threading.Lock()
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # patients' pixels: nobody else's to read

    @classmethod
    def named(cls, name: str, limit_bytes: int = LIMIT_BYTES) -> PictureCache:
        """Return the cache of this name, beside that of the pyramids: see ``MEDLAB_CACHE_DIR``."""
        return cls(cache_folder().parent / name, limit_bytes)

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """Return what was put under a key, or None where it is not kept or damaged."""
        path = self._path(key)
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        with suppress(OSError):
            os.utime(path)
        return arrays

    def put(self, key: str, **arrays: NDArray[Any]) -> None:
        """Keep arrays under a key, where the disk lets us."""
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        path = self._path(key)
        partial = path.with_name(f"{path.stem}.{os.getpid()}-{threading.get_ident()}.part")
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(packed.getbuffer())
            partial.replace(path)
        with self._lock:
            self._puts += 1
            is_due = self._puts % CHECK_EVERY == 1
        if is_due:
            self._make_room()

    def _path(self, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self._folder / digest[:2] / f"{digest}.npz"

    def _make_room(self) -> None:
        with suppress(OSError):
            files = [(path, path.stat()) for path in self._folder.glob("*/*")]
            total = sum(state.st_size for _, state in files)
            if total <= self._limit:
                return
            for path, state in sorted(files, key=lambda pair: pair[1].st_mtime):
                if total <= ROOM * self._limit:
                    return
                path.unlink(missing_ok=True)
                total -= state.st_size
