"""Which classes are taken for which: a confusion matrix whose cells list what is in them, each a click from its place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medlab.hardcases.errors.filters import QueueFilter
from napari_medlab.reports.plots import matrix_figure
from napari_medlab.reports.run_classes import ConfusedClasses, confused_classes
from napari_medlab.widgets.panels.evaluate_errors import open_review
from napari_medlab.widgets.panels.panel import note
from napari_medlab.widgets.views.matrix import Matrix, MatrixView
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from napari_medlab.reports.run_classes import PlacedObject
    from napari_medlab.widgets.controller import Controller
    from napari_medlab.widgets.panels.evaluate_errors import Evaluated

__all__ = ["ClassesPage"]

EXPLAINED = (
    "The reference's classes down, the model's across, at the operating point. Choose a cell: what is in it is listed, "
    "and misses and false positives in the queue, too."
)
LISTED = 8
"""So many lines are in sight at least."""


class ClassesPage(QWidget):
    """Shows the confusion matrix of a run and the objects of the chosen cell."""

    plot_name = "classes"

    def __init__(self, controller: Controller, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._shown: Evaluated | None = None
        self._fp_per_scan = 1.0
        self._confused: ConfusedClasses | None = None
        self._objects: tuple[PlacedObject, ...] = ()
        self._cell_text = ""
        self.matrix = MatrixView()
        self.matrix.cellChosen.connect(self._choose)
        self.text = note(EXPLAINED)
        self.table = RowsTable(("Case", "Score"), stretch=0)
        self.table.setToolTip("Choose a row to see its place")
        self.table.rowChosen.connect(self._visit)
        self.table.setMinimumHeight(LISTED * self.table.verticalHeader().defaultSectionSize())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        for widget in (self.matrix, self.text, self.table):
            column.addWidget(widget)
        column.setStretch(2, 1)

    def show_run(self, shown: Evaluated, fp_per_scan: float) -> None:
        """Show the classes of a run at an operating point."""
        self._shown, self._fp_per_scan = shown, fp_per_scan
        self._find()

    def set_point(self, fp_per_scan: float) -> None:
        """Go to another operating point."""
        self._fp_per_scan = fp_per_scan
        self._find()

    def clear(self) -> None:
        """Show no run."""
        self._shown, self._confused, self._objects = None, None, ()
        self.matrix.show_matrix(Matrix((), (), np.zeros((0, 0), dtype=np.int64)))
        self.table.set_rows([])
        self.text.setText(EXPLAINED)

    def drawing(self) -> Callable[[], Figure] | None:
        """Return what draws the matrix that is shown as a figure, in any thread."""
        if self._shown is None or self._confused is None:
            return None
        found, title = (
            self._confused.matrix,
            f"{self._shown.name}, at {self._fp_per_scan:.3g} false positives per scan",
        )
        return partial(matrix_figure, found.finding_labels, found.candidate_labels, found.counts, title)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _find(self) -> None:
        shown = self._shown
        if shown is not None:
            threshold = shown.figures.report.curve.threshold_at(self._fp_per_scan)
            self._controller.background.run(
                "classes", confused_classes, shown.figures.run, threshold, on_done=self._show
            )

    def _show(self, found: ConfusedClasses) -> None:
        self._confused, self._objects = found, ()
        matrix = found.matrix
        self.matrix.show_matrix(Matrix(matrix.finding_labels, matrix.candidate_labels, matrix.counts))
        self.table.set_rows([])
        self.text.setText(EXPLAINED)

    def _choose(self, row: int, column: int) -> None:
        """List what is in a cell, and its errors in the queue."""
        found, shown = self._confused, self._shown
        if found is None or shown is None:
            return
        names = {case.case_id: case.name for case in self._controller.cases}
        self._objects = objects = found.objects(row, column)
        self.table.set_source(
            len(objects),
            lambda n: (
                names.get(objects[n].case_id, ""),
                objects[n].score if np.isfinite(objects[n].score) else None,
            ),
        )
        labels = found.matrix.finding_labels[row], found.matrix.candidate_labels[column]
        self._cell_text = " → ".join(labels)
        self.text.setText(f"{len(objects):,}: reference “{labels[0]}”, model “{labels[1]}”.")
        is_error = (
            row == len(found.matrix.finding_labels) - 1 or column == len(found.matrix.candidate_labels) - 1
        )
        if not is_error:
            return
        ids = frozenset(object_id for each in objects for object_id in each.object_ids)
        open_review(self._controller, shown, QueueFilter(object_ids=ids), self._fp_per_scan)

    def _visit(self, number: int) -> None:
        place = self._objects[number]
        self._controller.display.visit(place.case_id, place.centre, self._cell_text)
