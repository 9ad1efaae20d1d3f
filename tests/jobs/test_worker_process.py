from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.worker_process import WorkerDiedError, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORKER = """
import os, sys, time
print("printed while it is imported", flush=True)
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.worker_service import serve

def count(request, cancel):
    for number in range(request["to"]):
        cancel.check()
        yield {"event": "number", "number": number, "name": request.get("name", "")}

def talk(request, cancel):
    print('{"job": 1, "event": "done"}', flush=True)
    os.write(1, b"from below\\n")
    yield {"event": "said", "text": "Grüße\\nin zwei Zeilen"}

def sleep(request, cancel):
    yield {"event": "asleep"}
    while True:
        cancel.wait(0.01)
        cancel.check()

def stubborn(request, cancel):
    yield {"event": "asleep"}
    time.sleep(60)

def fail(request, cancel):
    yield {"event": "began"}
    kind = request["kind"]
    if kind == "refused":
        raise InputRefusedError("No such file.", code="file", hint="Look elsewhere.")
    if kind == "medlab":
        raise MedlabError("Broken.", code="broken")
    raise ZeroDivisionError("by zero")

def die(request, cancel):
    yield {"event": "began"}
    print("my last words", file=sys.stderr, flush=True)
    os._exit(7)

def unsendable(request, cancel):
    yield {"event": "odd", "value": object()}

if __name__ == "__main__":
    serve({f.__name__: f for f in (count, talk, sleep, stubborn, fail, die, unsendable)})
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    (tmp_path / "tiny_worker.py").write_text(WORKER, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with WorkerProcess("tiny_worker", threads=1) as started:
        yield started


def events(worker: WorkerProcess, op: str, **request: object) -> list[dict[str, Any]]:
    return list(worker.events({"op": op, **request}, CancelToken()))


def test_a_request_is_answered_by_its_events_and_done(worker: WorkerProcess) -> None:
    answers = events(worker, "count", to=3)
    assert [answer["event"] for answer in answers] == ["number", "number", "number", "done"]
    assert [answer["number"] for answer in answers[:-1]] == [0, 1, 2]


def test_what_the_worker_prints_does_not_disturb(worker: WorkerProcess) -> None:
    answers = events(worker, "talk")
    assert [answer["event"] for answer in answers] == ["said", "done"]
    assert answers[0]["text"] == "Grüße\nin zwei Zeilen"
    assert len(events(worker, "count", to=2)) == 3


@pytest.mark.parametrize(
    ("kind", "error", "code"),
    [
        ("refused", InputRefusedError, "file"),
        ("medlab", MedlabError, "broken"),
        ("other", MedlabError, "model-failed"),
    ],
)
def test_an_error_comes_back_and_the_worker_lives_on(
    worker: WorkerProcess, kind: str, error: type[MedlabError], code: str
) -> None:
    with pytest.raises(error) as caught:
        events(worker, "fail", kind=kind)
    assert type(caught.value) is error
    assert caught.value.code == code
    assert events(worker, "count", to=0) == [{"job": 2, "event": "done"}]


@pytest.mark.parametrize("op", ["nothing of that name", "unsendable"])
def test_nonsense_is_an_error_too(worker: WorkerProcess, op: str) -> None:
    with pytest.raises(MedlabError) as caught:
        events(worker, op)
    assert caught.value.code == "model-failed"
    assert worker.is_alive


def test_cancelling_takes_less_than_a_second(worker: WorkerProcess) -> None:
    cancel = CancelToken()
    answers = worker.events({"op": "sleep"}, cancel)
    assert next(answers)["event"] == "asleep"
    began = time.monotonic()
    cancel.cancel("enough")
    with pytest.raises(CancelledError, match="enough"):
        next(answers)
    assert time.monotonic() - began < 1
    assert len(events(worker, "count", to=1)) == 2


def test_a_job_that_nobody_follows_any_more_is_stopped(worker: WorkerProcess) -> None:
    for _ in worker.events({"op": "sleep"}, CancelToken()):
        break
    assert len(events(worker, "count", to=1)) == 2


def test_a_job_that_was_cancelled_before_it_began_does_nothing(worker: WorkerProcess) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(worker.events({"op": "sleep"}, cancel))


def test_a_worker_that_ends_in_the_middle_is_told_with_its_last_words(worker: WorkerProcess) -> None:
    with pytest.raises(WorkerDiedError, match="status 7") as caught:
        events(worker, "die")
    assert caught.value.code == "worker-died"
    assert not worker.is_alive
    with pytest.raises(WorkerDiedError):
        events(worker, "count", to=1)


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_worker_that_was_killed_is_told(worker: WorkerProcess) -> None:
    answers = worker.events({"op": "sleep"}, CancelToken())
    next(answers)
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerDiedError):
        next(answers)


def test_two_threads_get_their_own_answers(worker: WorkerProcess) -> None:
    got: dict[str, list[dict[str, Any]]] = {}

    def ask(name: str) -> None:
        got[name] = events(worker, "count", to=200, name=name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for name in ("one", "two"):
        assert [answer["number"] for answer in got[name][:-1]] == list(range(200))
        assert {answer["name"] for answer in got[name][:-1]} == {name}


def test_closing_ends_a_job_that_listens_and_one_that_does_not(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_medlab.jobs.worker_process.GRACE_SECONDS", 0.2)
    with WorkerProcess("tiny_worker") as stubborn:
        next(stubborn.events({"op": "stubborn"}, CancelToken()))
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not stubborn.is_alive
    worker.close()
    worker.close()
    assert not worker.is_alive
