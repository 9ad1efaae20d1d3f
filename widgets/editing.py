"""What the reader changes: verdicts, outlines and the reference; each on the disk before it is called saved."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_medlab.annotations import Finding
from napari_medlab.hardcases.errors.verdicts import Judging, judge, parse_remark
from napari_medlab.project.edits import group, set_finding, set_region
from napari_medlab.project.records import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from napari_medlab.annotations import Region
    from napari_medlab.hardcases.errors.table import QueueItem
    from napari_medlab.project import JournalEntry, Project
    from napari_medlab.project.edits import Edit
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["Editing"]

SHARE = 0.04
"""Of the shorter side of an image, for a finding that is added where nothing says how large it is."""


class Editing(QObject):
    """Turns what the reader does into edits, shows them at once, and takes back on the screen what could not be stored.

    Signals
    -------
    outlining_changed(bool)
        Outlines can be edited, or no longer.
    pending_changed(int)
        So many edits are on their way to the disk.
    stored(object, int)
        An edit is on the disk, with its journal id.
    """

    outlining_changed = Signal(bool)
    pending_changed = Signal(int)
    stored = Signal(object, int)

    def __init__(self, controller: Controller) -> None:
        super().__init__(controller)
        self._controller = controller
        self.remark = ""
        """What the reader typed for the next verdict: a comment, and tags that begin with ``#``."""
        self.outline_edits = self.finding_edits = 0
        self.pending = 0
        self.given: dict[str, Verdict | None] = {}
        """Verdicts given since the run was last read: they are not in what is being read just now."""

    # -- verdicts -------------------------------------------------------------------------------------------------

    def give_verdict(self, name: str) -> None:
        """Judge the error that is on the screen and go on to the next; the tick comes when it is on the disk."""
        session, view = self._controller.session, self._controller.display.view
        item = session.item
        if item is None:
            session.told.emit("Choose an error first: N goes to the worst one.")
            return
        if view is None or view.case_id != item.case_id or session.selected_id != item.object_id:
            session.told.emit("This error is not on the screen yet.")  # and cannot have been meant
            return
        if self._judge([session.place], name):
            session.verdict_given.emit(name)
            session.go_to_next()

    def judge_rows(self, rows: Sequence[int], name: str) -> None:
        """Judge many rows of the queue alike, in one edit."""
        if rows and self._judge(rows, name):
            self._controller.session.verdict_given.emit(name)

    def take_verdicts_back(self, rows: Sequence[int]) -> None:
        """Have no verdict on rows of the queue, in one edit."""
        judged = [
            row
            for row in rows
            if self._controller.session.queue[row].object_id in self._controller.session.verdicts
        ]
        if judged:
            self._judge(judged, None)

    def _judge(self, rows: Sequence[int], name: str | None) -> bool:
        session, project = self._controller.session, self.writable()
        review = session.review
        if project is None or review is None:
            return False
        comment, tags = parse_remark(self.remark)
        after = None if name is None else Verdict(name, comment, tags)  # type: ignore[arg-type]  # a name of the keys
        items = [self._in_axes(session.queue[row]) for row in rows]
        judged = [Judging(item, review.run_id, review.verdicts.get(item.object_id)) for item in items]
        edit = judge(
            judged, after, session.finding, session.given_finding, adjudicated=session.is_adjudicating
        )
        verdicts = dict(review.verdicts)
        for item in items:
            self.given[item.object_id] = after
            verdicts.pop(item.object_id, None)
            if after is not None:
                verdicts[item.object_id] = after
        count = len({item.object_id for item in items})
        said = f"{name or 'no verdict'}{f' on {count}' if count > 1 else ''} · saved"
        self.commit(edit, lambda _: session.saved.emit(said))
        session.set_verdicts(verdicts)
        self._correct(edit)
        return True

    def _in_axes(self, item: QueueItem) -> QueueItem:
        return replace(item, centre=self._controller.session.in_axes(item.case_id, item.centre))

    # -- the reference --------------------------------------------------------------------------------------------

    def add_finding_here(self) -> None:
        """Add a finding where the planes meet, like those there are; on a planar image in the middle of the view."""
        view, session = self._controller.display.view, self._controller.session
        if view is None or not view.case_id:
            session.told.emit("Open a case first, to add a finding to.")
            return
        if self.writable() is None:
            return
        label, diameter = self._usual_finding(view)
        found = Finding(
            view.case_id, tuple(view.to_world(self._controller.display.place).tolist()), diameter, label
        )
        self._change_finding(None, found, "finding added")
        session.select(found.finding_id)

    def _usual_finding(self, view: CaseView) -> tuple[str, float]:
        """Return class and diameter of a new finding: those of what is looked at, else of the findings there are."""
        session = self._controller.session
        item = session.item
        if item is not None and item.diameter > 0:
            return item.label, item.diameter
        here = session.findings.for_case(view.case_id)
        known = here if len(here) else session.findings
        sizes = known.diameters[known.diameters > 0]
        names, counts = np.unique(known.labels, return_counts=True)
        label = str(names[counts.argmax()]) if len(names) else "finding"
        shortest = min(n * step for n, step in zip(view.grid.shape[-2:], view.scale[-2:], strict=True))
        is_alike = len(here) > 0 or view.grid.ndim == 3
        return label, float(np.median(sizes)) if len(sizes) and is_alike else SHARE * shortest

    def move_finding_here(self) -> None:
        """Move the chosen finding to where the planes meet."""
        view, finding = self._controller.display.view, self._controller.session.chosen_finding
        if view is not None and finding is not None and view.case_id == finding.case_id:
            centre = tuple(view.to_world(self._controller.display.place).tolist())
            self._change_finding(finding, replace(finding, centre=centre), "finding moved")

    def set_diameter(self, diameter: float) -> None:
        """Give the chosen finding another diameter, in the unit of its case."""
        finding = self._controller.session.chosen_finding
        if finding is not None and diameter > 0 and not np.isclose(diameter, finding.diameter):
            self._change_finding(finding, replace(finding, diameter=diameter), "diameter")

    def exclude_finding(self) -> None:
        """Let the chosen finding count neither as found nor as missed, or let it count again."""
        finding = self._controller.session.chosen_finding
        if finding is not None:
            done = "finding counts" if finding.is_excluded else "finding excluded"
            self._change_finding(finding, replace(finding, is_excluded=not finding.is_excluded), done)

    def remove_finding(self) -> None:
        """Take the chosen finding out of the reference, with what outlines it."""
        finding = self._controller.session.chosen_finding
        if finding is None:
            return
        owned = self._controller.display.case_outlines.owned_by(finding.case_id, finding.finding_id)
        if owned is None:
            told = (
                "Its case is not on the screen with its outlines yet, which go with it: try again once it is."
            )
            self._controller.session.told.emit(told)
            return
        edits = [set_finding(finding, None, adjudicated=self._is_adjudicating)]
        edits += [set_region(region, None, adjudicated=self._is_adjudicating) for region in owned]
        edit = edits[0] if len(edits) == 1 else group("finding removed", edits)
        self._commit_shown(
            edit, "finding removed", self._controller.display.reload_outlines if owned else None
        )

    def _change_finding(self, before: Finding | None, after: Finding, what: str) -> None:
        self._commit_shown(set_finding(before, after, adjudicated=self._is_adjudicating), what)

    def _commit_shown(self, edit: Edit, what: str, then: Callable[[], None] | None = None) -> None:
        """Store a correction and show it; ``then`` is called once it is on the disk."""

        def done(_: int) -> None:
            self._controller.session.saved.emit(f"{what} · saved")
            if then is not None:
                then()

        if self.writable() is not None:
            self.commit(edit, done)
            self._correct(edit)

    def _correct(self, edit: Edit) -> None:
        """Show the reference as an edit leaves it, and figure anew in the background."""
        session = self._controller.session
        changes = findings_after(edit)
        if not changes:
            return
        self.finding_edits += 1
        table = session.findings
        for finding_id, after in changes:
            table = table.changed(finding_id, after)
        session.set_findings(table)
        if session.review is not None:
            figure = session.review.figures_with
            self._controller.background.run("corrected", figure, table, on_done=session.set_corrected)

    # -- outlines -------------------------------------------------------------------------------------------------

    def toggle_editing(self, *, drawing: bool = False) -> None:
        """Let outlines be edited, or a new one be drawn, or stop it."""
        outlines, view = self._controller.display.outlines, self._controller.display.view
        if view is None or not view.case_id:
            self._controller.session.told.emit("Open a case first, to outline something in.")
            return
        if not outlines.is_editing and self.writable() is None:
            return
        outlines.edit(not outlines.is_editing or drawing, drawing=drawing)

    def use_tool(self, use: Callable[[], Any]) -> None:
        """Take up a tool that changes outlines, where anything can be stored."""
        if self.writable() is not None:
            use()

    def save_region(self, before: Region | None, after: Region | None) -> None:
        """Record a change of an outline."""
        self.save_regions("outline", [(before, after)])

    def save_regions(self, title: str, changes: Sequence[tuple[Region | None, Region | None]]) -> None:
        """Record changes of several outlines as one edit."""
        edits = [set_region(before, after, adjudicated=self._is_adjudicating) for before, after in changes]
        if not edits or self.writable() is None:
            self._controller.display.reload_outlines()  # what is drawn is what is stored
            return
        self.outline_edits += 1
        edit = edits[0] if len(edits) == 1 else group(title, edits)
        self.commit(edit, lambda _: self._controller.session.saved.emit(f"{title} · saved"))

    # -- back and forth -------------------------------------------------------------------------------------------

    def undo(self) -> None:
        """Take the reader's last edit back, and go to its case."""
        if (project := self.writable()) is not None:
            self._send(project.submit_undo(), lambda entry: self._on_reversed(entry, "undone"))

    def redo(self) -> None:
        """Do again what was undone last, and go to its case."""
        if (project := self.writable()) is not None:
            self._send(project.submit_redo(), lambda entry: self._on_reversed(entry, "done again"))

    def commit(self, edit: Edit, action: Callable[[Any], None]) -> None:
        """Store an edit, and call ``action`` once it is on the disk; nothing happens where nothing can be written."""

        def done(journal_id: int) -> None:
            self.stored.emit(edit, journal_id)
            action(journal_id)

        if (project := self.writable()) is not None:
            self._send(project.submit(edit), done)

    def outdated(self) -> Callable[[], bool]:
        """Return what tells, once the project has been read, whether findings were corrected too late to be in what was read."""
        edits, was_pending = self.finding_edits, self.pending > 0
        return lambda: was_pending or edits != self.finding_edits

    def writable(self) -> Project | None:
        """Return the project where it can be written to; say why not otherwise."""
        from napari.utils.notifications import show_warning

        project = self._controller.session.project
        if project is None:
            show_warning("No project is open, so nothing can be saved. Open or make one in Cases.")
            return None
        if project.is_read_only:
            show_warning(f"The project is read-only: {project.holder or 'its folder cannot be written to'}.")
            return None
        return project

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def _is_adjudicating(self) -> bool:
        return self._controller.session.is_adjudicating

    def _send(self, future: Future[Any], action: Callable[[Any], None]) -> None:
        self._count(1)
        self._controller.background.deliver(future, partial(self._on_saved, action))

    def _count(self, more: int) -> None:
        self.pending += more
        self.pending_changed.emit(self.pending)

    def _on_saved(self, action: Callable[[Any], None], future: Future[Any]) -> None:
        self._count(-1)
        error = future.exception()
        if error is None:
            action(future.result())
            return
        self._controller.show_error(error if isinstance(error, Exception) else RuntimeError(str(error)))
        self._read_again()

    def _on_reversed(self, entry: JournalEntry | None, what: str) -> None:
        session = self._controller.session
        if entry is None:
            session.saved.emit("nothing to undo" if what == "undone" else "nothing to redo")
            return
        session.saved.emit(f"{title_of(entry)} {what} · saved")
        place = next((row for row in map(session.queue.row_of, objects_of(entry)) if row >= 0), -1)
        if place >= 0:
            session.go_to(place)
        elif entry.case_id:
            session.show_case(entry.case_id)
            session.select(next(iter(objects_of(entry)), session.selected_id))
        if entry.kind == "bundle.current":
            self._controller.models.reload()
        if entry.kind in ("filter.set", "case.fields"):
            self._controller.reload_cases()
        self._read_again()

    def _read_again(self) -> None:
        """Show what is stored."""
        self.given.clear()
        session = self._controller.session
        if session.review is not None:
            self._controller.reload_review(session.review.run_id)
        else:
            self._controller.reload_cases()
        self._controller.display.reload_outlines()


