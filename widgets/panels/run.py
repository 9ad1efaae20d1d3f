"""Running a model over cases, in the background."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QMenu, QProgressBar, QPushButton

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.plugins.permission import allow, is_allowed
from napari_medlab.widgets.allowing import asked_to_allow
from napari_medlab.widgets.model_words import DOES, Fit, about, fit, reads_briefly
from napari_medlab.widgets.panels.model_card import CardDialog, read_card
from napari_medlab.widgets.panels.model_import import ImportModel
from napari_medlab.widgets.panels.panel import Panel, button, chooser, note, row
from napari_medlab.widgets.panels.run_options import LEAST_LETTERS, RunOptions
from napari_medlab.widgets.views.table import RowsTable

if TYPE_CHECKING:
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import CaseRecord

__all__ = ["RunPanel"]

COLUMNS = ("Model", "Does", "Reads")
ALL, TRAINING, FROZEN, SHOWN = "all cases", "training cases", "frozen test cases", "the case shown"
UNFIT, CURRENT = "✗ ", "★ "
UNFIT_COLOUR = "#999999"
TROUBLE_COLOURS = {"failed": "#D55E00", "partial": "#E69F00"}
MODEL_ROWS, TROUBLE_ROWS = 5, 4


class RunPanel(Panel):
    """Chooses a model and cases, says what fits, starts, shows progress and what went wrong, cancels."""

    title = "Run"

    def build(self) -> None:
        """Make the lists, the buttons and the progress bars."""
        self._bundles: list[Bundle] = []
        self._chosen = ""
        self._add_models()
        self._which = chooser(ALL, TRAINING, FROZEN, SHOWN)
        self._which.setMinimumContentsLength(LEAST_LETTERS)
        self._which.setToolTip("On which cases the model is run; what is on the screen comes first")
        form = QFormLayout()
        form.addRow("Cases", self._which)
        self.column.addLayout(form)
        self._fits = note()
        self.column.addWidget(self._fits)
        self.options = RunOptions(self.controller)
        self.column.addWidget(self.options)
        self.start_button = button("Run", self._start, "Run the model in the background")
        self.cancel_button = button(
            "Cancel", self.controller.models.cancel, "Stop; what was found so far is kept"
        )
        self.column.addLayout(row(self.start_button, self.cancel_button))
        self._add_progress()
        self.column.addStretch(1)
        self._follow()

    def _add_models(self) -> None:
        self.models = RowsTable(COLUMNS, stretch=0)
        self.models.rowChosen.connect(self._on_model_chosen)
        _set_rows_seen(self.models, MODEL_ROWS)
        self.column.addWidget(self.models)
        self._about = note()
        self.column.addWidget(self._about)
        self.about_button = button(
            "About this model…", self._show_card, "Its card: purpose, figures, limits, origin"
        )
        self.import_button = QPushButton("Import a model…")
        self.import_button.setToolTip(
            "A bundle, a MONAI bundle, an nnU-Net or weights; nothing of its files is run"
        )
        self._import = ImportModel(self.controller, self)
        menu = QMenu(self.import_button)
        menu.addAction("From a file…", self._import.ask_for_file)
        menu.addAction("From a folder…", self._import.ask_for_folder)
        self.import_button.setMenu(menu)
        # one below the other: in large letters they are wider than the panel together
        self.column.addWidget(self.about_button)
        self.column.addWidget(self.import_button)

    def _add_progress(self) -> None:
        self._cases_bar, self._tiles_bar = QProgressBar(), QProgressBar()
        self._cases_bar.setFormat("%v of %m")
        self._tiles_bar.setFormat("tile %v of %m")
        self.column.addWidget(self._cases_bar)
        self.column.addWidget(self._tiles_bar)
        self._tiles_bar.hide()
        self._text, self._backend = note(), note()
        self.column.addWidget(self._text)
        self.column.addWidget(self._backend)
        self.troubles = RowsTable(("Case", "What happened"))
        self.troubles.setToolTip("Click a case to go to it")
        self.troubles.rowChosen.connect(self._on_trouble_chosen)
        _set_rows_seen(self.troubles, TROUBLE_ROWS)
        self.column.addWidget(self.troubles)
        self.troubles.hide()

    def _follow(self) -> None:
        models, session = self.controller.models, self.session
        self.listen(models.bundles_changed, self._fill_models)
        self.listen(models.progressed, self._show_progress)
        self.listen(models.run_advanced, self._show_run)
        self.listen(models.running_changed, self._on_running)
        self.listen(models.backend_chosen, self._show_backend)
        self.listen(models.devices_found, self.options.show_devices)
        self.listen(models.imported, self._on_imported)
        self._which.currentTextChanged.connect(lambda _: self._fill_models())
        self.listen(session.project_changed, self._forget_progress)
        for signal in (session.project_changed, session.cases_changed, session.review_changed):
            self.redraw_on(signal, self._fill_models)
        self.redraw_on(session.case_changed, self._fill_for_case)
        self._fill_models()
        self._on_running(models.is_running)

    # -- models ---------------------------------------------------------------------------------------------------

    @property
    def bundle(self) -> Bundle | None:
        """The model that is chosen."""
        return next((one for one in self._bundles if one.hash == self._chosen), None)

    def choose_model(self, bundle_hash: str) -> None:
        """Choose a model by its hash."""
        self._chosen = bundle_hash
        self._fill_models()

    def choose_cases(self, which: str) -> None:
        """Choose on which cases the model is run: one of the choices, such as :data:`SHOWN`."""
        self._which.setCurrentText(which)

    def _fill_models(self) -> None:
        models = self.controller.models
        known = {bundle.hash for bundle in models.bundles}
        if self._chosen not in known:
            self._chosen = models.current_hash
        self._bundles = list(models.bundles)
        fits = [self._fit(bundle) for bundle in self._bundles]
        rows = [
            (
                _mark(found, is_current=bundle.hash == models.current_hash) + bundle.title,
                DOES[bundle.task],
                reads_briefly(bundle),
            )
            for bundle, found in zip(self._bundles, fits, strict=True)
        ]
        tips = [
            f"{b.title}\n{about(b)}\n{found.reason}".strip()
            for b, found in zip(self._bundles, fits, strict=True)
        ]
        self.models.set_rows(rows, [UNFIT_COLOUR if found.reason else None for found in fits], tips)
        hashes = [bundle.hash for bundle in self._bundles]
        self.models.choose(hashes.index(self._chosen) if self._chosen in hashes else -1)
        self._describe()

    def _fill_for_case(self) -> None:
        if self._which.currentText() == SHOWN:
            self._fill_models()

    def _on_model_chosen(self, number: int) -> None:
        self._chosen = self._bundles[number].hash
        self._describe()

    def _describe(self) -> None:
        bundle = self.bundle
        self.about_button.setEnabled(bundle is not None)
        if bundle is None:
            self._about.setText("No model is chosen.")
            self._fits.setText("")
        else:
            is_current = bundle.hash == self.controller.models.current_hash
            code = "" if bundle.code is None else f" Code of the package {bundle.code['package']}."
            self._about.setText(about(bundle) + code + (" ★ The current model." if is_current else ""))
            found = self._fit(bundle)
            self._fits.setText(f"⚠ {found.reason}" if found.reason else found.note)
        self._fits.setVisible(bool(self._fits.text()))
        self._enable()

    def _fit(self, bundle: Bundle) -> Fit:
        if self.session.project is None:
            return Fit(())
        review = self.session.review
        return fit(bundle, self._cases(), review.run_id if review is not None else "")

    def _cases(self) -> list[CaseRecord]:
        choice = self._which.currentText()
        return [
            case
            for case in self.controller.cases
            if choice == ALL
            or (choice == TRAINING and case.split == "train")
            or (choice == FROZEN and case.frozen)
            or (choice == SHOWN and case.case_id == self.session.case_id)
        ]

    def _show_card(self) -> None:
        bundle = self.bundle
        if bundle is not None:
            self.controller.background.run(
                "card", read_card, bundle, on_done=partial(self._open_card, bundle)
            )

    def _open_card(self, bundle: Bundle, text: str) -> None:
        CardDialog(bundle, text, self.window()).open()

    def _on_imported(self, bundle: Bundle) -> None:
        self._chosen = bundle.hash
        if not any(one.hash == bundle.hash for one in self._bundles):
            self._bundles.append(bundle)

    # -- the run --------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        bundle = self.bundle
        if bundle is None or not self._may_run(bundle):
            return
        review = self.session.review
        options = self.options.options
        if bundle.task == "classification" and review is not None:
            options = replace(options, candidates_of=review.run_id)
        self.controller.models.run(
            bundle.hash, list(self._fit(bundle).case_ids), options, where=self.options.choice
        )

    def _may_run(self, bundle: Bundle) -> bool:
        """Tell whether a model may run: of code that nobody allowed yet, a person is asked."""
        try:
            if is_allowed(bundle):
                return True
            if asked_to_allow(bundle, self.window()):
                allow(bundle)
                return True
        except InputRefusedError as error:
            self.controller.show_error(error)
        return False

    def _show_progress(self, done: int, total: int, text: str) -> None:
        self._cases_bar.setRange(0, total)  # 0 of 0 is a bar that moves to and fro
        self._cases_bar.setValue(done)
        self._text.setText(text)

    def _forget_progress(self) -> None:
        """Show nothing of a run over the cases of another project."""
        self._cases_bar.setRange(0, 1)
        self._cases_bar.reset()
        self._tiles_bar.hide()
        self.troubles.hide()
        self._text.clear()
        self._show_backend("")

    def _show_run(self) -> None:
        progress = self.controller.models.progress
        self._tiles_bar.setVisible(progress.tiles_total > 0)
        if progress.tiles_total:
            self._tiles_bar.setRange(0, progress.tiles_total)
            self._tiles_bar.setValue(progress.tiles_done)
        names = {case.case_id: case.name for case in self.controller.cases}
        found = progress.troubles
        self.troubles.setVisible(bool(found))
        self.troubles.set_rows(
            [(names.get(one.case_id, ""), one.text) for one in found],
            [TROUBLE_COLOURS[one.kind] for one in found],
            [f"{names.get(one.case_id, '')} {one.text}" for one in found],
        )

    def _show_backend(self, text: str) -> None:
        self._backend.setText(text)
        self._backend.setVisible(bool(text))

    def _on_trouble_chosen(self, number: int) -> None:
        found = self.controller.models.progress.troubles
        if number < len(found):
            self._text.setText(found[number].text)
            self.session.show_case(found[number].case_id)

    def _on_running(self, running: bool) -> None:
        self.cancel_button.setEnabled(running)
        self.import_button.setEnabled(not running)
        if not running and not self._cases_bar.maximum():
            self._cases_bar.setRange(0, 1)
        self._enable()

    def _enable(self) -> None:
        bundle = self.bundle
        may = bundle is not None and not self._fit(bundle).reason
        self.start_button.setEnabled(may and not self.controller.models.is_running)


def _mark(found: Fit, *, is_current: bool) -> str:
    return UNFIT if found.reason else CURRENT if is_current else ""


def _set_rows_seen(table: RowsTable, count: int) -> None:
    """Give a table the height of so many rows and its header."""
    rows = count * table.verticalHeader().defaultSectionSize()
    table.setFixedHeight(rows + table.horizontalHeader().sizeHint().height() + 2 * table.frameWidth() + 2)
