"""What the reader is doing: the project, the run under review, the operating point, the place in the queue.

No Qt and no napari here: panels listen to the signals and draw what they find.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from psygnal import Signal

from napari_medlab.annotations import FindingTable
from napari_medlab.evaluation import froc, match, match_at
from napari_medlab.evaluation.precision_recall import PrecisionRecallCurve, precision_recall
from napari_medlab.hardcases.errors.building import errors_at, low_confidence
from napari_medlab.hardcases.errors.filters import FilterContext, QueueFilter, SortKey, sorted_rows
from napari_medlab.hardcases.errors.places import fractions_of
from napari_medlab.hardcases.errors.table import ErrorKind, ErrorTable, QueueItem

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medlab.annotations import CandidateTable, Finding
    from napari_medlab.evaluation import FrocCurve, MatchTable
    from napari_medlab.geometry import Grid
    from napari_medlab.project import Project, Verdict

__all__ = ["Figures", "ReviewData", "Session"]

KINDS: tuple[ErrorKind, ...] = ("fp", "fn", "duplicate")
"""The kinds of error that an operating point makes."""
DESCENDING = ("score", "size")
"""Orders that begin with the greatest."""


@dataclass(frozen=True)
class Figures:
    """A reference standard, and what a run is worth by it.

    Parameters
    ----------
    findings : table of all cases
    match : the pairing at no threshold
    curve : its FROC
    """

    findings: FindingTable
    match: MatchTable
    curve: FrocCurve

    @classmethod
    def of(cls, findings: FindingTable, candidates: CandidateTable, cases: tuple[str, ...]) -> Figures:
        """Match a run by the rules of LUNA16."""
        table = match(findings, candidates, cases)
        return cls(findings, table, froc(table))

    @cached_property
    def precision_recall(self) -> PrecisionRecallCurve:
        """Precision against recall."""
        return precision_recall(self.match)


@dataclass(frozen=True)
class ReviewData:
    """Everything about one run that the window needs, read off the GUI thread.

    Parameters
    ----------
    run_id : str
    candidates : table of all cases
    given : by the reference as it was given: curve, queue and marks are of this
    corrected : by the reference as the reader has it now
    verdicts : by object id
    cases : the ids of the cases that were matched
    bundle_hash : of the model; empty for imported predictions
    further : errors that no threshold changes: poor outlines, disagreements
    context : what filters look at
    grids : the geometry of each case
    unread : candidates on cases that nobody has read, the case to read next first
    unread_cases : the ids of these cases, which are not among those that were matched
    """

    run_id: str
    candidates: CandidateTable
    given: Figures
    corrected: Figures
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    cases: tuple[str, ...] = ()
    bundle_hash: str = ""
    further: ErrorTable = field(default_factory=ErrorTable.empty)
    context: FilterContext = field(default_factory=FilterContext)
    grids: dict[str, Grid] = field(default_factory=dict)
    unread: ErrorTable = field(default_factory=ErrorTable.empty)
    unread_cases: tuple[str, ...] = ()

    def figures_with(self, findings: FindingTable) -> Figures:
        """Return what the run is worth by another reference; takes a while, so off the GUI thread."""
        return Figures.of(findings, self.candidates, self.cases)


def finding_in(table: FindingTable, finding_id: str) -> Finding | None:
    """Return a finding of a table by id, None where there is none."""
    try:
        return table.finding(table.row_of(finding_id))
    except KeyError:
        return None


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
    queue_changed
        Other errors are listed, or in another order.
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
    findings_changed
        The reference was corrected.
    figures_changed
        The figures by the corrected reference are new.
    told
        Something to say for a moment, such as the name of a window of brightness.
    view_changed
        Another image is on the canvas; with what the reader has to know about it.
    outlines_noted
        What the reader has to know about how outlines are drawn; empty for nothing.
    saved
        A text to show once the named edit is on the disk.
    """

    project_changed = Signal()
    cases_changed = Signal()
    review_changed = Signal()
    operating_point_changed = Signal()
    queue_changed = Signal()
    item_changed = Signal()
    case_changed = Signal(str)
    selection_changed = Signal(str)
    verdicts_changed = Signal()
    verdict_given = Signal(str)
    findings_changed = Signal()
    figures_changed = Signal()
    saved = Signal(str)
    told = Signal(str)
    view_changed = Signal(tuple)
    outlines_noted = Signal(str)

    def __init__(self) -> None:
        self.project: Project | None = None
        self.review: ReviewData | None = None
        self.fp_per_scan = 1.0
        self.case_id = ""
        self.selected_id = ""
        self.is_adjudicating = False
        self.filter = QueueFilter()
        self.sort: SortKey = "worst first"
        self.errors, self.queue = ErrorTable.empty(), ErrorTable.empty()
        self.at_point: MatchTable | None = None
        self.model_disagreements = ErrorTable.empty()
        """What another run sees otherwise, where it was asked for."""
        self.findings = FindingTable.from_objects([])
        """The reference as the reader has it now, of all cases."""
        self.planar: frozenset[str] = frozenset()
        """The cases whose images have two axes; beside volumes their points stand in tables with a third coordinate."""
        self._place = -1

    @property
    def threshold(self) -> float:
        """The least score of a candidate at the operating point; minus infinity where nothing was matched yet."""
        return (
            self.review.given.curve.threshold_at(self.fp_per_scan)
            if self.review and self.review.cases
            else -np.inf
        )

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

    def finding(self, finding_id: str) -> Finding | None:
        """Return a finding by id as the reader has it now, None where there is none."""
        return self._in_axes(finding_in(self.findings, finding_id))

    def given_finding(self, finding_id: str) -> Finding | None:
        """Return a finding by id as it was given, None where there is none."""
        return (
            self._in_axes(finding_in(self.review.given.findings, finding_id))
            if self.review is not None
            else None
        )

    def in_axes(self, case_id: str, centre: tuple[float, ...]) -> tuple[float, ...]:
        """Return a point in as many coordinates as the image of its case has axes."""
        return centre[:2] if case_id in self.planar else centre

    @property
    def chosen_finding(self) -> Finding | None:
        """The finding that is chosen, or that the chosen candidate hits, as the reader has it now."""
        found = self.finding(self.selected_id)
        if found is None and self.at_point is not None and self.selected_id:
            hits = np.flatnonzero(
                (self.at_point.candidate_id == self.selected_id) & (self.at_point.finding_id != "")
            )
            found = self.finding(str(self.at_point.finding_id[hits[0]])) if len(hits) else None
        return found

    def set_project(
        self, project: Project | None, findings: FindingTable | None = None, planar: Collection[str] = ()
    ) -> None:
        """Turn to another project, with its reference and the cases of it whose images have two axes."""
        self.planar = frozenset(planar)
        self.project, self.review, self.at_point = project, None, None
        self.errors = self.queue = self.model_disagreements = ErrorTable.empty()
        self.findings = findings if findings is not None else FindingTable.from_objects([])
        self.filter, self.is_adjudicating = QueueFilter(), False
        self._place, self.case_id, self.selected_id = -1, "", ""
        self.project_changed.emit()
        self.cases_changed.emit()

    def set_review(self, review: ReviewData) -> None:
        """Turn to another run, or to more of the same one; the current error stays current where it still is one."""
        if self.review is None or self.review.run_id != review.run_id:
            self.model_disagreements = ErrorTable.empty()
        self.review, self.findings = review, review.corrected.findings
        self._find_errors()
        self.review_changed.emit()
        self.queue_changed.emit()
        self.verdicts_changed.emit()

    def set_operating_point(self, fp_per_scan: float) -> None:
        """Allow another number of false positives per scan."""
        if fp_per_scan != self.fp_per_scan:
            self.fp_per_scan = fp_per_scan
            self._find_errors()
            self.operating_point_changed.emit()
            self.queue_changed.emit()

    def set_filter(self, chosen: QueueFilter, sort: SortKey | None = None) -> None:
        """List other errors, or in another order."""
        self.filter, self.sort = chosen, sort if sort is not None else self.sort
        self._enqueue()
        self.queue_changed.emit()

    def set_model_disagreements(self, found: ErrorTable) -> None:
        """Take over what another run sees otherwise; it is listed where disagreements are asked for."""
        self.model_disagreements = found
        self._enqueue()
        self.queue_changed.emit()

    def go_to(self, place: int) -> None:
        """Make a row of the queue the current one: its case is shown and its object chosen."""
        if not 0 <= place < len(self.queue):
            return
        self._place = place
        item = self.queue[place]
        self.show_case(item.case_id)
        self.select(item.object_id)
        self._place = place  # an object may be in the queue as errors of several kinds
        self.item_changed.emit()

    def go_to_next(self) -> None:
        """Go to the next error without a verdict, or to the next one where all have theirs."""
        ids = self.queue.object_ids
        for place in range(self._place + 1, len(ids)):
            if ids[place] not in self.verdicts:
                self.go_to(place)
                return
        self.go_to(min(self._place + 1, len(ids) - 1))

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

    def forget_case(self) -> None:
        """Have no case on the screen, as the one that was asked for cannot be shown: it may be asked for again."""
        self.case_id = ""

    def select(self, object_id: str) -> None:
        """Choose a candidate or finding by id; the queue follows where it holds it, and has no current row elsewhere."""
        if object_id == self.selected_id:
            return
        self.selected_id = object_id
        row = self.queue.row_of(object_id)
        if row != self._place:
            self._place = row
            self.item_changed.emit()
        self.selection_changed.emit(object_id)

    def set_verdicts(self, verdicts: dict[str, Verdict]) -> None:
        """Take over verdicts as they stand in the project."""
        if self.review is not None:
            self.review = replace(self.review, verdicts=verdicts)
            self.verdicts_changed.emit()

    def set_findings(self, findings: FindingTable) -> None:
        """Take over the reference as the reader has it now."""
        self.findings = findings
        self.findings_changed.emit()

    def set_corrected(self, figures: Figures) -> None:
        """Take over the figures by the corrected reference."""
        if self.review is not None:
            self.review = replace(self.review, corrected=figures)
            self.figures_changed.emit()

    def _in_axes(self, finding: Finding | None) -> Finding | None:
        return (
            None
            if finding is None
            else replace(finding, centre=self.in_axes(finding.case_id, finding.centre))
        )

    def _leave_item(self, elsewhere: bool) -> None:
        """Have no current error: a verdict must never fall on what is not on the screen."""
        if elsewhere and self._place >= 0:
            self._place = -1
            self.item_changed.emit()

    def _find_errors(self) -> None:
        """Find the errors at the operating point."""
        current = self.item.object_id if self.item else ""
        if self.review is None:
            self.errors, self.at_point = ErrorTable.empty(), None
        else:
            self.at_point = match_at(self.review.given.match, self.threshold)
            found = errors_at(self.at_point, self.review.given.findings, self.review.candidates, KINDS)
            self.errors = (
                ErrorTable.joined([found, self.review.further]) if len(self.review.further) else found
            )
        self._enqueue(current)

    def _enqueue(self, current: str = "") -> None:
        """List what the filter lets through; what is being looked at stays so where it is listed."""
        current = current or (self.item.object_id if self.item else "")
        chosen = ErrorTable.joined([self.errors, *self._asked_for()]) if self._asked_for() else self.errors
        context = self._filter_context(chosen)
        if not self.filter.is_empty:
            chosen = chosen.where(self.filter.mask(chosen, context))
        if self.sort != "worst first":
            rows = sorted_rows(chosen, self.sort, descending=self.sort in DESCENDING, context=context)
            chosen = chosen.where(rows)
        self.queue = chosen
        self._place = self.queue.row_of(current) if current else -1

    def _asked_for(self) -> list[ErrorTable]:
        """Return what is listed only where its kind is asked for: it is no error by the reference.

        Where no case was read yet, there is nothing else to list than what is unread.
        """
        if self.review is None:
            return []
        is_unread_wanted = "unread" in self.filter.kinds or not (self.filter.kinds or self.review.cases)
        tables = []
        if "low confidence" in self.filter.kinds:
            tables.append(low_confidence(self.review.given.match, self.review.candidates, self.threshold))
        if is_unread_wanted and len(self.review.unread):
            tables.append(self.review.unread)
        if "disagreement" in self.filter.kinds and len(self.model_disagreements):
            tables.append(self.model_disagreements)
        return tables

    def _filter_context(self, table: ErrorTable) -> FilterContext:
        """Return what filters look at, as far as this one does."""
        if self.review is None:
            return FilterContext()
        context = self.review.context
        grids = self.review.grids
        at = fractions_of(table, grids) if self.filter.places else None
        return replace(context, verdicts=self.verdicts, fractions=at)
