"""Whoever answers many requests: one worker, one after another, or the workers of a cluster, side by side."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_medlab.annotations import new_id
from napari_medlab.durable import writing
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.cancellation import CancelledError
from napari_medlab.jobs.cluster import Advance, Cluster, Strength
from napari_medlab.jobs.spreading import Task
from napari_medlab.jobs.worker_process import Worker, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.spreading import Outcome, Tell

__all__ = ["Event", "InTurn", "OnCluster", "Request", "Workers", "answer", "workers_of"]

Request = dict[str, Any]
Event = dict[str, Any]
RequestOf = Callable[[str], Request]
ATTEMPT = ".attempt-"
FILES = ("bundle", "image")


class Workers(Protocol):
    """Whoever answers requests to :data:`napari_medlab.models.inference.worker.HANDLERS`."""

    def events(self, request: Request, cancel: CancelToken) -> Iterator[Event]:
        """Yield the events that answer one request; see :meth:`napari_medlab.jobs.worker_process.Worker.events`."""
        ...

    def answers(
        self, keys: Sequence[str], request_of: RequestOf, cancel: CancelToken
    ) -> Iterator[tuple[str, Event]]:
        """Yield the events that answer many requests, each with the key of its request.

        Parameters
        ----------
        keys : sequence of str
            In the order in which they are wanted.
        request_of : callable
            Makes the request of a key. What it raises fails that request alone.
        cancel : CancelToken

        Yields
        ------
        key, event
            Those of one key in their order, the last of kind ``"done"``, or ``"failed"`` with the ``error``, which stops no
            other; with an empty key ``"workers"``, with how many there are as the ``count``, where that changes.

        Raises
        ------
        CancelledError
            After ``cancel``.
        MedlabError
            Where there is nobody left to answer.
        """
        ...


def workers_of(worker: Worker | Workers) -> Workers:
    """Return a worker as one that answers many requests."""
    return worker if isinstance(worker, OnCluster) else InTurn(worker)


class InTurn:
    """One worker that is asked one thing after another.

    Parameters
    ----------
    worker : Worker
    """

    def __init__(self, worker: Worker | Workers) -> None:
        self._worker = worker

    def events(self, request: Request, cancel: CancelToken) -> Iterator[Event]:
        """See :meth:`Workers.events`."""
        return self._worker.events(request, cancel)

    def answers(
        self, keys: Sequence[str], request_of: RequestOf, cancel: CancelToken
    ) -> Iterator[tuple[str, Event]]:
        """See :meth:`Workers.answers`; events come while the worker is at it, and a worker that died ends it."""
        for key in keys:
            try:
                for event in self._worker.events(request_of(key), cancel):
                    if event["event"] != "done":
                        yield key, event
                yield key, {"event": "done"}
            except (CancelledError, WorkerDiedError):
                raise
            except MedlabError as error:
                yield key, _failed(error)


class OnCluster:
    """The workers of a cluster; each request is answered as a whole, by whichever worker is done with it.

    A mask is written by each attempt under a name of its own, and takes its name when that attempt has won; nothing stays
    of the others. All workers compute in the precision that the first chose.

    Parameters
    ----------
    cluster : Cluster
        Its workers see the bundles, the images and the folders of the masks under the same paths as this process.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._precision = "auto"

    def events(self, request: Request, cancel: CancelToken) -> Iterator[Event]:
        """See :meth:`Workers.events`."""
        for _, event in self.answers(["request"], lambda _: request, cancel):
            if event["event"] == "failed":
                raise event["error"]
            if event["event"] == "backend":
                self._precision = str(event["precision"])
            yield event

    def answers(
        self, keys: Sequence[str], request_of: RequestOf, cancel: CancelToken
    ) -> Iterator[tuple[str, Event]]:
        """See :meth:`Workers.answers`; all events of a request but its progress come when it is done."""
        requests: dict[str, Request] = {}
        for key in keys:
            try:
                requests[key] = self._placed(request_of(key))
            except MedlabError as error:
                yield key, _failed(error)
        tasks = [Task(key, request) for key, request in requests.items()]
        try:
            for told in self._cluster.follow(answer, tasks, cancel):
                if isinstance(told, Strength):
                    yield "", {"event": "workers", "count": told.workers}
                elif isinstance(told, Advance):
                    yield told.key, {"event": "progress", "done": told.done, "total": told.total}
                else:
                    yield from ((told.key, event) for event in _settled(told, requests[told.key]))
        finally:
            for request in requests.values():
                _remove_attempts(request)

    def _placed(self, request: Request) -> Request:
        """Return a request with whole paths, as workers are in other folders, and in the precision of all."""
        paths = {name: str(Path(request[name]).absolute()) for name in (*FILES, "mask") if name in request}
        precision = self._precision if request.get("precision", "auto") == "auto" else request["precision"]
        return {**request, **paths, "precision": precision}


def answer(request: Request, cancel: CancelToken, tell: Tell) -> dict[str, Any]:
    """Answer a request as a whole, in a worker of a cluster.

    Returns
    -------
    dict
        ``events`` but those of progress, and where one was asked for, the ``attempt``: the folder of the mask.

    Raises
    ------
    InputRefusedError
        ``not-shared`` where the worker does not see the files.
    """
    from napari_medlab.models.inference.worker import HANDLERS

    _refuse_unseen(request)
    attempt = Path(f"{request['mask']}{ATTEMPT}{new_id()}") if "mask" in request else None
    asked = request if attempt is None else {**request, "mask": str(attempt)}
    events: list[Event] = []
    try:
        for event in HANDLERS[request["op"]](asked, cancel):
            if event["event"] == "progress":
                tell(event["done"], event["total"])
            else:
                events.append(event)
    except BaseException:
        if attempt is not None:
            shutil.rmtree(attempt, ignore_errors=True)
        raise
    return {"events": events, "attempt": None if attempt is None else str(attempt)}


def _settled(outcome: Outcome, request: Request) -> Iterator[Event]:
    """Yield the events of a request that is done with; its mask has its name before anything of it is told."""
    if outcome.error is not None:
        yield _failed(outcome.error)
        return
    if outcome.value["attempt"] is not None:
        mask = Path(request["mask"])
        try:
            with writing(mask):
                Path(outcome.value["attempt"]).rename(mask)
        except MedlabError as error:
            yield _failed(error)
            return
    yield from outcome.value["events"]
    yield {"event": "done"}


def _failed(error: MedlabError) -> Event:
    return {"event": "failed", "error": error}


def _remove_attempts(request: Mapping[str, Any]) -> None:
    """Remove what lost workers have left of a mask."""
    if "mask" not in request:
        return
    mask = Path(request["mask"])
    if mask.parent.is_dir():
        for path in mask.parent.iterdir():
            if path.name.startswith(f"{mask.name}{ATTEMPT}"):
                shutil.rmtree(path, ignore_errors=True)


def _refuse_unseen(request: Mapping[str, Any]) -> None:
    wanted = [Path(request[name]) for name in FILES if name in request]
    if "mask" in request:
        wanted.append(Path(request["mask"]).parent)
    for path in wanted:
        if not path.exists():
            raise InputRefusedError(
                f"The worker on {socket.gethostname()} does not see {path}.", code="not-shared",
                hint="Images, models and output must lie where all workers see them under the same path.",
            )  # fmt: skip
