"""Thumbnails of cases: read in the background, kept in memory and on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from picture_cases import GREY, Cases
from qtpy.QtGui import QColor

from napari_medlab.widgets.views.thumbnails import ThumbnailStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.window


@pytest.fixture
def cases() -> Cases:
    return Cases()


@pytest.fixture
def store(qtbot: QtBot, cases: Cases) -> Iterator[ThumbnailStore]:
    made = ThumbnailStore(cases, size_px=32)
    yield made
    cases.gate.set()
    made.close()


def test_a_thumbnail_comes_after_it_was_asked_for(qtbot: QtBot, store: ThumbnailStore) -> None:
    with qtbot.waitSignal(store.arrived, timeout=5000) as told:
        assert store.picture("one") is None
    assert told.args == ["one"]
    picture = store.picture("one")
    assert picture is not None
    assert (picture.width(), picture.height()) == (32, 32)
    assert picture.pixelColor(16, 16) == QColor(GREY, GREY, GREY)


def test_what_was_asked_for_last_is_read_first_and_what_long_ago_not_at_all(
    qtbot: QtBot, store: ThumbnailStore, cases: Cases
) -> None:
    cases.gate.clear()
    for number in range(500):
        store.picture(str(number))
    qtbot.waitUntil(lambda: len(cases.opened) == 2, timeout=5000)
    assert set(cases.opened) == {"499", "498"}
    cases.gate.set()
    qtbot.waitUntil(lambda: store.is_idle, timeout=10_000)
    assert min(map(int, cases.opened)) >= 400
    assert len(cases.opened) == len(set(cases.opened))


def test_a_case_that_cannot_be_read_is_tried_once(qtbot: QtBot, store: ThumbnailStore, cases: Cases) -> None:
    with qtbot.waitSignal(store.arrived, timeout=5000):
        store.picture("broken")
    assert store.picture("broken") is None
    qtbot.wait(60)
    assert cases.opened == ["broken"]


def test_nothing_of_the_project_before_comes_back(qtbot: QtBot, store: ThumbnailStore, cases: Cases) -> None:
    told: list[str] = []
    store.arrived.connect(told.append)
    cases.gate.clear()
    store.picture("one")
    qtbot.waitUntil(lambda: bool(cases.opened), timeout=5000)
    store.clear()
    cases.gate.set()
    qtbot.waitUntil(lambda: store.is_idle, timeout=5000)
    assert told == []


def test_the_second_time_no_image_is_opened(
    qtbot: QtBot, cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDLAB_CACHE_DIR", str(tmp_path))
    pictures = []
    for _ in range(2):
        store = ThumbnailStore(cases, lambda case_id: f"fingerprint of {case_id}")
        with qtbot.waitSignal(store.arrived, timeout=5000):
            store.picture("one")
        pictures.append(store.picture("one"))
        qtbot.waitUntil(lambda made=store: made.is_idle, timeout=5000)  # type: ignore[misc]
        store.close()
    assert cases.opened == ["one"]
    assert pictures[0] is not None
    assert pictures[0] == pictures[1]
