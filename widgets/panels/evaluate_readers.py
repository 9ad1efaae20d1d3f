"""How far two readers agree on a run: verdicts, lesions and outlines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_medlab.hardcases.errors.reader_agreement import ReaderAgreement, reader_agreement
from napari_medlab.widgets.panels.panel import button, chooser, note, row
from napari_medlab.widgets.refusals import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.widgets.controller import Controller

__all__ = ["ReadersPage"]

NARROWEST = 60
"""Pixels: the panel has to fit a narrow dock."""


class ReadersPage(QWidget):
    """Compares two readers of the run that is chosen.

    Parameters
    ----------
    controller : Controller
    run_id : callable
        Returns the run that they are compared by; empty for none.
    """

    plot_name = "readers"

    def __init__(
        self, controller: Controller, run_id: Callable[[], str], *, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._controller, self._run_id = controller, run_id
        self._first, self._second = chooser(), chooser()
        for box in (self._first, self._second):
            box.setMinimumWidth(NARROWEST)
        self.text = note(
            "Verdicts, lesions and outlines of two readers, each as they did them by themselves."
        )
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.addLayout(row(self._first, self._second))
        column.addWidget(
            button("Compare readers", self.compare, "Kappa of verdicts, shared lesions, Dice of outlines")
        )
        column.addWidget(self.text)
        column.addStretch(1)

    @property
    def is_needed(self) -> bool:
        """Whether there are two readers."""
        return self._first.count() > 1

    def fill(self) -> None:
        """Offer the readers that there are."""
        names = [name for name in self._controller.readers if name]
        for number, box in enumerate((self._first, self._second)):
            chosen = box.currentText()
            box.clear()
            box.addItems(names)
            box.setCurrentIndex(names.index(chosen) if chosen in names else min(number, len(names) - 1))

    def compare(self) -> None:
        """Compare two readers in the background."""
        project, run_id = self._controller.session.project, self._run_id()
        if project is None or not run_id:
            self.text.setText("There is no run yet: readers are compared by what they said about one.")
            return
        readers = (self._first.currentText(), self._second.currentText())
        self.text.setText("Comparing …")
        self._controller.background.run(
            "readers", reader_agreement, project, run_id, readers,
            on_done=lambda found: self.text.setText(_in_words(found)),
            on_error=lambda error: self.text.setText(in_words(error)),
        )  # fmt: skip

    def drawing(self) -> None:
        """Return nothing: there is no plot of this."""


def _in_words(found: ReaderAgreement) -> str:
    """Return the agreement of two readers as sentences."""
    verdicts, lesions, outlines = found.verdicts, found.lesions, found.outlines
    first, second = found.readers
    low, high = verdicts.interval
    said = (
        f"kappa {verdicts.kappa:.2f} (95 % interval {low:.2f} to {high:.2f})"
        if np.isfinite(verdicts.kappa)
        else "no kappa"
    )
    drawn = (
        f"mean Dice {outlines.mean:.2f} over {outlines.n} that both drew"
        if outlines.n
        else "none that both drew"
    )
    texts = [
        f"Verdicts: {said} on {verdicts.n_objects} objects that both judged.",
        f"Lesions, {lesions.n_cases} scans that both worked on: {first} has {lesions.n_first}, {second} {lesions.n_second}; "
        f"F1 {lesions.f1:.2f}, {lesions.extra_of_first:.2f} and {lesions.extra_of_second:.2f} a scan are one reader's alone.",
        f"Outlines: {drawn}.",
    ]
    return "\n".join(texts)
