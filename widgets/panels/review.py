"""The review queue: worst first, one key for each verdict."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QCheckBox, QGridLayout, QLabel, QLineEdit, QWidget

from napari_medlab.widgets.keys import VERDICTS, give_keys_back, key_of
from napari_medlab.widgets.palette import MARKS, legible
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.preferences import chosen_keys, follow_keys
from napari_medlab.widgets.views.operating_point import OperatingPoint
from napari_medlab.widgets.views.queue_filter import FilterBar
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qtpy.QtWidgets import QPushButton

    from napari_medlab.hardcases.errors.table import QueueItem

__all__ = ["ReviewPanel", "describe_item"]

PLURALS = {"tp": "found", "fp": "false&nbsp;positives", "fn": "missed"}
SHORT = {"model wrong": "model", "reference wrong": "ref", "ambiguous": "?", "agreed": "✓"}
"""Verdicts as they stand in the list."""
PACE_OF = 20
"""The pace is that of so many verdicts."""


class ReviewPanel(Panel):
    """Chooses the operating point, walks through the errors, takes verdicts."""

    title = "Review"

    def build(self) -> None:
        """Make the curve, the counts, the queue and the verdict buttons."""
        self._seconds: list[float] = []
        self._came_from: QWidget | None = None
        self._shown_at = time.monotonic()
        self._build_run()
        self.point = OperatingPoint()
        self.point.fpPerScanChosen.connect(self.session.set_operating_point)
        self.column.addWidget(self.point)
        self._counts = QLabel()
        self._counts.setTextFormat(Qt.TextFormat.RichText)
        self._counts.setWordWrap(True)
        self.column.addWidget(self._counts)
        self.filter = FilterBar(self.controller)
        self.column.addWidget(self.filter)
        self.table = RowsTable(("", "Case", "Score", "Size", "Said"))
        self.table.set_title_tips("Kind of error", "", "Score of the model", "Diameter", "Your verdict")
        self.table.setToolTip("Errors of every kind take turns, the worst of each first")
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.rowChosen.connect(self.session.go_to)
        self.column.addWidget(self.table, stretch=1)
        self._detail = note()
        self.column.addWidget(self._detail)
        self._build_verdicts()
        session = self.session
        for signal in (session.review_changed, session.operating_point_changed, session.project_changed,
                       session.figures_changed):  # fmt: skip
            self.redraw_on(signal, self._fill_figures)
        for signal in (session.queue_changed, session.verdicts_changed, session.project_changed):
            self.redraw_on(signal, self._fill_queue)
        self.listen(session.item_changed, self._on_item_changed)
        self.listen(session.verdict_given, self._on_verdict)
        self.listen(self.controller.remark_asked, self._ask_remark)
        for signal in (session.cases_changed, session.review_changed):
            self.redraw_on(signal, self._fill_runs)
        self._fill_runs()
        self._fill_figures()
        self._fill_queue()

    def _build_run(self) -> None:
        self._run = chooser()
        self._run.setToolTip("The run whose errors are reviewed")
        self._run.activated.connect(lambda _: self.controller.reload_review(str(self._run.currentData())))
        self._adjudicate = QCheckBox("adjudicate")
        self._adjudicate.setToolTip(
            "Settle what readers disagree on: your verdicts and corrections count for all of them"
        )
        self._adjudicate.toggled.connect(self.controller.set_adjudicating)
        self.column.addLayout(row(self._run, self._adjudicate))

    def _build_verdicts(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        self._keyed: dict[str, tuple[QPushButton, str]] = {}
        for number, (name, verdict) in enumerate(VERDICTS.items()):
            made = button(
                "", partial(self.controller.editing.give_verdict, verdict), f"{verdict}, then the next"
            )
            self._keyed[name] = made, verdict
            grid.addWidget(made, number // 2, number % 2)
        self.column.addLayout(grid)
        self._remark = QLineEdit()
        self._remark.setMaxLength(256)
        self._remark.textChanged.connect(self._on_remark)
        give_keys_back(self._remark, self._leave_remark)
        self.column.addWidget(self._remark)
        previous = button("", self.session.go_to_previous, "The error before this one in the list")
        following = button("", self.session.go_to_next, "The next error without a verdict")
        self._keyed |= {"previous_error": (previous, "previous"), "next_error": (following, "next")}
        self.column.addLayout(row(previous, following))
        self._name_keys(chosen_keys())
        self.destroyed.connect(follow_keys(self._name_keys))
        self._pace = note()
        self.column.addWidget(self._pace)

    def _name_keys(self, chosen: Mapping[str, str]) -> None:
        """Write the keys on the buttons as they are in the preferences."""
        for name, (made, text) in self._keyed.items():
            made.setText(f"{key_of(name, chosen)}  {text}")
        self._remark.setPlaceholderText(
            f"{key_of('comment', chosen)}  comment and #tags for the next verdict"
        )
        self._describe()

    def _ask_remark(self) -> None:
        self._came_from = QApplication.focusWidget()
        self._remark.setFocus()
        self._remark.selectAll()

    def _leave_remark(self) -> None:
        """Go back to where the comment was asked for: what is chosen in the gallery is judged from there."""
        with suppress(RuntimeError):  # it may have gone meanwhile
            if self._came_from not in (None, self._remark) and self._came_from.isVisible():
                self._came_from.setFocus()
                return
        self.setFocus()

    def _on_remark(self, text: str) -> None:
        self.controller.editing.remark = text

    def _on_verdict(self, _: str) -> None:
        self._seconds.append(time.monotonic() - self._shown_at)
        self._remark.clear()
        recent = self._seconds[-PACE_OF:]
        mean = sum(recent) / len(recent)
        count = len(self._seconds)
        given = "1 verdict" if count == 1 else f"{count:,} verdicts"
        self._pace.setText(f"{given} · {mean:.1f} s each · {3600 / max(mean, 0.1):.0f} an hour")

    def _fill_runs(self) -> None:
        """List the runs; the one under review is chosen."""
        self.controller.fill_runs(self._run)
        review = self.session.review
        self._run.setCurrentIndex(self._run.findData(review.run_id) if review is not None else -1)
        others = [name for name in self.controller.readers if name]
        self._adjudicate.setVisible(len(others) > 1 or self.session.is_adjudicating)
        with QSignalBlocker(self._adjudicate):  # a project that is opened begins without
            self._adjudicate.setChecked(self.session.is_adjudicating)

    def _fill_figures(self) -> None:
        session = self.session
        self.point.show_curves(session.review, session.fp_per_scan)
        self._counts.setText(
            "No run yet: run a model first." if session.review is None else self._count_text()
        )

    def _legible(self, kind: str) -> str:
        return str(legible(QColor(MARKS[kind].colour), self.palette()).name())

    def _count_text(self) -> str:
        session, at = self.session, self.session.at_point
        if at is None or session.review is None:
            return ""
        counts, review = at.counts, session.review
        parts = [
            f'<span style="color:{self._legible(kind)}">{MARKS[kind].sign}&nbsp;{counts[kind]:,}&nbsp;{plural}</span>'  # type: ignore[index]
            for kind, plural in PLURALS.items()
        ]
        scans = "1 scan" if len(at.cases) == 1 else f"{len(at.cases):,} scans"
        at_least = f", score ≥ {session.threshold:.2f}" if np.isfinite(session.threshold) else ""
        text = (
            f"{' &nbsp;'.join(parts)} in {scans}{at_least}"
            if at.cases
            else "No case of this run has been read yet"
        )
        if review.unread_cases:
            text += f". {_unread_words(len(review.unread_cases))}"
        elif review.given.curve.n_findings == 0:
            text += (
                ". No reference findings: every candidate counts as a false positive until there are some."
            )
        if review.corrected is not review.given:
            text += f"<br>CPM {review.given.curve.cpm:.3f} as given, {review.corrected.curve.cpm:.3f} as corrected"
        return text

    def _fill_queue(self) -> None:
        session, queue, unit_of = self.session, self.session.queue, self.controller.unit_of
        names = {case.case_id: case.name for case in self.controller.cases}

        def cells(place: int) -> tuple[str | float, ...]:
            item = queue[place]
            verdict = session.verdicts.get(item.object_id)
            size = f"{item.diameter:.0f} {unit_of(item.case_id)}" if item.diameter > 0 else "?"
            figure = item.overlap if item.kind == "poor outline" else item.score
            # nothing scored where nothing was marked
            shown = "–" if item.kind == "fn" and figure <= 0 else figure
            said = SHORT[verdict.verdict] if verdict is not None else ""
            return (MARKS[item.kind].sign, names.get(item.case_id, item.case_id[:8]), shown, size, said)

        self.table.set_source(
            len(queue), cells, lambda place: MARKS[str(queue.kind[place])].colour,
            tip=lambda place: describe_item(queue[place], ""),
        )  # fmt: skip
        self.table.choose(session.place)
        self.filter.show_counts(len(queue), len(session.errors))
        self._describe()

    def _on_item_changed(self) -> None:
        self._shown_at = time.monotonic()
        self.redraw(self._follow)

    def _follow(self) -> None:
        self.table.choose(self.session.place)
        self._describe()

    def _what_to_do(self) -> str:
        """Return what helps where no error is being looked at."""
        session = self.session
        if len(session.queue):
            return f"Choose a row, or press {key_of('next_error', chosen_keys())} for the worst error."
        if session.review is None:
            return ""
        return (
            "No error is listed: Clear lists all of them."
            if not session.filter.is_empty
            else "No errors at this point."
        )

    def _describe(self) -> None:
        item = self.session.item
        if item is None:
            self._detail.setText(self._what_to_do())
            return
        text = describe_item(item, self.controller.unit_of(item.case_id))
        verdict = self.session.verdicts.get(item.object_id)
        if verdict is not None and (verdict.comment or verdict.tags):
            text += f" “{verdict.comment}”" + "".join(f" #{tag}" for tag in verdict.tags)
        self._detail.setText(text)


def _unread_words(count: int) -> str:
    """Return what is the matter with cases that nobody has read."""
    cases = "1 case" if count == 1 else f"{count:,} cases"
    return (
        f"{cases} that nobody has read {'does' if count == 1 else 'do'} not count: what the model marks there is neither right "
        f"nor wrong yet, and is listed as {MARKS['unread'].sign} unread."
    )


CAUSES = {
    "background": "there is nothing like it in the reference", "localisation": "a finding lies just outside its reach",
    "class": "it lies on a finding of another class", "both": "near a finding of another class",
}  # fmt: skip
"""Why a candidate is a false positive, in words."""


def describe_item(item: QueueItem, unit: str) -> str:
    """Return in a sentence what an error is."""
    if item.kind == "fp":
        near = f"nearest finding {item.distance:.0f} {unit} away".replace("  ", " ")
        why = CAUSES.get(item.cause, "")
        where = near if np.isfinite(item.distance) else "no finding in this scan"
        parts = [f"False positive, score {item.score:.2f}", why, where]
        return "; ".join(part for part in parts if part) + "."
    if item.kind == "fn":
        if item.score > 0:
            return f"Missed {item.label}: its best candidate scored {item.score:.2f}, below the threshold."
        return f"Missed {item.label}: no candidate lies on it."
    if item.kind == "poor outline":
        return f"Outlined poorly: Dice {item.overlap:.2f} with the reference."
    if item.kind == "unread":
        return (
            f"Marked on a case that nobody has read, score {item.score:.2f}. “model wrong” says that there is nothing, "
            "“reference wrong” that it is a finding."
        )
    said = f": {item.other}" if item.other else ""
    return f"{MARKS[item.kind].title.capitalize()}{said}, score {item.score:.2f}."
