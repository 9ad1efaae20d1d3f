"""Batches of candidates as a few blocks of bytes, so that a million rows load in a second."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import CandidateTable
from napari_medlab.errors import InputRefusedError, ProjectError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ID_BYTES", "PackedBatch", "contains_id", "id_bytes", "pack", "unpack"]

ID_BYTES = 16


@dataclass(frozen=True)
class PackedBatch:
    """The candidates of one batch, little-endian, in the order of the table ``candidate_batches``.

    Parameters
    ----------
    count, ndim : int
        The number of candidates, and of world axes.
    digest : str
        SHA-256 of everything else.
    label_names : str
        JSON list of the distinct labels.
    ids : bytes
        16 for each candidate.
    numbers : bytes
        float64, shape (ndim + 2, count): x, y[, z], score, diameter.
    label_codes : bytes
        int32, (count,): positions in ``label_names``.
    """

    count: int
    ndim: int
    digest: str
    label_names: str
    ids: bytes
    numbers: bytes
    label_codes: bytes


def id_bytes(object_id: str) -> bytes | None:
    """Return the 16 bytes of an id of 32 lower-case hexadecimal digits, or None for anything else."""
    try:
        raw = bytes.fromhex(object_id)
    except ValueError:
        return None
    return raw if len(raw) == ID_BYTES and raw.hex() == object_id else None


def contains_id(ids: bytes, wanted: bytes) -> bool:
    """Tell whether the 16 bytes ``wanted`` are one of the packed ``ids``."""
    at = ids.find(wanted)
    while at >= 0 and at % ID_BYTES:
        at = ids.find(wanted, at + 1)
    return at >= 0


def pack(payload: dict[str, Any]) -> PackedBatch:
    """Pack the payload of a ``candidates.add`` edit.

    Raises
    ------
    InputRefusedError
        Where an id is not 32 hexadecimal digits, an id comes twice, or the columns differ in length.
    """
    ids = [id_bytes(text) for text in payload["ids"]]
    if None in ids or len(set(ids)) != len(ids):
        raise InputRefusedError(
            "A batch of candidates needs ids of 32 lower-case hexadecimal digits, each used once.", code="id"
        )
    count, ndim = len(ids), int(payload["ndim"])
    try:
        numbers = np.empty((ndim + 2, count), dtype="<f8")
        numbers[:ndim] = np.asarray(payload["centres"], dtype=np.float64).reshape(count, ndim).T
        numbers[ndim] = payload["scores"]
        numbers[ndim + 1] = payload["diameters"]
        names, codes = np.unique(np.asarray(payload["labels"], dtype=np.str_), return_inverse=True)
        codes = codes.reshape(count)
    except ValueError as error:
        raise InputRefusedError(
            f"The columns of a batch do not fit together: {error}.", code="shape"
        ) from error
    blocks = (
        json.dumps(names.tolist()),
        b"".join(raw for raw in ids if raw is not None),
        numbers.tobytes(),
        codes.astype("<i4").tobytes(),
    )
    return PackedBatch(count, ndim, _digest(count, ndim, *blocks), *blocks)


def unpack(batches: Sequence[tuple[str, PackedBatch]], least_ndim: int = 2) -> CandidateTable:
    """Return the candidates of many batches, each given with its case, in their order.

    In a table that holds both, or where ``least_ndim`` is 3, planar candidates lie at z = 0.

    Raises
    ------
    ProjectError
        ``bit-rot`` where a batch is not what was stored.
    """
    for case_id, batch in batches:
        _check(case_id, batch)
    filled = [(case_id, batch) for case_id, batch in batches if batch.count]
    ndim = max((least_ndim, *(batch.ndim for _, batch in filled))) if filled else 3
    numbers = np.zeros((ndim + 2, sum(batch.count for _, batch in filled)))
    start = 0
    for _, batch in filled:
        rows = np.frombuffer(batch.numbers, "<f8").reshape(batch.ndim + 2, batch.count)
        numbers[: batch.ndim, start : start + batch.count] = rows[:-2]
        numbers[-2:, start : start + batch.count] = rows[-2:]
        start += batch.count
    labels = [np.asarray(json.loads(b.label_names))[np.frombuffer(b.label_codes, "<i4")] for _, b in filled]
    digits = b"".join(b.ids for _, b in filled).hex().encode("ascii")
    counts = [b.count for _, b in filled]
    return CandidateTable(
        ids=np.frombuffer(digits, dtype=f"S{2 * ID_BYTES}").astype(f"U{2 * ID_BYTES}"),
        case_ids=np.repeat(np.asarray([case_id for case_id, _ in filled], dtype=np.str_), counts),
        labels=np.concatenate(labels) if labels else np.empty(0, dtype=np.str_),
        centres=np.ascontiguousarray(numbers[:ndim].T),
        diameters=numbers[ndim + 1],
        scores=numbers[ndim],
    )


def is_sound(batch: PackedBatch) -> bool:
    """Tell whether a batch still is what was stored."""
    blocks = (batch.label_names, batch.ids, batch.numbers, batch.label_codes)
    return _digest(batch.count, batch.ndim, *blocks) == batch.digest


def _check(case_id: str, batch: PackedBatch) -> None:
    if not is_sound(batch):
        raise ProjectError(
            f"Stored candidates of case {case_id} are not what was written: they were changed from outside.",
            code="bit-rot",
            hint="Check the disk, run 'napari-medlab project verify', and go back to a backup.",
        )


def _digest(count: int, ndim: int, label_names: str, ids: bytes, *blocks: bytes) -> str:
    total = hashlib.sha256(f"{count} {ndim} {label_names}".encode())
    for block in (ids, *blocks):
        total.update(len(block).to_bytes(8, "little"))
        total.update(block)
    return total.hexdigest()
