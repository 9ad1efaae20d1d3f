"""The choices over the list of errors: each leads to the right filter, and shows one that comes from elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QInputDialog, QLineEdit
from review_hub import Hub, make_project

from napari_medlab.hardcases.errors.filters import QueueFilter, Span
from napari_medlab.widgets.views.queue_filter import FilterBar
from napari_medlab.widgets.views.queue_spans import SpanFields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_medlab.widgets.controller import Controller

RETURN = Qt.Key.Key_Return
WORDS = {
    "kinds": ("_kind", "fn"),
    "causes": ("_cause", "background"),
    "labels": ("_label", "mass"),
    "places": ("_place", "upper"),
}


@pytest.fixture
def hub(qtbot: QtBot, tmp_path: Path) -> Iterator[Hub]:
    project = make_project(tmp_path / "project")
    yield Hub(project)
    project.close()


@pytest.fixture
def bar(qtbot: QtBot, hub: Hub) -> FilterBar:
    made = FilterBar(cast("Controller", hub))
    qtbot.addWidget(made)
    made.show()
    hub.reload_cases()
    return made


def choose(box: QComboBox, value: object) -> None:
    """Choose as a reader does: the box tells that it was activated."""
    number = next(number for number in range(box.count()) if box.itemData(number) == value)
    box.setCurrentIndex(number)
    box.activated.emit(number)


def type_into(field: QLineEdit, text: str) -> None:
    field.clear()
    QTest.keyClicks(field, text)
    QTest.keyClick(field, RETURN)


@pytest.mark.parametrize("condition", WORDS)
def test_a_choice_of_words_leads_to_its_condition_and_back(bar: FilterBar, hub: Hub, condition: str) -> None:
    name, word = WORDS[condition]
    box = getattr(bar, name)
    choose(box, word)
    wanted = QueueFilter.from_json({condition: [word]})
    assert hub.session.filter == wanted
    hub.session.set_filter(QueueFilter())
    assert box.currentIndex() == 0
    hub.session.set_filter(wanted)
    assert box.currentData() == word


@pytest.mark.parametrize(
    ("shown", "status"),
    [("still open", {"open"}), ("judged", {"judged"}), ("ambiguous", {"ambiguous"}), ("all", set())],
)
def test_the_status_leads_to_its_condition_and_back(
    bar: FilterBar, hub: Hub, shown: str, status: set[str]
) -> None:
    choose(bar._status, shown)
    assert hub.session.filter.status == status
    hub.session.set_filter(QueueFilter(status=frozenset(["agreed"])))
    hub.session.set_filter(QueueFilter(status=frozenset(status)))
    assert bar._status.currentData() == shown


def test_a_field_of_the_cases_leads_to_its_condition_and_back(bar: FilterBar, hub: Hub) -> None:
    choose(bar._field, ("site", "Ulm"))
    assert hub.session.filter == QueueFilter(fields={"site": frozenset(["Ulm"])})
    assert {item.case_id for item in hub.session.queue} == {"two"}
    hub.session.set_filter(QueueFilter(fields={"site": frozenset(["Bonn"])}))
    assert bar._field.currentData() == ("site", "Bonn")


def test_tags_and_names_are_taken_when_they_are_typed_to_the_end(bar: FilterBar, hub: Hub) -> None:
    type_into(bar._tag, "#vessel scar")
    assert hub.session.filter.tags == {"vessel", "scar"}
    type_into(bar._text, " ONE ")
    assert hub.session.filter == QueueFilter(tags=frozenset(["vessel", "scar"]), text="ONE")
    hub.session.set_filter(QueueFilter(text="two"))
    assert (bar._tag.text(), bar._text.text()) == ("", "two")


def test_a_reader_is_offered_once_there_is_one(bar: FilterBar, hub: Hub) -> None:
    hub.readers = ["anna", ""]
    hub.reload_cases()
    choose(bar._reader, "anna")
    assert hub.session.filter.readers == {"anna"}


def test_the_order_is_changed_without_touching_the_conditions(bar: FilterBar, hub: Hub) -> None:
    several = QueueFilter(kinds=frozenset(["fp", "fn"]), overlap=Span(0.1, 0.9))
    hub.session.set_filter(several)
    choose(bar._sort, "size")
    assert (hub.session.sort, hub.session.filter) == ("size", several)


def test_what_no_choice_can_show_survives_another_choice(bar: FilterBar, hub: Hub) -> None:
    hub.session.set_filter(
        QueueFilter(
            kinds=frozenset(["fp", "fn"]), labels=frozenset(["unheard of"]), overlap=Span(0.1, 0.9),
            fields={"age": Span(40, 60)}, object_ids=frozenset(["low"]),
        )
    )  # fmt: skip
    before = hub.session.filter
    assert bar._kind.currentIndex() == -1
    assert bar._kind.placeholderText() == "fn, fp"
    assert bar._label.placeholderText() == "unheard of"
    assert bar._field.placeholderText() == "age = 40 to 60"
    choose(bar._status, "still open")
    assert hub.session.filter == replace(before, status=frozenset(["open"]))


def test_a_field_that_was_only_visited_lists_nothing_anew(bar: FilterBar, hub: Hub) -> None:
    heard: list[int] = []
    hub.session.queue_changed.connect(lambda: heard.append(1))
    bar._text.editingFinished.emit()
    choose(bar._kind, "")
    assert heard == []


def test_clear_is_in_reach_while_the_form_is_closed(bar: FilterBar, hub: Hub) -> None:
    bar.show_counts(4, 4)
    assert not bar._clear.isVisible()
    hub.session.set_filter(QueueFilter(object_ids=frozenset(["low"])))
    bar.show_counts(1, 4)
    assert bar._clear.isVisible()
    assert bar._said.text() == "1 of 4 errors: 1 chosen object"
    bar._clear.click()
    assert hub.session.filter.is_empty


@pytest.mark.parametrize("name", ["a/b'\";--", "<b>ü</b>", "saved filters", "x" * 200, " two  words\t"])
def test_filters_are_saved_under_odd_names_taken_and_removed(
    bar: FilterBar, hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: (name, True))
    chosen = QueueFilter(kinds=frozenset(["fp"]), fields={"site": frozenset(["Ulm"])})
    hub.session.set_filter(chosen)
    bar._ask_name()
    kept = " ".join(name.split())[:64]
    assert hub.project.filters() == {kept: chosen.as_json()}
    assert bar._saved.currentData() == kept
    hub.session.set_filter(QueueFilter())
    assert bar._saved.currentIndex() == 0
    choose(bar._saved, kept)
    assert hub.session.filter == chosen
    bar._remove.click()
    assert hub.project.filters() == {}
    assert bar._saved.count() == 1


@pytest.mark.parametrize(("name", "is_given"), [("", True), ("   ", True), ("kept back", False)])
def test_a_filter_without_a_name_is_not_saved(
    bar: FilterBar, hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str, is_given: bool
) -> None:
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: (name, is_given))
    bar._ask_name()
    assert hub.project.filters() == {}
    assert hub.errors == []


def test_a_name_that_cannot_be_read_is_refused_with_the_reason(
    bar: FilterBar, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QInputDialog, "getText", lambda *_: ("a\u200bb", True))
    bar._ask_name()
    assert len(hub.errors) == 1
    assert "cannot be called" in hub.errors[0]


def test_a_filter_of_a_later_version_is_refused_and_changes_nothing(bar: FilterBar, hub: Hub) -> None:
    hub.filters = {"of tomorrow": {"mood": ["sad"]}}
    hub.session.cases_changed.emit()
    choose(bar._saved, "of tomorrow")
    assert hub.session.filter.is_empty
    assert "mood" in hub.errors[0]
    assert bar._saved.currentIndex() == 0


def test_another_model_is_compared_where_disagreements_are_listed(bar: FilterBar, hub: Hub) -> None:
    assert not bar._other.isVisible()
    choose(bar._kind, "disagreement")
    assert bar._other.isVisible()
    choose(bar._other, "b" * 32)
    assert hub.compared == ["b" * 32]


# -- spans ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def fields(qtbot: QtBot) -> SpanFields:
    made = SpanFields(2, 0.05, usual=1.0)
    qtbot.addWidget(made)
    made.show()
    return made


def enter(fields: SpanFields, end: str, text: str) -> None:
    spin = getattr(fields, end)
    spin.selectAll()
    QTest.keyClicks(spin, text)
    QTest.keyClick(spin, RETURN)


def test_open_ends_read_any_and_ask_for_nothing(fields: SpanFields) -> None:
    assert (fields.low.text(), fields.high.text()) == ("from any", "to any")
    assert fields.span is None


def test_typed_ends_make_a_span_once_they_are_complete(fields: SpanFields) -> None:
    heard: list[Span | None] = []
    fields.changed.connect(lambda: heard.append(fields.span))
    enter(fields, "low", "0.25")
    enter(fields, "high", "0.75")
    assert heard == [Span(0.25, math.inf), Span(0.25, 0.75)]


def test_an_upper_end_alone_leaves_the_lower_one_open(fields: SpanFields) -> None:
    enter(fields, "high", "0.5")
    assert fields.span == Span(-math.inf, 0.5)


def test_an_upper_end_below_the_lower_one_is_lifted_to_it(fields: SpanFields) -> None:
    enter(fields, "low", "0.8")
    enter(fields, "high", "0.1")
    assert fields.span == Span(0.8, 0.8)


def test_an_end_that_is_emptied_is_open_again(fields: SpanFields) -> None:
    fields.show_span(Span(0.2, 0.4))
    fields.high.selectAll()
    QTest.keyClick(fields.high, Qt.Key.Key_Delete)
    QTest.keyClick(fields.high, RETURN)
    assert fields.span == Span(0.2, math.inf)
    assert fields.high.text() == "to any"


def test_the_first_step_from_any_leads_to_where_there_is_something(fields: SpanFields) -> None:
    QTest.keyClick(fields.high, Qt.Key.Key_Down)
    assert fields.high.value() == 1.0
    QTest.keyClick(fields.high, Qt.Key.Key_Down)
    assert fields.high.value() == pytest.approx(0.95)


@pytest.mark.parametrize("span", [Span(0.1, 0.2), Span(-math.inf, 0.3), Span(0.4, math.inf)])
def test_a_span_that_is_shown_is_the_span_that_is_read(fields: SpanFields, span: Span) -> None:
    fields.show_span(span)
    assert fields.span == span
    fields.show_span(None)
    assert fields.span is None
