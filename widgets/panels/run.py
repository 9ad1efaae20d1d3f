"""Running a model over cases, in the background."""

from __future__ import annotations

from qtpy.QtWidgets import QFormLayout, QProgressBar

from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row

__all__ = ["RunPanel"]


class RunPanel(Panel):
    """Chooses a model and cases, starts, shows progress, cancels."""

    title = "Run"

    def build(self) -> None:
        """Make the form, the buttons and the progress bar."""
        self._model, self._which = chooser(), chooser()
        self._model.setToolTip("Every version of every model that this project knows; the current one is marked.")
        self._which.addItems(["all cases", "training cases", "frozen test cases", "the case shown"])
        form = QFormLayout()
        form.addRow("Model", self._model)
        form.addRow("Cases", self._which)
        self.column.addLayout(form)
        self.start_button = button("Run", self._start, "Find candidates in the background")
        self.cancel_button = button("Cancel", self.controller.models.cancel, "Stop; what was found so far is kept")
        self.column.addLayout(row(self.start_button, self.cancel_button))
        self._bar = QProgressBar()
        self.column.addWidget(self._bar)
        self._text = note()
        self._text.setFixedHeight(4 * self._text.fontMetrics().lineSpacing())
        self.column.addWidget(self._text)
        self.column.addStretch(1)
        models = self.controller.models
        self.listen(models.bundles_changed, self._fill_models)
        self.listen(models.progressed, self._show_progress)
        self.listen(models.running_changed, self._on_running)
        self._fill_models()
        self._on_running(models.is_running)

    def _fill_models(self) -> None:
        models = self.controller.models
        self._model.clear()
        for bundle in models.bundles:
            mark = "  (current)" if bundle.hash == models.current_hash else ""
            self._model.addItem(bundle.title + mark, bundle.hash)
        at = self._model.findData(models.current_hash)
        self._model.setCurrentIndex(max(at, 0))

    def _start(self) -> None:
        choice = self._which.currentText()
        cases = [
            case.case_id
            for case in self.controller.cases
            if choice == "all cases"
            or (choice == "training cases" and case.split == "train")
            or (choice == "frozen test cases" and case.frozen)
            or (choice == "the case shown" and case.case_id == self.session.case_id)
        ]
        self.controller.models.run(str(self._model.currentData() or ""), cases)

    def _show_progress(self, done: int, total: int, text: str) -> None:
        self._bar.setRange(0, max(total, 1))
        self._bar.setValue(done)
        self._text.setText(text)

    def _on_running(self, running: bool) -> None:
        self.start_button.setEnabled(not running)
        self.cancel_button.setEnabled(running)
