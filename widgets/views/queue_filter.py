"""Which errors are listed, and in what order: a line of choices, a form for the rest, and filters saved for everybody."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QFormLayout,
    QInputDialog,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_medlab.errors import MedlabError
from napari_medlab.evaluation.error_kinds import CAUSES
from napari_medlab.hardcases.errors.filters import SORT_KEYS, QueueFilter, Span
from napari_medlab.hardcases.errors.places import PLACES
from napari_medlab.hardcases.errors.table import ERROR_KINDS
from napari_medlab.project.edits import set_filter
from napari_medlab.project.records import VERDICTS
from napari_medlab.widgets.keys import give_keys_back
from napari_medlab.widgets.palette import MARKS
from napari_medlab.widgets.panels.panel import button, chooser, note, row
from napari_medlab.widgets.views.queue_spans import ANY, NARROWEST, SpanFields

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from qtpy.QtWidgets import QComboBox

    from napari_medlab.widgets.controller import Controller

__all__ = ["FilterBar"]

LONGEST_NAME = 64
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
        counts = row(self._said, self._clear)
        counts.setStretch(0, 1)
        column.addLayout(counts)
        session = controller.session
        session.review_changed.connect(self._fill)
        session.cases_changed.connect(self._fill)
        session.queue_changed.connect(self._show)

    def show_counts(self, listed: int, found: int) -> None:
        """Say how many errors are listed, and by which conditions."""
        chosen = self._controller.session.filter
        self._said.setText(
            f"{listed:,} of {found:,} errors: {chosen.describe()}"
            if not chosen.is_empty
            else f"{found:,} errors"
            if found or not listed
            else f"{listed:,} candidates on cases that nobody has read"
        )
        self._clear.setVisible(not chosen.is_empty)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _build_line(self) -> None:
        self._kind = _choices(
            ("all kinds", ""), *((f"{MARKS[kind].sign} {MARKS[kind].title}", kind) for kind in ERROR_KINDS)
        )
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
        self._more.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._more.setToolTip("By score, size, place, class, cause, fields of the case, tags, readers")
        for box, letters in (
            (self._kind, 4),
            (self._status, 4),
            (self._sort, len(SORT_KEYS[0])),
            (self._saved, len(SAVED)),
        ):
            box.setMinimumContentsLength(letters)
            box.setMinimumWidth(NARROWEST)
        self._status.activated.connect(lambda _: self._set(status=_statuses(str(self._status.currentData()))))
        self._sort.activated.connect(self._on_sort)

    def _build_form(self) -> None:
        self._score, self._size = SpanFields(2, 0.05, usual=1.0), SpanFields(1, 1.0, usual=30.0)
        self._label, self._reader = _choices((ANY, "")), _choices((ANY, ""))
        self._cause = _choices((ANY, ""), *((name, name) for name in CAUSES))
        self._place = _choices((ANY, ""), *((name, name) for name in PLACES))
        self._field = _choices((ANY, ""))
        self._field.setToolTip(
            "What the cases say of themselves, such as site, scanner or fold: 'project fields' sets it"
        )
        self._tag, self._text = QLineEdit(), QLineEdit()
        self._text.setPlaceholderText("part of the case's name")
        self._clear = button("Clear", self._forget, "List all errors again")
        self._remove = button("Remove", self._forget_saved, "Keep the saved filter no longer")
        save = button("Save as…", self._ask_name, "Keep these conditions in the project, under a name")
        self._form = QWidget()
        form = QFormLayout(self._form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setSpacing(3)
        form.addRow("Score", self._score)
        form.addRow("Size", self._size)
        for title, field in (("Class", self._label), ("Cause", self._cause), ("Place", self._place), ("Field", self._field),
                             ("Tag", self._tag), ("Reader", self._reader), ("Case", self._text)):  # fmt: skip
            form.addRow(title, field)
        form.addRow(row(save, self._remove))
        self._form.hide()
        self._more.toggled.connect(self._form.setVisible)
        self._words = {
            "kinds": self._kind, "causes": self._cause, "labels": self._label, "places": self._place, "readers": self._reader,
        }  # fmt: skip
        for name, box in self._words.items():
            box.activated.connect(lambda _, name=name, box=box: self._set(**{name: _one(box)}))
        self._field.activated.connect(self._on_field)
        self._score.changed.connect(lambda: self._set(score=self._score.span))
        self._size.changed.connect(lambda: self._set(diameter=self._size.span))
        self._tag.editingFinished.connect(
            lambda: self._set(tags=frozenset(self._tag.text().replace("#", " ").split()))
        )
        self._text.editingFinished.connect(lambda: self._set(text=self._text.text().strip()))
        for line in (self._tag, self._text):
            give_keys_back(line, self.setFocus)

    def _set(self, **conditions: Any) -> None:
        """List by other conditions; those that no choice can show, such as a slice of failure or a lasso, stay."""
        session = self._controller.session
        chosen = replace(session.filter, **conditions)
        if not self._is_quiet and chosen != session.filter:
            session.set_filter(chosen)

    def _on_field(self, _: int) -> None:
        field = self._field.currentData()
        self._set(fields={field[0]: frozenset([field[1]])} if field else {})

    def _on_sort(self, _: int) -> None:
        session = self._controller.session
        session.set_filter(session.filter, self._sort.currentData())

    def _compare(self) -> None:
        """List what another run sees otherwise, once it is read and matched."""
        self._controller.compare_with(str(self._other.currentData() or ""))

    def _forget(self) -> None:
        self._controller.session.set_filter(QueueFilter())

    def _show(self) -> None:
        """Let the choices say what the session's filter is: it may have come from elsewhere."""
        session = self._controller.session
        chosen = session.filter
        self._is_quiet = True
        for name, box in self._words.items():
            _point(box, [str(word) for word in sorted(getattr(chosen, name))])
        known = [name for name, status in STATUS.items() if status == chosen.status]
        _point(self._status, known or sorted(chosen.status))
        wanted = [(name, one) for name, values in chosen.fields.items() for one in _listed(values)]
        _point(self._field, wanted)
        self._sort.setCurrentIndex(self._sort.findData(session.sort))
        self._score.show_span(chosen.score)
        self._size.show_span(chosen.diameter)
        self._other.setVisible("disagreement" in chosen.kinds)
        self._tag.setText(" ".join(sorted(chosen.tags)))
        self._text.setText(chosen.text)
        self._show_saved()
        self._is_quiet = False

    def _show_saved(self) -> None:
        """Name the saved filter that is at work, where it is one as it was saved."""
        body = replace(self._controller.session.filter, object_ids=None).as_json()
        names = [name for name, stored in sorted(self._controller.filters.items()) if stored == body and body]
        _point(self._saved, names[:1])
        self._remove.setVisible(bool(names))

    def _fill(self) -> None:
        """Offer the classes, fields, readers and saved filters that there are."""
        controller, session = self._controller, self._controller.session
        labels = sorted(set(session.errors.label.tolist()))
        fields = sorted(
            {(name, value) for case in controller.cases for name, value in case.fields.items()}, key=repr
        )
        _refill(self._label, ANY, ((label, label) for label in labels))
        _refill(self._reader, ANY, ((reader, reader) for reader in controller.readers if reader))
        _refill(self._field, ANY, ((f"{name} = {value}", (name, value)) for name, value in fields))
        _refill(self._saved, SAVED, ((name, name) for name in sorted(controller.filters)))
        shown, review = self._other.currentData(), session.review
        runs = controller.titled_runs()
        others = (
            (f"with {title}", run_id)
            for title, run_id in runs
            if review is not None and run_id != review.run_id
        )
        _refill(self._other, "between readers", others)
        self._other.setCurrentIndex(max(self._other.findData(shown), 0))
        self._show()

    def _take_saved(self, _: int) -> None:
        stored = self._controller.filters.get(str(self._saved.currentData()))
        if stored is None:
            return
        try:
            self._controller.session.set_filter(QueueFilter.from_json(stored))
        except MedlabError as error:  # saved by a later version
            self._controller.show_error(error)
            self._show()

    def _ask_name(self) -> None:
        name, is_given = QInputDialog.getText(
            self, "Save the filter", "Name, for everybody who opens this project:"
        )
        name = " ".join(name.split())[:LONGEST_NAME]
        if is_given and name:
            self._store(name, replace(self._controller.session.filter, object_ids=None).as_json(), "saved")

    def _forget_saved(self) -> None:
        if name := self._saved.currentData():
            self._store(str(name), None, "removed")

    def _store(self, name: str, body: dict[str, Any] | None, done: str) -> None:
        """Keep conditions under a name, or (None) keep them no longer."""
        controller = self._controller
        try:
            edit = set_filter(name, controller.filters.get(name), body)
        except MedlabError as error:
            controller.show_error(error)
            return

        def stored(_: object) -> None:
            controller.session.saved.emit(f"filter {done}")
            controller.reload_cases()

        controller.editing.commit(edit, stored)


