"""Outlines by the thousand, as the journal keeps them: their columns as text, the coordinates as whole numbers.

Coordinates that are multiples of 1, 1/2 or 1/256 are stored as 32-bit whole numbers, of which each vertex holds the
step from the one before it in its ring: with the compression of the journal that is a tenth of what float64 takes.
Whatever cannot be stored so without a loss is stored as float64.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.errors import InputRefusedError, ProjectError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

__all__ = ["ID_BYTES", "Columns", "fill", "keys_of", "pack_regions", "table_of", "unpack_regions"]

SCALES = (1, 2, 256)
"""What coordinates are multiplied with to become whole numbers; 0 stands for float64."""
DIGITS = re.compile(rb"[0-9a-f]*")
ID_BYTES = 32
WIDTHS = ("<i1", "<i2", "<i4")
FACTORS = np.asarray(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5], dtype=np.uint64
)
"""Odd numbers that spread the bits of an id."""


@dataclass(frozen=True)
class Columns:
    """One batch of outlines as the journal holds it, its coordinates still as they were stored.

    Parameters
    ----------
    ids, owner_ids : bytes arrays ``S32``, (n,)
    labels : int32 array, (n,)
    label_names : tuple of str
    scores : float64 array, (n,)
    ring_counts : int64 array, (n,); the rings of each outline
    vertex_counts : int64 array, (rings,); the vertices of each ring
    ndim, scale : int
    numbers : array of whole numbers or float64, (vertices, ndim)
    first : int32 array, (rings, ndim); where each ring that has vertices begins, empty for float64
    """

    ids: NDArray[np.bytes_]
    owner_ids: NDArray[np.bytes_]
    labels: NDArray[np.int32]
    label_names: tuple[str, ...]
    scores: NDArray[np.float64]
    ring_counts: NDArray[np.int64]
    vertex_counts: NDArray[np.int64]
    ndim: int
    scale: int
    numbers: NDArray[Any]
    first: NDArray[np.int32]


def pack_regions(table: RegionTable) -> dict[str, Any]:
    """Return the columns of a table as JSON values, little-endian and in base 64.

    Raises
    ------
    InputRefusedError
        ``id`` where an outline has no id or one that another has, ``shape`` where a coordinate or a score is not finite.
    """
    _check(table)
    scale, numbers, first = _steps(table)
    names, labels = _used_labels(table)
    return {
        "count": len(table),
        "ndim": table.ndim,
        "ids": _pack_ids(table.ids),
        "owner_ids": _pack_ids(table.owner_ids) if (table.owner_ids != b"").any() else "",
        "label_names": names,
        "labels": _text(labels, "<i4") if len(names) > 1 else "",
        "scores": _text(table.scores, "<f8") if not np.isnan(table.scores).all() else "",
        "ring_counts": _text(np.diff(table.region_rings), "<u4"),
        "vertex_counts": _text(np.diff(table.ring_starts), "<u4"),
        "scale": scale,
        "first": _text(first, "<i4"),
        "width": numbers.dtype.itemsize,
        "numbers": _text(numbers, numbers.dtype),
    }


def unpack_regions(payload: dict[str, Any]) -> Columns:
    """Read what :func:`pack_regions` wrote.

    Raises
    ------
    ProjectError
        ``bit-rot`` where the columns do not fit together.
    """
    try:
        return _unpack(payload)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ProjectError(f"A stored batch of outlines cannot be read: {error}.", code="bit-rot") from error


def table_of(case_id: str, columns: Columns) -> RegionTable:
    """Return a batch as a table of its own."""
    vertices = np.empty((len(columns.numbers), columns.ndim))
    fill(columns, vertices)
    return RegionTable(
        case_id=case_id,
        ids=columns.ids,
        owner_ids=columns.owner_ids,
        labels=columns.labels,
        label_names=columns.label_names,
        scores=columns.scores,
        region_rings=np.concatenate([[0], np.cumsum(columns.ring_counts)]),
        ring_starts=np.concatenate([[0], np.cumsum(columns.vertex_counts)]),
        vertices=vertices,
    )


def fill(columns: Columns, out: NDArray[np.float64]) -> None:
    """Write the coordinates of a batch into an array, float64 (vertices, ndim)."""
    if columns.scale == 0:
        out[:] = columns.numbers
        return
    counts = columns.vertex_counts[columns.vertex_counts > 0]
    if not len(counts):
        return
    starts = np.cumsum(counts) - counts
    # float64 holds every sum of steps exactly
    np.cumsum(columns.numbers, axis=0, dtype=np.float64, out=out)
    out -= np.repeat(out[starts] - columns.first, counts, axis=0)
    if columns.scale != 1:
        out /= columns.scale


def keys_of(ids: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Return 64 bits for each id, ``S32`` (n,), by which the batch that holds it is found."""
    words = np.ascontiguousarray(ids, dtype=f"S{ID_BYTES}").view("<u8").reshape(len(ids), 4)
    mixed = np.bitwise_xor.reduce((words ^ (words >> np.uint64(29))) * FACTORS, axis=1)
    keys: NDArray[np.uint64] = (mixed ^ (mixed >> np.uint64(32))).astype("<u8")
    return keys


