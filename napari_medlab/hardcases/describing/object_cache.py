"""What was computed about the objects of a case, kept on disk: whatever is wrong with it, it is computed again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.durable import DiskError, replace_file
from napari_medlab.images.slides.tile_store import cache_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["cache_key", "keep_arrays", "kept_arrays"]

LIMIT_BYTES = 2 << 30
"""What all files of one kind may take together; those not used for longest are deleted."""


def cache_key(*parts: Any) -> str:  # noqa: ANN401 - JSON values and arrays
    """Return a SHA-256 of JSON values and arrays; a change of any of them gives another."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def kept_arrays(kind: str, key: str) -> dict[str, NDArray[Any]] | None:
    """Return the arrays that were kept under a key; None where there are none, or none that can be read."""
    path = _path(kind, key)
    try:
        # read whole first: what is damaged would leave the file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None
    with suppress(OSError):
        os.utime(path)  # used just now
    return arrays


def keep_arrays(kind: str, key: str, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Keep arrays of numbers and text under a key, as far as the disk allows."""
    path = _path(kind, key)
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **dict(arrays))
    with suppress(OSError, DiskError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # about patients: nobody else's to read
        _make_room(path.parent, LIMIT_BYTES - packed.getbuffer().nbytes)
        replace_file(path, packed.getvalue())


def _path(kind: str, key: str) -> Path:
    return cache_folder().with_name(kind) / f"{key}.npz"


def _make_room(folder: Path, limit: int) -> None:
    files = sorted(
        ((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.npz")),
        key=lambda f: f[0],
    )
    total = sum(size for _, size, _ in files)
    for _, size, path in files:
        if total <= limit:
            return
        path.unlink(missing_ok=True)
        total -= size
