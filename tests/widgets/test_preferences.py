"""Memory and disk as the page of preferences sets them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.images import memory_budget_bytes, set_memory_budget
from napari_medlab.images.slides.tile_store import TileStore
from napari_medlab.images.tiles.cache import shared_cache
from napari_medlab.widgets import preferences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30
HANG = 30.0


@pytest.fixture(autouse=True)
def closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Start from defaults, and note each time that the reader was to be ended."""
    ended: list[str] = []
    monkeypatch.delenv("MEDLAB_MEMORY_BUDGET_MIB", raising=False)
    monkeypatch.delenv("MEDLAB_CACHE_MIB", raising=False)
    monkeypatch.setattr(
        preferences, "close_reader", lambda: ended.append(os.environ.get("MEDLAB_CACHE_MIB", ""))
    )
    monkeypatch.setattr(preferences, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(preferences, "_set_here", [])
    monkeypatch.setattr(preferences, "_followed", [])
    limit = shared_cache().limit_bytes
    yield ended
    for timer in preferences._pending:
        timer.join()
    os.environ.pop("MEDLAB_CACHE_MIB", None)
    set_memory_budget(None)
    shared_cache().limit_bytes = limit


@pytest.fixture
def stored(plugin_settings: None, npe2pm: Any) -> Any:  # noqa: ANN401 - napari's
    from napari.settings import get_plugin_settings
    from npe2 import PluginManifest

    npe2pm.register(PluginManifest.from_distribution("napari-medlab"))
    return get_plugin_settings("napari-medlab").storage


def soon(found: list[str], expected: list[str]) -> None:
    until = time.monotonic() + HANG
    while found != expected and time.monotonic() < until:
        time.sleep(0.01)
    assert found == expected


def test_by_default_nothing_is_changed(stored: Any, closed: list[str]) -> None:  # noqa: ANN401 - as above
    import psutil

    preferences.apply_preferences()
    assert (stored.memory_budget_mib, stored.slide_cache_mib) == (0, 20 * 1024)
    assert memory_budget_bytes() == psutil.virtual_memory().total // 4
    assert "MEDLAB_CACHE_MIB" not in os.environ
    assert closed == []


def test_what_is_stored_holds_from_the_start(stored: Any, closed: list[str]) -> None:  # noqa: ANN401 - as above
    stored.memory_budget_mib, stored.slide_cache_mib = 640, 512
    assert preferences.get_reader("nowhere.dcm") is None
    assert memory_budget_bytes() == 640 * MIB
    assert shared_cache().limit_bytes == 160 * MIB
    assert TileStore.of("any slide")._limit == 512 * MIB
    soon(closed, ["512"])


def test_a_change_holds_at_once_and_the_reader_learns_of_it_when_typing_is_over(
    stored: Any,  # noqa: ANN401 - as above
    closed: list[str],
) -> None:
    preferences.apply_preferences()
    preferences.apply_preferences()
    stored.memory_budget_mib = 800
    assert memory_budget_bytes() == 800 * MIB
    for typed in (4, 40, 409, 4096):
        stored.slide_cache_mib = typed
    soon(closed, ["4096"])
    assert os.environ["MEDLAB_CACHE_MIB"] == "4096"
    stored.reset()
    soon(closed, ["4096", ""])
    assert "MEDLAB_CACHE_MIB" not in os.environ
    assert TileStore.of("any slide")._limit == 20 * GIB


def test_variables_of_the_environment_go_before_what_is_stored(
    stored: Any,  # noqa: ANN401 - as above
    closed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MEDLAB_MEMORY_BUDGET_MIB", "300")
    monkeypatch.setenv("MEDLAB_CACHE_MIB", "70")
    stored.memory_budget_mib, stored.slide_cache_mib = 640, 512
    preferences.apply_preferences()
    assert memory_budget_bytes() == 300 * MIB
    assert os.environ["MEDLAB_CACHE_MIB"] == "70"
    assert closed == []
    text = type(stored).model_json_schema()["properties"]["slide_cache_mib"]["description"]
    assert "MEDLAB_CACHE_MIB sets it to 70" in text


@pytest.mark.parametrize(
    ("name", "value"), [("memory_budget_mib", -1), ("slide_cache_mib", -5), ("slide_cache_mib", 1 << 40)]
)
def test_numbers_outside_the_limits_are_not_taken(stored: Any, name: str, value: int) -> None:  # noqa: ANN401 - as above
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        setattr(stored, name, value)


def test_the_page_says_what_the_numbers_mean_on_this_machine(stored: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    import psutil

    quarter = psutil.virtual_memory().total // 4 // MIB
    for _ in range(2):
        preferences.explain(type(stored))
        shown = type(stored).model_json_schema()["properties"]
        assert f"a quarter of it is {quarter:,} MiB" in shown["memory_budget_mib"]["description"]
        assert "on a disk with" in shown["slide_cache_mib"]["description"]
        assert shown["memory_budget_mib"]["description"].count("Here:") == 1
    stored.memory_budget_mib = 5
    assert "memory_budget_mib: 5" in (tmp_path / "napari-medlab.yaml").read_text(encoding="utf-8")


def test_without_the_plugin_there_is_nothing_to_apply(plugin_settings: None) -> None:
    preferences.apply_preferences()
    assert preferences._followed == []


@pytest.mark.window
def test_the_dialog_shows_and_changes_them(stored: Any, qtbot: Any, make_napari_viewer: Any) -> None:  # noqa: ANN401 - as above
    make_napari_viewer(show=False)
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog
    from qtpy.QtWidgets import QLabel

    preferences.apply_preferences()
    dialog = PreferencesDialog()
    qtbot.addWidget(dialog)
    titles = [dialog._list.item(row).text() for row in range(dialog._list.count())]
    assert "MedLab" in titles
    texts = [label.text() + label.toolTip() for label in dialog.findChildren(QLabel)]
    assert any("Memory for one image" in text for text in texts)
    stored.memory_budget_mib = 900
    assert memory_budget_bytes() == 900 * MIB
    dialog.reject()
    assert memory_budget_bytes() != 900 * MIB
