"""Reading outlines that came in batches: from the rows of the journal, which alone hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.errors import ProjectError
from napari_medlab.project.region_columns import ID_BYTES, Columns, fill, keys_of, table_of, unpack_regions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.objects import Region

__all__ = [
    "Batch", "assembled", "batch_table", "batches_of", "holders", "outside",
    "refuse_known",
]  # fmt: skip


class Batch(NamedTuple):
    """One batch of outlines: a row of the table ``region_batches``."""

    case_id: str
    batch: str
    run_id: str
    journal_id: int
    outlines: int
    rings: int
    vertices: int
    ndim: int
    keys: bytes


BATCHES = "SELECT case_id, batch, run_id, journal_id, count, rings, vertices, ndim, keys FROM region_batches "


def batches_of(db: sqlite3.Connection, case_id: str | None = None, run_id: str | None = None) -> list[Batch]:
    """Return the batches on a case and of a run, or of any, in the order in which they were added."""
    query = BATCHES + "WHERE (?1 IS NULL OR case_id = ?1) AND (?2 IS NULL OR run_id = ?2) ORDER BY journal_id"
    return [Batch(*row) for row in db.execute(query, (case_id, run_id))]


def batch_table(journal: sqlite3.Connection, batch: Batch) -> RegionTable:
    """Return the outlines of a batch.

    Raises
    ------
    ProjectError
        ``bit-rot`` where they are not what was stored.
    """
    return table_of(batch.case_id, _columns(journal, batch))


def holders(batches: Sequence[Batch], region_ids: Sequence[str]) -> list[Batch]:
    """Return the batches that hold one of the ids, and hardly ever one that does not."""
    wanted = keys_of(_bytes(region_ids))
    return [batch for batch in batches if np.isin(np.frombuffer(batch.keys, "<u8"), wanted).any()]


def outside(batches: Sequence[Batch], region_ids: Sequence[str]) -> list[str]:
    """Return those of the ids that no batch holds."""
    keys = [np.frombuffer(batch.keys, "<u8") for batch in batches]
    if not keys or not region_ids:
        return list(region_ids)
    is_inside = np.isin(keys_of(_bytes(region_ids)), np.concatenate(keys))
    return [region_id for region_id, inside in zip(region_ids, is_inside.tolist(), strict=True) if not inside]


def refuse_known(db: sqlite3.Connection, case_id: str, keys: NDArray[np.uint64]) -> None:
    """Raise ``exists`` where one of the ids, by its key, is that of an outline of the project, on whatever case.

    Edits name an outline by its id alone.
    """
    drawn = db.execute("SELECT DISTINCT object_id FROM regions").fetchall()
    known = [keys_of(_bytes([row[0] for row in drawn]))] if drawn else []
    known += [np.frombuffer(row[0], "<u8") for row in db.execute("SELECT keys FROM region_batches")]
    ordered = np.sort(keys)
    for there in known:
        at = np.searchsorted(ordered, there).clip(max=len(ordered) - 1)
        if len(ordered) and (ordered[at] == there).any():
            raise ProjectError(
                f"The project has an outline of that id already as one of the batch on case {case_id}.",
                code="exists",
                hint="Give every outline of the project an id of its own.",
            )


def assembled(
    journal: sqlite3.Connection,
    case_id: str,
    batches: Sequence[Batch],
    edits: Mapping[str, Region | None],
    more: Sequence[Region] = (),
) -> RegionTable:
    """Return the outlines of many batches as one table, each column made once.

    Parameters
    ----------
    journal : sqlite3.Connection
        Reads the rows of the journal.
    case_id : str
    batches : sequence of Batch
        Those on the case, in their order.
    edits : mapping of str to Region or None
        What stands in the place of outlines of the batches, by id; None for those that were removed.
    more : sequence of Region
        What is not in any batch, to stand at the end.

    Raises
    ------
    ProjectError
        ``bit-rot`` where a batch is not what was stored.
    """
    if not batches:
        return RegionTable.from_regions(case_id, more)
    touched = {batch.journal_id for batch in holders(batches, list(edits))} if edits else set()
    edited = {
        batch.journal_id: _edited(batch_table(journal, batch), edits)
        for batch in batches
        if batch.journal_id in touched
    }
    pieces: list[Batch | RegionTable] = [edited.get(batch.journal_id, batch) for batch in batches]
    if more:
        pieces.append(RegionTable.from_regions(case_id, more))
    return _joined(journal, case_id, pieces, batches[0].ndim)


def _joined(
    journal: sqlite3.Connection, case_id: str, pieces: Sequence[Batch | RegionTable], ndim: int
) -> RegionTable:
    """Return all outlines as one table; a batch is read when its turn comes, and its place is made before."""
    count, rings, vertices = np.asarray([_sizes(piece) for piece in pieces]).sum(axis=0).tolist()
    names: dict[str, int] = {}
    tables = [piece for piece in pieces if isinstance(piece, RegionTable)]
    widths = [ids.dtype.itemsize for table in tables for ids in (table.ids, table.owner_ids)]
    ids, owner_ids = (np.empty(count, f"S{max([ID_BYTES, *widths])}") for _ in range(2))
    labels, scores = np.empty(count, np.int32), np.empty(count)
    region_rings, ring_starts = np.zeros(count + 1, np.int64), np.zeros(rings + 1, np.int64)
    places = np.empty((vertices, ndim))
    row = ring = vertex = 0
    for piece in pieces:
        part = _columns(journal, piece) if isinstance(piece, Batch) else piece
        n, k, v = _sizes(piece)
        codes = np.asarray([names.setdefault(name, len(names)) for name in part.label_names], dtype=np.int32)
        ids[row : row + n], owner_ids[row : row + n] = part.ids, part.owner_ids
        labels[row : row + n], scores[row : row + n] = codes[part.labels], part.scores
        if isinstance(part, Columns):
            region_rings[row + 1 : row + n + 1], ring_starts[ring + 1 : ring + k + 1] = (
                part.ring_counts,
                part.vertex_counts,
            )
            fill(part, places[vertex : vertex + v])
        else:
            region_rings[row + 1 : row + n + 1], ring_starts[ring + 1 : ring + k + 1] = (
                np.diff(part.region_rings), np.diff(part.ring_starts),
            )  # fmt: skip
            places[vertex : vertex + v] = part.vertices
        row, ring, vertex = row + n, ring + k, vertex + v
    for starts in (region_rings, ring_starts):
        np.cumsum(starts, out=starts)
    return RegionTable(
        case_id, ids, owner_ids, labels, tuple(names), scores, region_rings, ring_starts, places
    )


def _sizes(piece: Batch | RegionTable) -> tuple[int, int, int]:
    """Return how many outlines, rings and vertices there are."""
    if isinstance(piece, Batch):
        return piece.outlines, piece.rings, piece.vertices
    return len(piece), len(piece.ring_starts) - 1, len(piece.vertices)


def _columns(journal: sqlite3.Connection, batch: Batch) -> Columns:
    from napari_medlab.project.journal import entry_of, read_row

    entry = entry_of(read_row(journal, batch.journal_id))
    columns = unpack_regions(entry.payload)
    stored = (entry.case_id, entry.payload["batch"], entry.payload["run_id"], columns.ndim)
    sizes = (len(columns.ids), len(columns.vertex_counts), len(columns.numbers))
    if (*stored, *sizes) != (batch.case_id, batch.batch, batch.run_id, batch.ndim, *_sizes(batch)):
        raise ProjectError(
            f"The table of outlines of case {batch.case_id} does not fit what was written: it was changed.",
            code="bit-rot",
            hint="Check the disk, run 'napari-medlab project verify', and go back to a backup.",
        )
    return columns


def _edited(table: RegionTable, edits: Mapping[str, Region | None]) -> RegionTable:
    """Return a table with outlines replaced, in their places and with their scores, or removed."""
    wanted = _bytes(list(edits))
    rows = np.flatnonzero(np.isin(table.ids, wanted))
    now = {row: edits[table.ids[row].decode()] for row in rows.tolist()}
    kept = np.setdiff1d(np.arange(len(table)), rows)
    there = [row for row, region in now.items() if region is not None]
    regions = [region for region in now.values() if region is not None]
    order = np.argsort(np.concatenate([kept, np.asarray(there, dtype=np.int64)]), kind="stable")
    replaced = RegionTable.from_regions(table.case_id, regions, table.scores[there].tolist(), table.ndim)
    return RegionTable.joined([table.where(kept), replaced]).where(order)


def _bytes(region_ids: Sequence[str]) -> NDArray[np.bytes_]:
    """Return ids as a column; what does not fit into it is the id of nothing that came in a batch."""
    coded = [region_id.encode() for region_id in region_ids]
    return np.asarray([one if len(one) <= ID_BYTES else b"" for one in coded], dtype=f"S{ID_BYTES}")