def _check(table: RegionTable) -> None:
    if any(
        (np.char.str_len(ids) > ID_BYTES).any()
        for ids in (table.ids, table.owner_ids)
        if ids.dtype.itemsize > ID_BYTES
    ):
        raise InputRefusedError(
            f"An outline of the batch, or its owner, has an id of more than {ID_BYTES} bytes.", code="id"
        )
    if (table.ids == b"").any() or len(np.unique(keys_of(table.ids))) != len(table):
        raise InputRefusedError("A batch of outlines needs ids, each used once.", code="id")
    if not np.isfinite(table.vertices).all() or np.isinf(table.scores).any():
        raise InputRefusedError(
            "An outline of the batch has a coordinate or a score that is not finite.", code="shape"
        )


def _used_labels(table: RegionTable) -> tuple[list[str], NDArray[np.int32]]:
    used, labels = np.unique(table.labels, return_inverse=True)
    return [table.label_names[code] for code in used.tolist()], labels.reshape(len(table)).astype(np.int32)


def _steps(table: RegionTable) -> tuple[int, NDArray[Any], NDArray[np.int32]]:
    """Return the scale, the step to each vertex from the one before in its ring, and where the rings begin."""
    empty = np.zeros((0, table.ndim), dtype=np.int32)
    whole = _whole(table.vertices)
    if whole is None:
        return 0, np.ascontiguousarray(table.vertices, dtype="<f8"), empty
    scale, numbers = whole
    starts = table.ring_starts[:-1][np.diff(table.ring_starts) > 0]
    first = numbers[starts].astype(np.int32)
    steps = np.diff(numbers, axis=0, prepend=numbers[:1])
    steps[starts] = 0
    most = int(np.abs(steps).max(initial=0))
    width = next(width for width in (*WIDTHS, "<i8") if most <= np.iinfo(width).max)
    return scale, steps.astype(width), first


def _whole(vertices: NDArray[np.float64]) -> tuple[int, NDArray[np.int64]] | None:
    """Return the least scale at which every coordinate is a whole number of 32 bits, and those; None for none."""
    if np.abs(vertices).max(initial=0.0) * SCALES[-1] >= np.iinfo(np.int32).max:
        return None
    bits = np.ascontiguousarray(vertices).view(np.int64)
    for scale in SCALES:
        numbers = np.rint(vertices * scale).astype(np.int64)
        if np.array_equal((numbers / scale).view(np.int64), bits):  # bit by bit: -0.0 is not 0.0
            return scale, numbers
    return None


def _pack_ids(ids: NDArray[np.bytes_]) -> str:
    """Return ids of 32 hexadecimal digits as 16 bytes each, any others as 32."""
    raw = np.ascontiguousarray(ids, dtype=f"S{ID_BYTES}").tobytes()
    if DIGITS.fullmatch(raw):
        raw = bytes.fromhex(raw.decode())
    return binascii.b2a_base64(raw, newline=False).decode()


def _unpack_ids(text: str, count: int) -> NDArray[np.bytes_]:
    raw = binascii.a2b_base64(text)
    if count and len(raw) == count * ID_BYTES // 2:
        raw = raw.hex().encode()
    if not raw:
        return np.zeros(count, dtype=f"S{ID_BYTES}")
    return np.frombuffer(raw, dtype=f"S{ID_BYTES}", count=count)


def _text(values: NDArray[Any], dtype: DTypeLike) -> str:
    return binascii.b2a_base64(np.ascontiguousarray(values, dtype=dtype).data, newline=False).decode()


def _array(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(binascii.a2b_base64(text), dtype=dtype)


def _unpack(payload: dict[str, Any]) -> Columns:
    count, ndim, scale = (int(payload[name]) for name in ("count", "ndim", "scale"))
    width = int(payload["width"])
    ring_counts, vertex_counts = (
        _array(payload[name], "<u4").astype(np.int64) for name in ("ring_counts", "vertex_counts")
    )
    numbers = _array(payload["numbers"], f"<{'i' if scale else 'f'}{width}").reshape(-1, ndim)
    first = _array(payload["first"], "<i4").reshape(-1, ndim)
    labels = _array(payload["labels"], "<i4") if payload["labels"] else np.zeros(count, np.int32)
    scores = _array(payload["scores"], "<f8") if payload["scores"] else np.full(count, np.nan)
    begun = int((vertex_counts > 0).sum()) if scale else 0
    expected = (count, int(ring_counts.sum()), int(vertex_counts.sum()), count, count, begun)
    found = (len(ring_counts), len(vertex_counts), len(numbers), len(labels), len(scores), len(first))
    if found != expected:
        msg = f"the columns have the lengths {found}, expected {expected}"
        raise ValueError(msg)
    return Columns(
        ids=_unpack_ids(payload["ids"], count),
        owner_ids=_unpack_ids(payload["owner_ids"], count),
        labels=labels,
        label_names=tuple(payload["label_names"]),
        scores=scores,
        ring_counts=ring_counts,
        vertex_counts=vertex_counts,
        ndim=ndim,
        scale=scale,
        numbers=numbers,
        first=first,
    )
