"""The other end of :mod:`napari_medlab.jobs.worker_process`: what runs inside the worker."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.cancellation import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[dict[str, Any], CancelToken], Iterator[dict[str, Any]]]

__all__ = ["as_failure", "serve"]


def serve(handlers: dict[str, Handler]) -> None:
    """Answer requests from standard input until it closes; one job at a time, each cancellable while it runs.

    Parameters
    ----------
    handlers : dict
        For each ``op``, a function of the request and a cancel token that yields events: dicts with an ``"event"``
        name. ``"done"`` is sent after the last, or ``"error"`` where it raised.
    """
    if hasattr(os, "nice"):
        os.nice(10)  # the window comes first
    # Whatever else prints must not end up between our lines: standard output becomes standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()
    tokens: dict[int, CancelToken] = {}

    def send(event: dict[str, Any]) -> None:
        with lock:
            answers.write(json.dumps(event) + "\n")
            answers.flush()

    jobs: list[dict[str, Any]] = []
    ready = threading.Condition()

    def listen() -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request["op"] == "quit":
                break
            if request["op"] == "cancel":
                # where it comes too late, that job is done and nobody holds its token
                tokens.get(request["job"], CancelToken()).cancel()
                continue
            with ready:
                tokens.setdefault(request["job"], CancelToken())
                jobs.append(request)
                ready.notify()
        with ready:
            for token in tokens.values():
                token.cancel("the window was closed")
            jobs.append({"op": "quit", "job": 0})
            ready.notify()

    threading.Thread(target=listen, name="requests", daemon=True).start()
    while True:
        with ready:
            ready.wait_for(lambda: bool(jobs))
            request = jobs.pop(0)
        if request["op"] == "quit":
            return
        send_all(handlers, request, tokens[request["job"]], send)
        with ready:
            del tokens[request["job"]]


def send_all(
    handlers: dict[str, Handler],
    request: dict[str, Any],
    cancel: CancelToken,
    send: Callable[[dict[str, Any]], None],
) -> None:
    """Run one job and send its events, ending with ``"done"`` or ``"error"``."""
    job = request["job"]
    try:
        cancel.check()
        for event in handlers[request["op"]](request, cancel):
            send({"job": job, **event})
        send({"job": job, "event": "done"})
    except MedlabError as error:
        refused = isinstance(error, InputRefusedError)
        send({"job": job, "event": "error", "error": error.as_json(), "refused": refused})
    except Exception as error:  # one failed case must not end the worker: the reason goes back to the window
        traceback.print_exc()
        send({"job": job, "event": "error", "error": as_failure(error).as_json()})


def as_failure(error: Exception) -> MedlabError:
    """Return what is told of an error that nobody raised on purpose."""
    return MedlabError(f"{type(error).__name__}: {error}", code="model-failed", hint="The other cases go on.")
