"""What of a project goes out: the cases and objects that were chosen, each object with an outline, under keys."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations import Region, RegionTable
from napari_medlab.annotations.image_regions import ImageRegions
from napari_medlab.annotations.measures import measured
from napari_medlab.correcting.proposals import ball
from napari_medlab.correcting.regions import joined
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, polygons
from napari_medlab.project.keep_lists import Keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.project import CaseRecord, Project

__all__ = ["CaseObjects", "Selection", "collected"]

SHOWN = 10
ID_LENGTH = 32


@dataclass(frozen=True)
class Selection:
    """What is to go out; what is left out asks for nothing.

    Parameters
    ----------
    cases : tuple of str
        Names or ids of cases.
    split : {"train", "test", ""}
    labels : frozenset of str
        Objects of these classes.
    object_ids : frozenset of str or None
        These objects, such as those that a filter lets through; the cases stay, with what is left.
    run_id : str
        The run whose candidates go out; empty for the reference, as it was corrected.
    """

    cases: tuple[str, ...] = ()
    split: str = ""
    labels: frozenset[str] = frozenset()
    object_ids: frozenset[str] | None = None
    run_id: str = ""

    def chosen(self, project: Project) -> list[CaseRecord]:
        """Return the cases that are asked for, in the project's order.

        Raises
        ------
        InputRefusedError
            ``unknown-case`` for names that no case has; ``empty`` where no case is left.
        """
        cases = project.cases()
        wanted = set(self.cases)
        strangers = sorted(wanted - {name for case in cases for name in (case.case_id, case.name)})
        if strangers:
            raise InputRefusedError(
                f"The project has no case {', '.join(strangers[:SHOWN])}.",
                code="unknown-case",
                hint="Name cases as the project lists them, or by their ids.",
            )
        done = project.cases_done(self.run_id) if self.run_id else None
        chosen = [
            case
            for case in cases
            if (not wanted or {case.case_id, case.name} & wanted)
            and (not self.split or case.split == self.split)
            and (done is None or case.case_id in done)
        ]
        if not chosen:
            raise InputRefusedError(
                "Nothing is left to be exported: no case meets what was asked for.",
                code="empty",
                hint="Ask for fewer conditions; a run has to have looked at the cases.",
            )
        return chosen


@dataclass(frozen=True, eq=False)
class CaseObjects:
    """One case as it goes out: by its key, with nothing of what names it.

    Parameters
    ----------
    case : CaseRecord
        For what is not written: where its image lies, and its kind.
    key : str
        What it is called outside.
    grid : Grid
    ids, labels : list of str
        Of the objects; ids are keys, too.
    centres : float64 array, (n, ndim), world, ordered (x, y[, z])
    diameters : float64 array, (n,); -1 where unknown
    scores : float64 array, (n,); nan for findings
    is_excluded : bool array, (n,)
    drawn : dict
        The outline of an object by its row, where it has one.
    """

    case: CaseRecord
    key: str
    grid: Grid
    ids: list[str]
    labels: list[str]
    centres: NDArray[np.float64]
    diameters: NDArray[np.float64]
    scores: NDArray[np.float64]
    is_excluded: NDArray[np.bool_]
    drawn: dict[int, Region]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def unsized(self) -> int:
        """How many objects have neither an outline nor a diameter: formats of outlines leave them out."""
        return sum(row not in self.drawn and not self.diameters[row] > 0 for row in range(len(self)))

    @cached_property
    def image_regions(self) -> ImageRegions:
        """The objects as outlines.

        One without an outline becomes, from its centre and diameter, a box on a planar image and a ball in a volume.
        """
        rows, regions = [], []
        for row in range(len(self)):
            region = self.drawn.get(row) or self._stand_in(row)
            if region is not None:
                rows.append(row)
                own = hashlib.sha256(f"outline of {self.ids[row]}".encode()).hexdigest()[:ID_LENGTH]
                regions.append(Region(self.key, region.rings, self.ids[row], self.labels[row], own))
        table = RegionTable.from_regions(self.key, regions, self.scores[rows].tolist(), self.grid.ndim)
        return ImageRegions(self.key, table, self.is_excluded[rows], self.grid.shape)

    def _stand_in(self, row: int) -> Region | None:
        if not self.diameters[row] > 0:
            return None
        index, diameter = self.grid.to_index(self.centres[row]), float(self.diameters[row])
        spacing = self.grid.spacing
        if self.grid.ndim == 3:
            return ball(Region(self.key, ()), index.tolist(), diameter, spacing)
        reach = diameter / 2 / np.asarray(spacing)
        return Region(self.key, (polygons.box((index - reach).tolist(), (index + reach).tolist()),))


def collected(
    project: Project, selection: Selection, axes: Sequence[int]
) -> tuple[list[CaseObjects], list[str]]:
    """Return what goes out, and the keys of the cases that are left out because a format cannot hold them.

    Parameters
    ----------
    project : Project
    selection : Selection
    axes : sequence of int
        How many axes an image may have.

    Raises
    ------
    InputRefusedError
        As :meth:`Selection.chosen`; ``unknown-run``; ``wrong-kind`` where no case is left that the format can hold.
    """
    keys, found, left_out = Keys(), [], []
    if selection.run_id and selection.run_id not in {run.run_id for run in project.runs()}:
        raise InputRefusedError(
            f"The project has no run {selection.run_id}.",
            code="unknown-run",
            hint="Leave --run out for the reference.",
        )
    chosen = selection.chosen(project)
    for case in chosen:
        if case.grid is None or (3 if case.kind == "volume" else 2) not in axes:
            left_out.append(keys.of(case.case_id))
        else:
            found.append(_case_objects(project, selection, case, keys))
    if not found:
        kinds = ", ".join(sorted({case.kind for case in chosen}))
        raise InputRefusedError(
            f"This format holds images of {' or '.join(map(str, axes))} axes and of a known size, and none of the cases is one "
            f"({kinds}).",
            code="wrong-kind",
            hint="Choose another format, or other cases.",
        )
    return found, left_out


def _case_objects(project: Project, selection: Selection, case: CaseRecord, keys: Keys) -> CaseObjects:
    table: FindingTable | CandidateTable
    run_id = selection.run_id
    table = project.candidates(run_id, case.case_id) if run_id else project.findings(case.case_id)
    keep = np.ones(len(table), dtype=np.bool_)
    if selection.labels:
        keep &= np.isin(table.labels, sorted(selection.labels))
    if selection.object_ids is not None:
        keep &= np.isin(table.ids, sorted(selection.object_ids))
    table = table.where(keep)
    ids, grid = table.ids.tolist(), Grid.from_json(_grid_json(case))
    outlines = project.region_table(case.case_id, beside=run_id)
    owned = CaseObjects(
        case=case,
        key=keys.of(case.case_id),
        grid=grid,
        ids=[keys.of(object_id) for object_id in ids],
        labels=table.labels.tolist(),
        centres=table.centres[:, : grid.ndim],
        diameters=table.diameters,
        scores=getattr(table, "scores", np.full(len(ids), np.nan)),
        is_excluded=getattr(table, "is_excluded", np.zeros(len(ids), dtype=np.bool_)),
        drawn=_drawn(outlines, {own: row for row, own in enumerate(ids)}),
    )
    if run_id or selection.object_ids is not None:
        return owned
    free = outlines.where(outlines.owner_ids == b"")
    wanted = [
        not selection.labels or free.label_names[code] in selection.labels for code in free.labels.tolist()
    ]
    return _with_free(owned, free.where(np.asarray(wanted, dtype=np.bool_)), keys)


def _with_free(owned: CaseObjects, free: RegionTable, keys: Keys) -> CaseObjects:
    """Return a case with outlines that are nobody's as objects of their own: what somebody drew is part of the reference."""
    if not len(free):
        return owned
    centres, diameters = measured(free, owned.grid)
    count, first = len(free), len(owned)
    return replace(
        owned,
        ids=owned.ids + [keys.of(region_id.decode()) for region_id in free.ids.tolist()],
        labels=owned.labels + [free.label_names[code] for code in free.labels.tolist()],
        centres=np.concatenate([owned.centres, centres]),
        diameters=np.concatenate([owned.diameters, diameters]),
        scores=np.concatenate([owned.scores, np.full(count, np.nan)]),
        is_excluded=np.concatenate([owned.is_excluded, np.zeros(count, dtype=np.bool_)]),
        drawn=owned.drawn | {first + row: free.region(row) for row in range(count)},
    )


def _grid_json(case: CaseRecord) -> dict[str, Any]:
    assert case.grid is not None  # left out otherwise
    return case.grid


def _drawn(table: RegionTable, rows: dict[str, int]) -> dict[int, Region]:
    """Return the outline of each object by its row; where one has several, what they cover together."""
    found = defaultdict[int, list[Region]](list)
    for place, owner in _owned(table, rows):
        found[rows[owner]].append(table.region(place))
    united = {row: regions[0] if len(regions) == 1 else joined(regions) for row, regions in found.items()}
    return {row: region for row, region in united.items() if region is not None and region.rings}


def _owned(table: RegionTable, rows: Iterable[str]) -> Iterator[tuple[int, str]]:
    owners = [owner.decode() for owner in table.owner_ids.tolist()]
    known = set(rows)
    return ((place, owner) for place, owner in enumerate(owners) if owner in known)
