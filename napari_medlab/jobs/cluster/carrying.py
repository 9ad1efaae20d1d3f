"""What runs inside a worker: one task at a time, which ends soon after nobody wants it any more."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_medlab import __version__
from napari_medlab.durable import DiskError
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.cancellation import CancelledError, CancelToken
from napari_medlab.jobs.spreading import unexpected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_medlab.jobs.spreading import Tell

__all__ = ["TOPIC", "Answer", "Attempt", "carry_out"]

TOPIC = "napari-medlab progress"
PROGRESS_SECONDS = 0.2
WATCH_SECONDS = 0.05

_TURN = threading.Lock()
"""Held by the task at work, as somebody may have given the worker several threads."""


@dataclass(frozen=True)
class Attempt:
    """One try at a task.

    Parameters
    ----------
    name : str
        No other try of any task has it.
    function : str
        ``module:name`` of what does the task.
    request : dict
        The task's.
    version : str
        Of napari-medlab where the task comes from.
    """

    name: str
    function: str
    request: dict[str, Any]
    version: str = __version__


@dataclass(frozen=True)
class Answer:
    """What came of a try.

    Parameters
    ----------
    value : object
        What the function returned.
    error : dict
        Code, message and hint of what it raised; empty where all went well.
    is_refusal : bool
        Whether that was an :class:`~napari_medlab.errors.InputRefusedError`.
    may_pass : bool
        Whether another try may do better: it was the system that failed, or somebody stopped the worker.
    version : str
        Of napari-medlab in the worker.
    """

    value: Any = None
    error: dict[str, str] | None = None
    is_refusal: bool = False
    may_pass: bool = False
    version: str = __version__


def carry_out(attempt: Attempt) -> Answer:
    """Do a task in the thread of a worker."""
    from distributed import get_worker

    if attempt.version != __version__:
        return Answer()
    worker = get_worker()
    with _watching(worker, str(worker.get_current_task())) as cancel:
        try:
            while not _TURN.acquire(timeout=WATCH_SECONDS):
                cancel.check()
            try:
                return Answer(_done(attempt, cancel, _teller(worker, attempt)))
            finally:
                _TURN.release()
        except (CancelledError, MemoryError) as error:
            return Answer(error=unexpected(error).as_json(), may_pass=True)
        except DiskError as error:
            return Answer(error=error.as_json(), may_pass=True)
        except MedlabError as error:
            return Answer(error=error.as_json(), is_refusal=isinstance(error, InputRefusedError))
        except OSError as error:
            return Answer(error=unexpected(error).as_json(), may_pass=True)
        except Exception as error:  # noqa: BLE001 - one case that fails must not end the others: who asked is told
            traceback.print_exc()
            return Answer(error=unexpected(error).as_json())


def _done(attempt: Attempt, cancel: CancelToken, tell: Tell) -> Any:  # noqa: ANN401 - whatever the function returns
    import dask

    module, name = attempt.function.split(":")
    # inside a worker, dask would hand what it computes, such as pixels that are read, to the whole cluster
    with dask.config.set(scheduler="threads"):
        return getattr(import_module(module), name)(attempt.request, cancel, tell)


@contextmanager
def _watching(worker: Any, key: str) -> Iterator[CancelToken]:  # noqa: ANN401 - a worker of distributed
    """Give a token that is set when nobody waits for a task any more: distributed cannot stop what is at work.

    The scheduler takes a task back from its worker when the client asks for it, and when the client is gone.
    """
    cancel, done = CancelToken(), threading.Event()

    def watch() -> None:
        while not done.wait(WATCH_SECONDS):
            task = worker.state.tasks.get(key)
            is_wanted = task is not None and task.state in ("executing", "long-running")
            if not is_wanted or worker.status.name not in ("running", "paused"):
                cancel.cancel("nobody waits for it")
                return

    watcher = threading.Thread(target=watch, name="napari-medlab watch", daemon=True)
    watcher.start()
    try:
        yield cancel
    finally:
        done.set()
        watcher.join()


def _teller(worker: Any, attempt: Attempt) -> Callable[[int, int], None]:  # noqa: ANN401 - a worker of distributed
    """Return what tells the client how far a task is, no oftener than somebody can see."""
    told_at = 0.0

    def tell(done: int, total: int) -> None:
        nonlocal told_at
        if (now := time.monotonic()) >= told_at + PROGRESS_SECONDS:
            told_at = now
            worker.log_event(TOPIC, {"attempt": attempt.name, "done": int(done), "total": int(total)})

    return tell
