"""The review queue: worst first, one key for each verdict."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QGridLayout, QLabel, QLineEdit

from napari_medlab.widgets.keys import VERDICT_KEYS
from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.views.curve import CurveView, Line, PlotAxes
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from napari_medlab.evaluation.matching import Kind

__all__ = ["FROC_AXES", "ReviewPanel"]

FROC_AXES = PlotAxes("false positives per scan", "sensitivity", (0.125, 0.25, 0.5, 1, 2, 4, 8), is_log=True)

PLURALS: dict[Kind, str] = {"tp": "found", "fp": "false positives", "fn": "missed"}


class ReviewPanel(Panel):
    """Chooses the operating point, walks through the errors, takes verdicts."""

    title = "Review"

    def build(self) -> None:
        """Make the curve, the counts, the queue and the verdict buttons."""
        self._seconds: list[float] = []
        self._shown_at = time.monotonic()
        self._build_operating_point()
        self.table = RowsTable(("", "Case", "Score", "Size", "Verdict"))
        self.table.setToolTip("False positives (■) by falling score, and misses (◆), nearly found ones first, take turns")
        self.table.rowChosen.connect(self.session.go_to)
        self.column.addWidget(self.table, stretch=1)
        self._detail = note()
        self.column.addWidget(self._detail)
        self._build_verdicts()
        session = self.session
        for signal in (session.review_changed, session.operating_point_changed, session.project_changed):
            self.redraw_on(signal, self._fill)
        self.redraw_on(session.verdicts_changed, self._fill_queue)
        self.listen(session.item_changed, self._on_item_changed)
        self.listen(session.verdict_given, self._on_verdict)
        self.redraw_on(session.cases_changed, self._fill_runs)
        self._fill_runs()
        self._fill()

    def _build_operating_point(self) -> None:
        self._run = chooser()
        self._run.setToolTip("The run whose errors are reviewed")
        self._run.activated.connect(lambda _: self.controller.reload_review(str(self._run.currentData())))
        self.column.addWidget(self._run)
        self._point = QDoubleSpinBox()
        self._point.setRange(0.01, 100.0)
        self._point.setDecimals(3)
        self._point.setValue(self.session.fp_per_scan)
        self._point.setToolTip("How many false positives per scan are allowed: the operating point")
        self._point.valueChanged.connect(self.session.set_operating_point)
        self.column.addLayout(row(QLabel("False positives per scan ≤"), self._point))
        self._curve = CurveView(FROC_AXES)
        self._curve.setToolTip("FROC of the training cases; drag along it to move the operating point")
        self._curve.setMaximumHeight(190)
        self._curve.markerDragged.connect(self.session.set_operating_point)
        self.column.addWidget(self._curve)
        self._counts = QLabel()
        self._counts.setTextFormat(Qt.TextFormat.RichText)
        self._counts.setWordWrap(True)
        self.column.addWidget(self._counts)

    def _build_verdicts(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        for number, (key, verdict) in enumerate(VERDICT_KEYS.items()):
            tip = f"Key {key}: {verdict}, then the next"
            made = button(f"{key}  {verdict}", partial(self.controller.give_verdict, verdict), tip)
            grid.addWidget(made, number // 2, number % 2)
        self.column.addLayout(grid)
        self._comment = QLineEdit()
        self._comment.setPlaceholderText("comment, kept with the next verdict")
        self._comment.setMaxLength(256)
        self._comment.textChanged.connect(self._on_comment)
        self.column.addWidget(self._comment)
        self.column.addLayout(
            row(
                button("P  previous", self.session.go_to_previous, "Key P"),
                button("N  next", self.session.go_to_next, "Key N: the next error without a verdict"),
            )
        )
        self._pace = note()
        self.column.addWidget(self._pace)

    def _on_comment(self, text: str) -> None:
        self.controller.comment = text

    def _on_verdict(self, _: str) -> None:
        self._seconds.append(time.monotonic() - self._shown_at)
        self._comment.clear()
        recent = self._seconds[-20:]
        mean = sum(recent) / len(recent)
        self._pace.setText(f"{len(self._seconds)} verdicts · {mean:.1f} s each · {3600 / max(mean, 0.1):.0f} an hour")

    def _fill_runs(self) -> None:
        """List the runs; the one under review is chosen."""
        self.controller.fill_runs(self._run)
        review = self.session.review
        self._run.setCurrentIndex(self._run.findData(review.run_id) if review is not None else -1)

    def _fill(self) -> None:
        session = self.session
        self._fill_runs()
        self._point.blockSignals(True)
        self._point.setValue(session.fp_per_scan)
        self._point.blockSignals(False)
        if session.review is None:
            self._curve.set_lines()
            self._curve.set_marker(None)
            self._counts.setText("No run yet: run a model first.")
        else:
            curve = session.review.curve
            x = np.geomspace(0.125, 8, 60)
            self._curve.set_lines(*([Line(x, curve.sensitivity_at(x))] if curve.n_findings else []))
            self._curve.set_marker(session.fp_per_scan)
            self._counts.setText(self._count_text())
        self._fill_queue()

    def _count_text(self) -> str:
        at = self.session.at_point
        if at is None or self.session.review is None:
            return ""
        counts = at.counts
        parts = [
            f'<span style="color:{MARKS[kind].colour}">{MARKS[kind].sign} {counts[kind]} {plural}</span>'
            for kind, plural in PLURALS.items()
        ]
        where = f"in {len(at.cases)} scans, score ≥ {self.session.threshold:.2f}"
        if self.session.review.curve.n_findings == 0:
            where += ". No reference findings: every candidate counts as a false positive until there are some."
        return f"{' &nbsp; '.join(parts)} &nbsp; {where}"

    def _fill_queue(self) -> None:
        names = {case.case_id: case.name for case in self.controller.cases}
        verdicts, rows, colours = self.session.verdicts, [], []
        for item in self.session.queue:
            verdict = verdicts.get(item.object_id)
            rows.append(
                (
                    MARKS[item.kind].sign,
                    names.get(item.case_id, item.case_id[:8]),
                    item.score,
                    f"{item.diameter:.0f} {self.controller.unit_of(item.case_id)}" if item.diameter > 0 else "?",
                    verdict.verdict if verdict else "",
                )
            )
            colours.append(MARKS[item.kind].colour)
        self.table.set_rows(rows, colours)
        self.table.choose(self.session.place)
        self._describe()

    def _on_item_changed(self) -> None:
        self._shown_at = time.monotonic()
        self.table.choose(self.session.place)
        self._describe()

    def _describe(self) -> None:
        item = self.session.item
        if item is None:
            self._detail.setText("Choose a row, or press N for the worst error.")
        elif item.kind == "fp":
            unit = self.controller.unit_of(item.case_id)
            near = f"nearest finding {item.distance:.0f} {unit} away"
            far = near if np.isfinite(item.distance) else "no finding in this scan"
            self._detail.setText(f"False positive, score {item.score:.2f}; {far}.")
        elif item.score > 0:
            self._detail.setText(f"Missed {item.label}: its best candidate scored {item.score:.2f}, below the threshold.")
        else:
            self._detail.setText(f"Missed {item.label}: no candidate lies on it.")
