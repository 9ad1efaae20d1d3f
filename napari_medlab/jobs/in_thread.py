"""The work of a worker process done in the thread that asks for it: for debugging, and where no process can be started."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from napari_medlab.errors import MedlabError
from napari_medlab.jobs.worker_service import as_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.jobs.cancellation import CancelToken
    from napari_medlab.jobs.worker_service import Handler

__all__ = ["InThread"]


class InThread:
    """Answers requests as :class:`~napari_medlab.jobs.worker_process.WorkerProcess` does, without a process.

    A breakpoint in a model is reached; the window waits for the interpreter, and a crash takes everything along.

    Parameters
    ----------
    handlers : dict
        As :func:`napari_medlab.jobs.worker_service.serve` takes them.
    """

    is_alive = True

    def __init__(self, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers

    def events(self, request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
        """Yield the events that answer a request, until one of kind ``"done"``, which is the last.

        Raises
        ------
        MedlabError
            What the handler raised; anything else it raises comes as one with code ``"model-failed"``.
        CancelledError
            Where ``cancel`` is set.
        """
        cancel.check()
        try:
            for event in self._handlers[request["op"]](json.loads(json.dumps(request)), cancel):
                yield json.loads(json.dumps(event))
        except MedlabError:
            raise
        except Exception as error:
            raise as_failure(error) from error
        yield {"event": "done"}

    def close(self) -> None:
        """Do nothing: there is no process to end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
