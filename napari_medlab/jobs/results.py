"""What the tasks of a call return, where one that fails is to end all of them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_medlab.jobs.cancellation import CancelToken
    from napari_medlab.jobs.spreading import Outcome, Spread, Task, TaskFunction

__all__ = ["outcomes_of", "results_of"]


@contextmanager
def outcomes_of(
    spread: Spread,
    function: TaskFunction,
    tasks: Sequence[Task],
    cancel: CancelToken,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Iterator[Outcome]]:
    """Give the outcomes of tasks as they come; at the end of the block nothing is worked on any more."""
    outcomes = spread.run(function, tasks, cancel, on_progress=on_progress)
    try:
        yield outcomes
    finally:
        if isinstance(outcomes, Generator):
            outcomes.close()


@contextmanager
def results_of(
    spread: Spread, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken
) -> Iterator[Iterator[tuple[str, Any]]]:
    """Give key and value of each task as they come.

    Raises
    ------
    MedlabError
        Why a task failed, for the first of them that did.
    CancelledError
    """
    with outcomes_of(spread, function, tasks, cancel) as outcomes:
        yield map(_result, outcomes)


def _result(outcome: Outcome) -> tuple[str, Any]:
    if outcome.error is not None:
        raise outcome.error
    return outcome.key, outcome.value
