"""The bytes of a Zarr chunk, decoded by a closed list of codecs and never to more than the chunk has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["checked_codec", "decoded", "without_checksum"]

KNOWN = ("blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "crc32c")
"""Others may run code or call programs: Zarr lets packages register theirs."""
CHECKSUM_BYTES = 4
SLACK = 1 << 16


def checked_codec(path: Path, name: object) -> str:
    """Return the name of a codec that is known here."""
    if name not in KNOWN:
        raise ImageRefusedError(
            f"{path.name}: its chunks go through the codec {str(name)[:64]!r}, which is not read.",
            code="codec",
            hint=f"Save it with one of {', '.join(KNOWN)}.",
        )
    return str(name)


def decoded(data: bytes, codecs: tuple[str, ...], size: int) -> bytes:
    """Return the ``size`` bytes of a chunk; the codecs stand in the order in which they were applied."""
    for number, name in reversed(tuple(enumerate(codecs))):
        data = (
            without_checksum(data)
            if name == "crc32c"
            else _decoder(name)(data, size + (SLACK if number else 0))
        )
    if len(data) != size:
        raise ValueError(f"a chunk decodes to {len(data)} bytes, expected {size}")
    return data


def without_checksum(data: bytes) -> bytes:
    """Return the bytes before their CRC32C, which must be right."""
    import google_crc32c

    body, stated = data[:-CHECKSUM_BYTES], int.from_bytes(data[-CHECKSUM_BYTES:], "little")
    if len(data) < CHECKSUM_BYTES or google_crc32c.value(body) != stated:
        raise ValueError("the checksum of a chunk is wrong")
    return body


def _decoder(name: str) -> Callable[[bytes, int], bytes]:
    import imagecodecs

    options = {"header": True} if name == "lz4" else {}
    # by its name, since each one loads a library of its own
    decode: Callable[..., Any] = getattr(imagecodecs, f"{name}_decode")
    return lambda data, most: bytes(decode(data, out=most, **options))
