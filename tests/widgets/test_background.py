"""Work in threads whose results come back to the GUI thread."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.widgets.background import Background

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from pytestqt.qtbot import QtBot

pytestmark = pytest.mark.window


@pytest.fixture
def errors() -> list[Exception]:
    return []


@pytest.fixture
def background(qtbot: QtBot, errors: list[Exception]) -> Iterator[Background]:
    made = Background(errors.append)
    yield made
    made.close()


def test_results_arrive_on_the_gui_thread(qtbot: QtBot, background: Background) -> None:
    seen: list[tuple[Any, str, str]] = []
    background.run("x", lambda: threading.current_thread().name,
                   on_done=lambda name: seen.append((name, threading.current_thread().name, "done")))  # fmt: skip
    qtbot.waitUntil(lambda: bool(seen), timeout=3000)
    worker, receiver, _ = seen[0]
    assert worker.startswith("medlab")
    assert receiver == "MainThread"


def test_a_later_call_of_a_kind_makes_the_earlier_one_stale(qtbot: QtBot, background: Background) -> None:
    gate = threading.Event()
    seen: list[str] = []
    background.run("case", gate.wait, 3, on_done=lambda _: seen.append("first"))
    background.run("case", lambda: "second", on_done=seen.append)
    gate.set()
    qtbot.waitUntil(lambda: seen == ["second"], timeout=3000)
    qtbot.wait(100)
    assert seen == ["second"]


def test_a_stream_gives_items_in_order_and_then_what_it_returns(qtbot: QtBot, background: Background) -> None:
    def count() -> Generator[int, None, str]:
        yield 1
        yield 2
        return "end"

    items: list[int] = []
    ends: list[str] = []
    background.stream("x", count, on_item=items.append, on_done=ends.append)
    qtbot.waitUntil(lambda: ends == ["end"], timeout=3000)
    assert items == [1, 2]


def test_an_error_is_told_once_with_its_own_type(
    qtbot: QtBot, background: Background, errors: list[Exception]
) -> None:
    def fail() -> None:
        raise KeyError("missing")

    background.run("x", fail, on_done=lambda _: None)
    qtbot.waitUntil(lambda: bool(errors), timeout=3000)
    assert [type(error) for error in errors] == [KeyError]


def test_what_was_forgotten_does_not_come_back(qtbot: QtBot, background: Background) -> None:
    seen: list[int] = []
    background.run("x", lambda: 1, on_done=seen.append)
    background.forget()
    qtbot.wait(150)
    assert seen == []


def test_a_future_is_delivered_even_after_forgetting(qtbot: QtBot, background: Background) -> None:
    future: Future[int] = Future()
    seen: list[int] = []
    background.deliver(future, lambda done: seen.append(done.result()))
    background.forget()
    threading.Thread(target=future.set_result, args=(7,)).start()
    qtbot.waitUntil(lambda: seen == [7], timeout=3000)
