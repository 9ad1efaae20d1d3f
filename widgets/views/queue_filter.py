"""Which errors are listed, and in what order: a line of choices, a form for the rest, and filters saved for everybody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFormLayout,
    QInputDialog,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_medlab.evaluation.error_kinds import CAUSES
from napari_medlab.hardcases.errors.filters import SORT_KEYS, QueueFilter, Span
from napari_medlab.hardcases.errors.places import PLACES
from napari_medlab.hardcases.errors.table import ERROR_KINDS
from napari_medlab.project.edits import set_filter
from napari_medlab.project.records import VERDICTS
from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.panels.panel import button, chooser, note, row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qtpy.QtWidgets import QComboBox

    from napari_medlab.widgets.controller import Controller

__all__ = ["FilterBar"]

ANY = "any"
WIDEST = 1e6
STATUS = {"all": frozenset(), "still open": frozenset({"open"}), "judged": frozenset({"judged"})}
SAVED = "saved filters"


class FilterBar(QWidget):
    """Sets the session's filter and order.

    Parameters
    ----------
    controller : Controller
    """

    def __init__(self, controller: Controller, *, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._controller = controller
        self._is_quiet = False
        self._build_line()
        self._build_form()
        self._said = note()
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row(self._kind, self._status))
        column.addLayout(row(self._sort, self._saved, self._more))
        column.addWidget(self._other)
        column.addWidget(self._form)
        column.addWidget(self._said)
        session = controller.session
        session.review_changed.connect(self._fill)
        session.cases_changed.connect(self._fill)
        session.queue_changed.connect(self._show)

    def show_counts(self, listed: int, found: int) -> None:
        """Say how many errors are listed, and by which conditions."""
        chosen = self._controller.session.filter
        self._said.setText(f"{listed:,} of {found:,} errors: {chosen.describe()}" if not chosen.is_empty else f"{found:,} errors")
        self._clear.setVisible(not chosen.is_empty)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _build_line(self) -> None:
        self._kind = _choices(("all kinds", ""), *((f"{MARKS[kind].sign} {MARKS[kind].title}", kind) for kind in ERROR_KINDS))
        self._kind.setToolTip("Which kinds of error are listed")
        self._status = _choices(*((name, name) for name in (*STATUS, *VERDICTS)))
        self._status.setToolTip("What has been said about them")
        self._sort = _choices(*((name if n == 0 else f"by {name}", name) for n, name in enumerate(SORT_KEYS)))
        self._sort.setToolTip("The order of the list and of the gallery")
        self._saved = chooser(SAVED)
        self._saved.setToolTip("Filters that were saved in this project, for everybody")
        self._saved.activated.connect(self._take_saved)
        self._other = chooser("between readers")
        self._other.setToolTip("Whose disagreement: that of readers, or of another model with this one")
        self._other.activated.connect(self._compare)
        self._other.hide()
        self._more = QPushButton("Filter…")
        self._more.setCheckable(True)
        self._more.setToolTip("By score, size, place, class, cause, fields of the case, tags, readers")
        for box in (self._kind, self._status, self._sort, self._saved):
            box.setMinimumContentsLength(4)
        for box in (self._kind, self._status, self._sort):
            box.activated.connect(self._apply)

    def _build_form(self) -> None:
        self._score, self._size = _span(2, 0.05), _span(1, 1.0)
        self._label, self._reader = _choices((ANY, "")), _choices((ANY, ""))
        self._cause = _choices((ANY, ""), *((name, name) for name in CAUSES))
        self._place = _choices((ANY, ""), *((name, name) for name in PLACES))
        self._field = _choices((ANY, ""))
        self._field.setToolTip("What the cases say of themselves, such as site, scanner or fold: 'project fields' sets it")
        self._tag, self._text = QLineEdit(), QLineEdit()
        self._text.setPlaceholderText("part of the case's name")
        self._clear = button("Clear", self._forget, "List all errors again")
        save = button("Save as…", self._ask_name, "Keep these conditions in the project, under a name")
        self._form = QWidget()
        form = QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(3)
        form.addRow("Score", row(*self._score))
        form.addRow("Size", row(*self._size))
        for title, field in (("Class", self._label), ("Cause", self._cause), ("Place", self._place), ("Field", self._field),
                             ("Tag", self._tag), ("Reader", self._reader), ("Case", self._text)):  # fmt: skip
            form.addRow(title, field)
        form.addRow(row(save, self._clear))
        self._form.hide()
        self._more.toggled.connect(self._form.setVisible)
        for spin in (*self._score, *self._size):
            spin.valueChanged.connect(self._apply)
        for box in (self._label, self._cause, self._place, self._field, self._reader):
            box.activated.connect(self._apply)
        for line in (self._tag, self._text):
            line.editingFinished.connect(self._apply)

    def _apply(self, *_: object) -> None:
        """List what the choices say; the objects of a slice of failure or of a lasso stay chosen."""
        if self._is_quiet:
            return
        session = self._controller.session
        status = str(self._status.currentData())
        field = self._field.currentData()
        chosen = QueueFilter(
            kinds=_one(self._kind), causes=_one(self._cause), labels=_one(self._label), places=_one(self._place),
            readers=_one(self._reader), score=_as_span(self._score), diameter=_as_span(self._size),
            fields={field[0]: frozenset([field[1]])} if field else {},
            status=STATUS.get(status, frozenset({status})),
            tags=frozenset(self._tag.text().split()), text=self._text.text().strip(),
            case_ids=session.filter.case_ids, object_ids=session.filter.object_ids,
        )  # fmt: skip
        session.set_filter(chosen, self._sort.currentData())

    def _compare(self) -> None:
        """List what another run sees otherwise, once it is read and matched."""
        self._controller.compare_with(str(self._other.currentData() or ""))

    def _forget(self) -> None:
        self._controller.session.set_filter(QueueFilter())

    def _show(self) -> None:
        """Let the choices say what the session's filter is: it may have come from elsewhere."""
        chosen = self._controller.session.filter
        self._is_quiet = True
        for box, wanted in ((self._kind, chosen.kinds), (self._cause, chosen.causes), (self._label, chosen.labels),
                            (self._place, chosen.places), (self._reader, chosen.readers)):  # fmt: skip
            box.setCurrentIndex(max(box.findData(next(iter(sorted(wanted)), "")), 0))
        known = next((name for name, status in STATUS.items() if status == chosen.status), next(iter(chosen.status), "all"))
        self._status.setCurrentIndex(max(self._status.findData(known), 0))
        self._sort.setCurrentIndex(self._sort.findData(self._controller.session.sort))
        for spins, span in ((self._score, chosen.score), (self._size, chosen.diameter)):
            for spin, end in zip(spins, (span.low, span.high) if span else (spins[0].minimum(), spins[1].maximum()), strict=True):
                spin.setValue(min(max(end, -WIDEST), WIDEST))
        self._other.setVisible("disagreement" in chosen.kinds)
        self._tag.setText(" ".join(sorted(chosen.tags)))
        self._text.setText(chosen.text)
        self._is_quiet = False

    def _fill(self) -> None:
        """Offer the classes, fields, readers and saved filters that there are."""
        controller, session = self._controller, self._controller.session
        labels = sorted(set(session.errors.label.tolist()))
        fields = sorted({(name, value) for case in controller.cases for name, value in case.fields.items()}, key=repr)
        self._is_quiet = True
        _refill(self._label, ((label, label) for label in labels))
        _refill(self._reader, ((reader, reader) for reader in controller.readers if reader))
        _refill(self._field, ((f"{name} = {value}", (name, value)) for name, value in fields))
        shown, review = self._other.currentData(), session.review
        self._other.clear()
        self._other.addItem("between readers", "")
        for title, run_id in controller.titled_runs():
            if review is not None and run_id != review.run_id:
                self._other.addItem(f"with {title}", run_id)
        self._other.setCurrentIndex(max(self._other.findData(shown), 0))
        self._saved.clear()
        self._saved.addItems([SAVED, *sorted(controller.filters)])
        self._is_quiet = False

    def _take_saved(self, number: int) -> None:
        stored = self._controller.filters.get(self._saved.itemText(number))
        if number > 0 and stored is not None:
            self._controller.session.set_filter(QueueFilter.from_json(stored))

    def _ask_name(self) -> None:
        name, is_given = QInputDialog.getText(self, "Save the filter", "Name, for everybody who opens this project:")
        name = name.strip()[:64]
        if not is_given or not name:
            return
        controller = self._controller
        body = replace(controller.session.filter, object_ids=None).as_json()
        edit = set_filter(name, controller.filters.get(name), body)
        controller.editing.commit(edit, lambda _: controller.reload_cases())


