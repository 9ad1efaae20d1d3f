"""What the reader is doing: the project, the run under review, the operating point, the place in the queue.

No Qt and no napari here: panels listen to the signals and draw what they find.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_medlab.evaluation import froc, match, match_at
from napari_medlab.hardcases.queue import QueueItem, build_queue

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import FrocCurve, MatchTable
    from napari_medlab.project import Project, Verdict

__all__ = ["ReviewData", "Session", "load_review"]


@dataclass(frozen=True)
class ReviewData:
    """Everything about one run that the window needs, read off the GUI thread.

    Parameters
    ----------
    run_id : str
    findings, candidates : tables of all cases
    match : the pairing at no threshold
    curve : its FROC
    verdicts : by object id
    cases : the ids of the cases that were matched
    bundle_hash : of the model; empty for imported predictions
    """

    run_id: str
    findings: FindingTable
    candidates: CandidateTable
    match: MatchTable
    curve: FrocCurve
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    bundle_hash: str = ""


def load_review(project: Project, run_id: str, splits: Collection[str] = ("train",)) -> ReviewData:
    """Read a run and match it, off the GUI thread; cases of other splits stay out of sight.

    Frozen test cases decide about publishing, so they are not reviewed: what was looked at is no longer unseen.
    """
    done = project.cases_done(run_id)
    cases = tuple(c.case_id for c in project.cases() if c.case_id in done and c.split in splits)
    findings, candidates = project.findings(), project.candidates(run_id)
    table = match(findings, candidates, cases)
    return ReviewData(
        run_id, findings, candidates, table, froc(table), project.verdicts(run_id), cases,
        project.run(run_id).bundle_hash,
    )  # fmt: skip


class Session:
    """The state of one window.

    Signals
    -------
    project_changed
        Another project, or none.
    cases_changed
        The list of cases or of runs, or what is known about them.
    review_changed
        Another run, or more of it, has been matched: curve, queue and marks are new.
    operating_point_changed
        The false positives per scan allowed, and with it queue and marks.
    item_changed
        Another row of the queue is the current one.
    case_changed
        Another case is to be shown.
    selection_changed
        Another object is chosen (its id, or "").
    verdicts_changed
        Verdicts were given, changed or taken back.
    verdict_given
        The name of a verdict that was just given, not saved yet.
    told
        Something to say for a moment, such as the name of a window of brightness.
    view_changed
        Another image is on the canvas; with what the reader has to know about it.
    saved
        A text to show once the named edit is on the disk.
    """

    project_changed = Signal()
    cases_changed = Signal()
    review_changed = Signal()
    operating_point_changed = Signal()
    item_changed = Signal()
    case_changed = Signal(str)
    selection_changed = Signal(str)
    verdicts_changed = Signal()
    verdict_given = Signal(str)
    saved = Signal(str)
    told = Signal(str)
    view_changed = Signal(tuple)

    def __init__(self) -> None:
        self.project: Project | None = None
        self.review: ReviewData | None = None
        self.fp_per_scan = 1.0
        self.case_id = ""
        self.selected_id = ""
        self.queue: list[QueueItem] = []
        self.at_point: MatchTable | None = None
        self._place = -1

    @property
    def threshold(self) -> float:
        """The least score of a candidate at the operating point; minus infinity where there is no curve yet."""
        return self.review.curve.threshold_at(self.fp_per_scan) if self.review else -np.inf

    @property
    def place(self) -> int:
        """The row of the queue that is being looked at; -1 for none."""
        return self._place

    @property
    def item(self) -> QueueItem | None:
        """The error that is being looked at."""
        return self.queue[self._place] if 0 <= self._place < len(self.queue) else None

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdicts on the run under review, by object id."""
        return self.review.verdicts if self.review else {}

    def set_project(self, project: Project | None) -> None:
        """Turn to another project."""
        self.project, self.review, self.queue, self.at_point = project, None, [], None
        self._place, self.case_id, self.selected_id = -1, "", ""
        self.project_changed.emit()
        self.cases_changed.emit()

    def set_review(self, review: ReviewData) -> None:
        """Turn to another run, or to more of the same one; the current error stays current where it still is one."""
        self.review = review
        self._requeue()
        self.review_changed.emit()
        self.verdicts_changed.emit()

    def set_operating_point(self, fp_per_scan: float) -> None:
        """Allow another number of false positives per scan."""
        if fp_per_scan != self.fp_per_scan:
            self.fp_per_scan = fp_per_scan
            self._requeue()
            self.operating_point_changed.emit()

    def go_to(self, place: int) -> None:
        """Make a row of the queue the current one: its case is shown and its object chosen."""
        if not 0 <= place < len(self.queue):
            return
        self._place = place
        item = self.queue[place]
        self.show_case(item.case_id)
        self.select(item.object_id)
        self.item_changed.emit()

    def go_to_next(self) -> None:
        """Go to the next error without a verdict, or to the next one where all have theirs."""
        for place in range(self._place + 1, len(self.queue)):
            if self.queue[place].object_id not in self.verdicts:
                self.go_to(place)
                return
        self.go_to(min(self._place + 1, len(self.queue) - 1))

    def go_to_previous(self) -> None:
        """Go one row back."""
        self.go_to(max(self._place - 1, 0))

    def show_case(self, case_id: str) -> None:
        """Show another case."""
        if case_id != self.case_id:
            self.case_id = case_id
            self.selected_id = ""
            self._leave_item(self.item is None or self.item.case_id != case_id)
            self.case_changed.emit(case_id)

    def select(self, object_id: str) -> None:
        """Choose a candidate or finding by id; the queue follows where it holds it, and has no current row elsewhere."""
        if object_id == self.selected_id:
            return
        self.selected_id = object_id
        row = next((n for n, item in enumerate(self.queue) if item.object_id == object_id), -1)
        if row != self._place:
            self._place = row
            self.item_changed.emit()
        self.selection_changed.emit(object_id)

    def set_verdicts(self, verdicts: dict[str, Verdict]) -> None:
        """Take over verdicts as they stand in the project."""
        if self.review is not None:
            self.review = replace(self.review, verdicts=verdicts)
            self.verdicts_changed.emit()

    def _leave_item(self, elsewhere: bool) -> None:
        """Have no current error: a verdict must never fall on what is not on the screen."""
        if elsewhere and self._place >= 0:
            self._place = -1
            self.item_changed.emit()

    def _requeue(self) -> None:
        current = self.item.object_id if self.item else ""
        if self.review is None:
            self.queue, self.at_point = [], None
        else:
            self.at_point = match_at(self.review.match, self.threshold)
            self.queue = build_queue(self.at_point, self.review.findings, self.review.candidates)
        rows = (n for n, item in enumerate(self.queue) if item.object_id == current)
        self._place = next(rows, -1)
