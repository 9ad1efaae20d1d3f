"""What the makers of hostile files share: the table's row, and streams that inflate to far more than they are."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = [
    "MIB",
    "SECRET",
    "Bomb",
    "codes",
    "deflated_zeros",
    "gzipped_zeros",
    "saved",
    "zlib_zeros",
]

MIB = 1 << 20
SECRET: bytes = np.random.default_rng(20_240_229).integers(1, 255, 4096, dtype=np.uint8).tobytes()
"""What the neighbouring file holds that nobody asked for."""


@dataclass(frozen=True)
class Bomb:
    """A hostile file.

    Parameters
    ----------
    make : callable
        Writes it into a folder and returns its path.
    codes : frozenset of str or None
        The codes with which it may be refused; None where any of ours will do.
    why : str
        What is wrong with it.
    may_open : bool
        Whether it is harmless to those who read carefully, so that it may open as well.
    needle : bytes
        What must never come back from it.
    """

    make: Callable[[Path], Path]
    codes: frozenset[str] | None
    why: str
    may_open: bool = False
    needle: bytes = b""


def codes(*names: str) -> frozenset[str]:
    """Return codes to choose from; a damaged file may always be called unreadable."""
    return frozenset({"unreadable", *names})


def saved(folder: Path, name: str, data: bytes) -> Path:
    """Write a file and return its path."""
    path = folder / name
    path.write_bytes(data)
    return path


def deflated_zeros(mebibytes: int) -> bytes:
    """Return raw deflate of that many MiB of zeros: one MiB is compressed, and repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    once = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return once * mebibytes + b"\x03\x00"


def zlib_zeros(mebibytes: int) -> bytes:
    """Return a zlib stream of that many MiB of zeros."""
    count = mebibytes * MIB
    return b"\x78\x9c" + deflated_zeros(mebibytes) + ((count % 65521) << 16 | 1).to_bytes(4, "big")


def gzipped_zeros(mebibytes: int, start: bytes = b"") -> bytes:
    """Return gzip of ``start`` and that many MiB of zeros, a member for every 16 of them."""
    return gzip.compress(start, mtime=0) * bool(start) + gzip.compress(bytes(16 * MIB), mtime=0) * (
        mebibytes // 16
    )