def findings_after(edit: Edit) -> list[tuple[str, Finding | None]]:
    """Return the findings that an edit changes, each with its id and what becomes of it."""
    whole: list[dict[str, Any]] = [{"kind": edit.kind, "payload": edit.payload}]
    parts: list[dict[str, Any]] = edit.payload["edits"] if edit.kind == "group" else whole
    changes: list[tuple[str, Finding | None]] = []
    for part in parts:
        if part["kind"] == "finding.set":
            before, after = (_finding(part["payload"][name]) for name in ("before", "after"))
            changes += [(finding.finding_id, after) for finding in (before or after,) if finding is not None]
    return changes


def objects_of(entry: JournalEntry) -> list[str]:
    """Return the candidates and findings that an edit is about, outlines by what they outline."""
    whole: list[dict[str, Any]] = [{"kind": entry.kind, "payload": entry.payload}]
    parts: list[dict[str, Any]] = entry.payload["edits"] if entry.kind == "group" else whole
    found = []
    for part in parts:
        payload = part["payload"]
        stored = payload.get("after") or payload.get("before") or {}
        if part["kind"] == "verdict.set":
            found.append(str(payload["object_id"]))
        elif part["kind"] == "finding.set":
            found.append(str(stored["finding_id"]))
        elif part["kind"] == "region.set" and stored["owner_id"]:
            found.append(str(stored["owner_id"]))
    return found


def title_of(entry: JournalEntry) -> str:
    """Return in a word or two what an edit was."""
    if entry.kind == "group":
        return str(entry.payload["title"])
    return {"finding.set": "finding", "region.set": "outline", "bundle.current": "choice of model"}.get(
        entry.kind, entry.kind.partition(".")[0]
    )


def _finding(stored: dict[str, Any] | None) -> Finding | None:
    return None if stored is None else Finding(**{**stored, "centre": tuple(stored["centre"])})
