"""Bringing a reference standard into a project, from any format that is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Finding
from napari_medlab.exchange.matched import Matched, matched
from napari_medlab.geometry import Grid
from napari_medlab.project.bulk_regions import batches_of, outside
from napari_medlab.project.edits import add_findings, add_regions, body_digest, set_finding
from napari_medlab.project.unread import mark_read

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.annotations import FindingTable
    from napari_medlab.exchange.contents import Wanted
    from napari_medlab.exchange.placing import PlacedObjects
    from napari_medlab.project import Project

__all__ = ["ImportedReference", "import_reference"]

PER_EDIT = 5000
"""So many findings go into one edit, and those of whole cases: what is on disk of a cut-short import is taken up."""


@dataclass(frozen=True)
class ImportedReference:
    """What became of a file of findings.

    Parameters
    ----------
    format : str
    added, excluded : int
        The findings that are new to the project, and how many of them count neither as found nor as missed.
    outlines : int
        The outlines that are new.
    already : int
        The findings that the project had.
    cases : int
        The cases with new findings.
    unmatched : tuple of str
        The names for which the project has no case.
    normal : int
        The project's cases that the file lists as having nothing: they have no findings, and count.
    unplaced : tuple of str
        The names of cases with a finding for which the file states no place; it is left out.
    outside_image : int
        The new findings whose centre does not lie inside their image.
    relabelled : int
        The findings that the project had under another class, and that have the one now under which they were imported.
    kept_class : int
        Those that keep another class, as a reader gave it to them.
    """

    format: str
    added: int
    excluded: int
    outlines: int
    already: int
    cases: int
    unmatched: tuple[str, ...]
    normal: int
    unplaced: tuple[str, ...]
    outside_image: int
    relabelled: int = 0
    kept_class: int = 0


def import_reference(
    project: Project,
    wanted: Wanted | Matched,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> ImportedReference:
    """Add the findings of a file, with their outlines where it has some, to the cases that its names mean.

    Findings and outlines get ids made from what the file says of them, so that it can be imported again after more
    cases were added, or after an import that was cut short: what is there already is not added twice, and what a
    reader removed since stays removed. What is there under another class than it is now imported under gets this class,
    where ``only_class`` or ``names`` asks for it, as a correction; but not where a reader changed it since. Cases of which
    the file says that nothing is there are marked as read, and those with a finding of unknown place as not read, in
    their column ``read``.

    Parameters
    ----------
    project : Project
    wanted : Wanted or Matched
    on_progress : callable, optional
        Called with the cases done and all cases.
    stop : callable, optional
        Called between cases; raises where the work is to end. What is on disk by then stays.

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.exchange.matched.matched`; nothing is changed then.
    """
    found = wanted if isinstance(wanted, Matched) else matched(project, wanted, stop=stop)
    adding = _Adding(project)
    for number, (name, objects) in enumerate(found.objects.items(), start=1):
        if stop is not None:
            stop()
        if objects is not None:
            grid = found.cases[name].grid
            adding.take(objects, Grid.from_json(grid) if grid else None)
        if on_progress is not None:
            on_progress(number, len(found.objects))
    adding.write()
    unplaced = {name for name in found.cases if _is_said(found, name) and found.contents.is_unplaced(name)}
    normal = {name for name in found.cases if _is_normal(found, name)} - unplaced
    mark_read(project, {found.cases[name].case_id: name in normal for name in normal | unplaced})
    return ImportedReference(
        format=found.contents.format.name,
        added=adding.added,
        excluded=adding.excluded,
        outlines=adding.outlines,
        already=found.count - adding.added,
        cases=adding.cases,
        unmatched=found.unmatched,
        normal=len(normal),
        unplaced=tuple(sorted(unplaced)),
        outside_image=adding.outside,
        relabelled=adding.relabelled,
        kept_class=adding.kept_class,
    )


def _is_said(found: Matched, name: str) -> bool:
    return found.objects[name] is not None


def _is_normal(found: Matched, name: str) -> bool:
    """Tell whether a file says of a case, by its words or by an empty map, that nothing is there."""
    objects = found.objects[name]
    is_map = found.contents.format.name == "label-map" or found.contents.format.needs == "maps"
    return objects is not None and (found.contents.is_normal(name) or (is_map and not len(objects)))


class _Adding:
    """Gathers the findings of cases into edits of some size, each followed by the outlines of its cases."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._known = _labels_of(project.findings(as_given=True))
        self._now = _labels_of(project.findings())
        self._findings: list[Finding] = []
        self._outlined: list[tuple[PlacedObjects, list[str]]] = []
        self.added = self.excluded = self.outlines = self.cases = self.outside = 0
        self.relabelled = self.kept_class = 0

    def take(self, objects: PlacedObjects, grid: Grid | None) -> None:
        """Take what is new on one case; write once there is enough."""
        ids = objects.finding_ids()
        fresh = [row for row, finding_id in enumerate(ids) if finding_id not in self._known]
        self._findings += _findings(objects, ids, fresh)
        self._outlined.append((objects, ids))
        self.added += len(fresh)
        self.excluded += int(objects.is_excluded[fresh].sum())
        self.cases += bool(fresh)
        self.outside += objects.count_outside(grid, fresh)
        if objects.words is not None:
            self._relabel(objects, ids)
        if len(self._findings) >= PER_EDIT:
            self.write()

    def write(self) -> None:
        """Put on disk what was taken."""
        if self._findings:
            self._project.commit(add_findings(self._findings))
        for objects, ids in self._outlined:
            self._add_outlines(objects, ids)
        self._findings, self._outlined = [], []

    def _relabel(self, objects: PlacedObjects, ids: Sequence[str]) -> None:
        """Give what is there already the class that was asked for, unless a reader has given it one."""
        for finding_id, word, label in zip(ids, objects.words or (), objects.labels, strict=True):
            now = self._now.get(finding_id, label)
            if label in (word, now):
                continue
            before = self._project.finding(finding_id) if now == self._known[finding_id] else None
            if before is None:
                self.kept_class += 1
                continue
            self._project.commit(set_finding(before, replace(before, label=label)))
            self.relabelled += 1

    def _add_outlines(self, objects: PlacedObjects, ids: Sequence[str]) -> None:
        table = objects.outlines(ids)
        if table is None:
            return
        own = np.char.decode(table.ids).tolist()
        with self._project.reading() as db:
            missing = set(outside(batches_of(db, objects.case_id), own))
        rows = [row for row, region_id in enumerate(own) if region_id in missing]
        if rows:
            batch = f"import {body_digest(' '.join(own[row] for row in rows).encode())[:16]}"
            self._project.commit(add_regions(objects.case_id, batch, table.where(rows)))
            self.outlines += len(rows)


def _labels_of(findings: FindingTable) -> dict[str, str]:
    return dict(zip(findings.ids.tolist(), findings.labels.tolist(), strict=True))


def _findings(objects: PlacedObjects, ids: Sequence[str], rows: Sequence[int]) -> list[Finding]:
    centres, diameters = objects.centres.tolist(), objects.diameters.tolist()
    return [
        Finding(
            objects.case_id,
            tuple(centres[row]),
            diameters[row],
            objects.labels[row],
            bool(objects.is_excluded[row]),
            ids[row],
        )
        for row in rows
    ]
