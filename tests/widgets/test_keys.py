"""Keys: those of the manifest are those of the window, and one key never does two things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QDialog, QLabel, QWidget

from napari_medlab.widgets.keys import ACTIONS, VERDICTS, Keys, key_of, show_key_card

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot


def keys_of(window: QWidget) -> list[str]:
    return [shortcut.key().toString() for shortcut in window.findChildren(QShortcut)]


def test_the_preferences_list_every_action_with_its_key(repository: Path) -> None:
    manifest = yaml.safe_load((repository / "napari_medlab" / "napari.yaml").read_text(encoding="utf-8"))
    page = manifest["contributions"]["configurations"]["keys"]["properties"]
    assert {name: field["default"] for name, field in page.items()} == {n: a.key for n, a in ACTIONS.items()}


def test_no_two_actions_begin_with_one_key() -> None:
    keys = [QKeySequence(action.key).toString() for action in ACTIONS.values()]
    assert len(set(keys)) == len(keys)
    assert set(VERDICTS) <= set(ACTIONS)


def test_keys_can_be_changed_and_an_empty_one_is_the_usual_one(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    keys = Keys(window, {"next_error": lambda: None, "previous_error": lambda: None})
    assert keys_of(window) == ["N", "P"]
    keys.assign({"next_error": "Ctrl+Right", "previous_error": ""})
    assert keys_of(window) == ["Ctrl+Right", "P"]
    assert key_of("next_error", {"next_error": "J"}) == "J"


def test_a_key_that_was_given_twice_does_one_thing(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    keys = Keys(window, {"next_error": lambda: None, "previous_error": lambda: None})
    keys.assign({"next_error": "J", "previous_error": "J"})
    assert keys_of(window) == ["J", ""]


def test_the_card_shows_the_keys_as_they_are(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    show_key_card(window, {"brush": "K"})
    card = window.findChild(QDialog)
    assert card is not None
    texts = {label.text() for label in card.findChildren(QLabel)}
    assert {"K", ACTIONS["brush"].title, *(group.group for group in ACTIONS.values())} <= texts
    assert "B" not in texts