def _choices(*choices: tuple[str, object]) -> QComboBox:
    box = chooser()
    for title, value in choices:
        box.addItem(title, value)
    return box


def _refill(box: QComboBox, choices: Iterable[tuple[str, object]]) -> None:
    """Offer "any" and these; what was chosen stays chosen where it is offered."""
    chosen = box.currentData()
    box.clear()
    box.addItem(ANY, "")
    for title, value in choices:
        box.addItem(title, value)
    box.setCurrentIndex(max(box.findData(chosen), 0))


def _one(box: QComboBox) -> frozenset[str]:
    return frozenset([str(box.currentData())]) if box.currentData() else frozenset()


def _span(decimals: int, step: float) -> tuple[QDoubleSpinBox, QDoubleSpinBox]:
    """Return two fields for the ends of a span; at its widest an end reads "any"."""
    low, high = QDoubleSpinBox(), QDoubleSpinBox()
    for spin, value in ((low, 0.0), (high, WIDEST)):
        spin.setRange(0.0, WIDEST)
        spin.setDecimals(decimals)
        spin.setSingleStep(step)
        spin.setValue(value)
        spin.setKeyboardTracking(False)
    low.setPrefix("from ")
    high.setPrefix("to ")
    return low, high


def _as_span(spins: tuple[QDoubleSpinBox, QDoubleSpinBox]) -> Span | None:
    low, high = spins[0].value(), spins[1].value()
    if low <= spins[0].minimum() and high >= spins[1].maximum():
        return None
    return Span(low, max(low, high) if high < spins[1].maximum() else float("inf"))
