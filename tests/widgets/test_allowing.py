"""The question before code of another package runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QWidget

from napari_medlab.widgets.allowing import asked_to_allow

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


def model(code: dict[str, str] | None) -> Any:  # noqa: ANN401 - what stands in for a bundle
    return SimpleNamespace(code=code, title="spots · 12345678", folder=Path("/site/<b>strange</b>"))


def test_data_is_never_asked_about(qtbot: QtBot) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    assert asked_to_allow(model(None), window)


@pytest.mark.parametrize(("words", "answer"), [("Allow and run", True), ("Leave it", False)])
def test_the_answer_counts_and_leaving_it_is_what_enter_does(
    qtbot: QtBot, words: str, *, answer: bool
) -> None:
    window = QWidget()
    qtbot.addWidget(window)
    seen: list[str] = []

    def reply() -> None:
        box = QApplication.activeModalWidget()
        assert isinstance(box, QMessageBox)
        default = box.defaultButton()
        seen.extend([box.text(), box.informativeText(), default.text()])
        next(button for button in box.buttons() if button.text() == words).click()

    QTimer.singleShot(100, reply)
    code = {"package": "strange", "version": "1.0", "call": "strange:detect"}
    assert asked_to_allow(model(code), window) is answer
    assert seen[0] == "spots · 12345678 is code of the package strange 1.0."
    assert "/site/<b>strange</b>" in seen[1]
    assert seen[2] == "Leave it"