def _choices(*choices: tuple[str, object]) -> QComboBox:
    box = chooser()
    for title, value in choices:
        box.addItem(title, value)
    return box


def _refill(box: QComboBox, first: str, choices: Iterable[tuple[str, object]]) -> None:
    """Offer what asks for nothing, and these."""
    box.clear()
    box.addItem(first, "")
    for title, value in choices:
        box.addItem(title, value)


def _point(box: QComboBox, wanted: Sequence[object]) -> None:
    """Show what is wanted; what is not among the choices, or is several of them, is named without being one."""
    if len(wanted) < 2:
        box.setCurrentIndex(_place_in(box, wanted[0] if wanted else ""))
    else:
        box.setCurrentIndex(-1)
    texts = [" = ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in wanted]
    box.setPlaceholderText(", ".join(texts))


def _place_in(box: QComboBox, value: object) -> int:
    """Return where a value stands among the choices, or -1; pairs are not found by ``findData``."""
    return next((number for number in range(box.count()) if box.itemData(number) == value), -1)


def _listed(values: Collection[object] | Span) -> list[object]:
    return [str(values)] if isinstance(values, Span) else sorted(values, key=repr)


def _statuses(name: str) -> frozenset[str]:
    return STATUS.get(name, frozenset({name}))


def _one(box: QComboBox) -> frozenset[str]:
    return frozenset([str(box.currentData())]) if box.currentData() else frozenset()
