from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.in_thread import InThread

if TYPE_CHECKING:
    from collections.abc import Iterator


def count(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    for number in range(request["to"]):
        cancel.check()
        yield {"event": "number", "place": (number, 0)}


def refuse(_request: dict[str, Any], _cancel: CancelToken) -> Iterator[dict[str, Any]]:
    yield {"event": "began"}
    raise InputRefusedError("No such file.", code="file")


def fail(_request: dict[str, Any], _cancel: CancelToken) -> Iterator[dict[str, Any]]:
    yield {"event": "began"}
    raise ZeroDivisionError("by zero")


@pytest.fixture
def worker() -> Iterator[InThread]:
    with InThread({"count": count, "refuse": refuse, "fail": fail}) as started:
        yield started


def test_events_come_as_from_a_process_and_done_is_the_last(worker: InThread) -> None:
    answers = list(worker.events({"op": "count", "to": 2}, CancelToken()))
    assert answers == [
        {"event": "number", "place": [0, 0]}, {"event": "number", "place": [1, 0]}, {"event": "done"},
    ]  # fmt: skip
    assert worker.is_alive


def test_nothing_is_computed_before_it_is_asked_for(worker: InThread) -> None:
    cancel = CancelToken()
    answers = worker.events({"op": "count", "to": 1_000_000_000}, cancel)
    assert next(answers)["place"] == [0, 0]
    cancel.cancel()
    with pytest.raises(CancelledError):
        next(answers)


@pytest.mark.parametrize(
    ("op", "code"), [("refuse", "file"), ("fail", "model-failed"), ("nothing of that name", "model-failed")]
)
def test_an_error_is_what_a_process_would_have_told(worker: InThread, op: str, code: str) -> None:
    with pytest.raises(MedlabError) as caught:
        list(worker.events({"op": op}, CancelToken()))
    assert caught.value.code == code
    assert isinstance(caught.value, InputRefusedError) == (code == "file")


def test_what_was_cancelled_before_it_began_does_nothing(worker: InThread) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        next(worker.events({"op": "count", "to": 1}, cancel))
