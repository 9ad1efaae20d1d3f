"""Many cases worked on by one function: here, one after another, or spread over the workers of a cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from napari_medlab.errors import MedlabError
from napari_medlab.jobs.cancellation import CancelledError, CancelToken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Here", "Outcome", "Spread", "Task", "TaskFunction", "Tell", "refuse_twins", "unexpected"]

Tell = Callable[[int, int], None]
"""Tells how far a task is: pieces done, and pieces in all."""

TaskFunction = Callable[[dict[str, Any], CancelToken, Tell], Any]
"""Does one task: takes its request, a token to look at between small pieces of work, and whom to tell how far it is.

It is a function of a module, as workers find it by its name; it opens no project, and gives the same for the same request.
"""


@dataclass(frozen=True)
class Task:
    """One case's share of the work.

    Parameters
    ----------
    key : str
        What it is called, such as the case id; no two tasks of a call share it.
    request : dict
        Plain values, bytes, numpy arrays, or frozen dataclasses of these.
    """

    key: str
    request: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Parameters
    ----------
    key : str
        The task's.
    value : object
        What the function returned: plain values, bytes, numpy arrays, or frozen dataclasses of these.
    error : MedlabError or None
        Why this one failed; the others go on.
    attempts : int
        How often it was begun; more than once where a worker was lost.
    """

    key: str
    value: Any = None
    error: MedlabError | None = None
    attempts: int = 1


class Spread(Protocol):
    """Whoever does tasks. Whatever it is, the outcomes are the same but for their order."""

    def run(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken,
        *, on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[Outcome]:  # fmt: skip
        """Yield exactly one outcome for each task, as they come.

        Parameters
        ----------
        function : a function of a module
        tasks : sequence of Task
        cancel : CancelToken
        on_progress : callable, optional
            Told a task's key, the pieces of it that are done, and their number; in the thread that takes the outcomes.

        Raises
        ------
        CancelledError
            After ``cancel``.
        ValueError
            Where two tasks have the same key.
        """
        ...


class Here:
    """Does tasks in the thread that asks, one after another."""

    def run(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken,
        *, on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[Outcome]:  # fmt: skip
        """Yield the outcome of each task, in their order; see :meth:`Spread.run`."""
        refuse_twins(tasks)
        for task in tasks:
            cancel.check()
            tell = partial(on_progress, task.key) if on_progress is not None else _tell_nobody
            try:
                outcome = Outcome(task.key, function(task.request, cancel, tell))
            except CancelledError:
                raise
            except MedlabError as error:
                outcome = Outcome(task.key, error=error)
            except Exception as error:  # noqa: BLE001 - one case that fails must not end the others
                outcome = Outcome(task.key, error=unexpected(error))
            yield outcome


def refuse_twins(tasks: Sequence[Task]) -> None:
    """Raise ValueError where two tasks have the same key: nobody could tell their outcomes apart."""
    twins = sorted(key for key, count in Counter(task.key for task in tasks).items() if count > 1)
    if twins:
        raise ValueError(f"several tasks are called {', '.join(twins[:5])}")


def unexpected(error: Exception) -> MedlabError:
    """Return what is told of an error that nobody raised on purpose; its cause is the error itself."""
    told = MedlabError(f"{type(error).__name__}: {error}", code="case-failed", hint="The other cases go on.")
    told.__cause__ = error
    return told


def _tell_nobody(done: int, total: int) -> None:
    pass
