"""Reading safetensors: the header is judged before the library sees a byte of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_medlab.models.bundles.documents import parse_json

if TYPE_CHECKING:
    import torch

__all__ = ["MAX_HEADER_BYTES", "MAX_TENSORS", "MAX_WEIGHT_BYTES", "check_header", "parse_tensors"]

MAX_HEADER_BYTES = 8 << 20
MAX_TENSORS = 10_000
MAX_WEIGHT_BYTES = 4 << 30
MAX_RANK = 8
MAX_KEY = 512
LENGTH_BYTES = 8
ITEM_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}
"""The types of numbers that weights may have."""


def check_header(head: bytes, total: int) -> None:
    """Check the beginning of a safetensors file.

    Parameters
    ----------
    head : bytes
        At least the length and the header that the file begins with.
    total : int
        The size of the whole file in bytes.

    Raises
    ------
    ValueError
        Where the header is too large, no plain JSON, or its tensors are too many, of odd types or shapes, overlap, leave
        gaps, or lie outside the file.
    """
    if total > MAX_WEIGHT_BYTES + MAX_HEADER_BYTES:
        raise ValueError(f"it holds {total} bytes, more than {MAX_WEIGHT_BYTES}")
    if len(head) < LENGTH_BYTES:
        raise ValueError("it is shorter than its own header")
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims {length} bytes, more than {MAX_HEADER_BYTES}")
    if LENGTH_BYTES + length > total:
        raise ValueError(f"its header claims {length} bytes, and the file has {total}")
    header = parse_json(head[LENGTH_BYTES : LENGTH_BYTES + length])
    if not isinstance(header, dict):
        raise ValueError("its header holds no object")
    _check_metadata(header.pop("__metadata__", {}))
    if not 0 < len(header) <= MAX_TENSORS:
        raise ValueError(f"it holds {len(header)} tensors; 1 to {MAX_TENSORS} are read")
    _check_layout([_extent(key, entry) for key, entry in header.items()], total - LENGTH_BYTES - length)


def parse_tensors(payload: bytes) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises
    ------
    ValueError
        As :func:`check_header` does, or where the library finds it damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    check_header(payload, len(payload))
    try:
        tensors: dict[str, torch.Tensor] = load(payload)
    except SafetensorError as error:
        raise ValueError(f"it is damaged: {error}") from error
    return tensors


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its __metadata__ is no table of texts")


def _extent(key: str, entry: object) -> tuple[int, int]:
    """Return where a tensor begins and ends in the data."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"} or len(key) > MAX_KEY:
        raise ValueError(f"its entry {key[:80]!r} is not a tensor's")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise ValueError(f"{key[:80]!r} is of the type {str(dtype)[:20]!r}")
    if not _are_counts(shape) or len(shape) > MAX_RANK or not _are_counts(offsets) or len(offsets) != 2:
        raise ValueError(f"{key[:80]!r} has no proper shape or offsets")
    start, stop = offsets
    if stop - start != math.prod(shape) * ITEM_BYTES[dtype]:
        raise ValueError(f"{key[:80]!r} of shape {shape} does not fit into {stop - start} bytes")
    return start, stop


def _are_counts(value: Any) -> bool:  # noqa: ANN401 - any JSON value
    return isinstance(value, list) and all(type(one) is int and 0 <= one <= MAX_WEIGHT_BYTES for one in value)


def _check_layout(extents: list[tuple[int, int]], size: int) -> None:
    place = 0
    for start, stop in sorted(extents):
        if start != place:
            raise ValueError(f"its tensors {'overlap' if start < place else 'leave a gap'} at byte {start}")
        place = stop
    if place != size:
        raise ValueError(f"its tensors end at byte {place}, and there are {size}")
