"""Lines of napari's activity dock: only for what takes long, gone when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from napari.utils import progress

from napari_medlab.widgets import activity
from napari_medlab.widgets.activity import Activity, SpokenActivity

if TYPE_CHECKING:
    from pytestqt.qtbot import QtBot


@pytest.fixture(autouse=True)
def patience(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is there, and nobody waits long."""
    assert qtbot is not None
    monkeypatch.setattr(activity, "PATIENCE_MS", 30)


def lines() -> list[progress]:
    return [bar for bar in progress._all_instances if not bar.disable]


def test_what_is_done_at_once_is_never_shown(qtbot: QtBot) -> None:
    Activity("short").finish()
    qtbot.wait(80)
    assert lines() == []


def test_what_takes_long_is_shown_with_how_far_it_is_and_goes(qtbot: QtBot) -> None:
    work = Activity("long")
    work.update(3, 10, "slices")
    qtbot.waitUntil(lambda: len(lines()) == 1, timeout=5000)
    (line,) = lines()
    assert (line.n, line.total) == (3, 10)
    assert line.desc.startswith("long: slices")
    work.update(7, 12, "more")
    assert (line.n, line.total) == (7, 12)
    work.finish()
    assert lines() == []
    work.finish()


def test_words_make_a_line_and_none_ends_it(qtbot: QtBot) -> None:
    spoken = SpokenActivity("Reading images", lambda: None)
    spoken.tell("")
    spoken.tell("reading CT: 1 of 9")
    qtbot.waitUntil(lambda: len(lines()) == 1, timeout=5000)
    spoken.tell("reading CT: 2 of 9")
    assert lines()[0].desc.startswith("Reading images: reading CT: 2 of 9")
    spoken.tell("")
    assert lines() == []
