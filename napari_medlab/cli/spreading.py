"""Work that is spread over a cluster, told of on standard error as it comes back."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.cluster_arguments import spread_of
from napari_medlab.jobs.results import outcomes_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.spreading import Outcome, Spread, Task, TaskFunction

__all__ = ["Telling", "told_spread", "with_spread"]


class Telling:
    """Has tasks done by somebody else, and tells on standard error how many are done; a Spread.

    Parameters
    ----------
    spread : Spread
    """

    def __init__(self, spread: Spread) -> None:
        self._spread = spread

    def run(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken,
        *, on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[Outcome]:  # fmt: skip
        """Yield the outcome of each task; see :meth:`napari_medlab.jobs.spreading.Spread.run`."""
        with outcomes_of(self._spread, function, tasks, cancel, on_progress) as outcomes:
            for done, outcome in enumerate(outcomes, start=1):
                sys.stderr.write(
                    f"\r{done} of {len(tasks)} pieces of work" + ("\n" if done == len(tasks) else "")
                )
                yield outcome


@contextmanager
def told_spread(options: argparse.Namespace) -> Iterator[Spread]:
    """Give what does the work: the cluster that was asked for, which is then told of, or this process.

    Raises
    ------
    InputRefusedError, MedlabError
        As :func:`~napari_medlab.cli.cluster_arguments.spread_of`.
    """
    with spread_of(options) as spread:
        yield spread if options.cluster is None else Telling(spread)


def with_spread(
    figure: Callable[[argparse.Namespace], dict[str, Any]],
) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """Return a function of options that has ``options.spread`` while the given one works."""

    def run(options: argparse.Namespace) -> dict[str, Any]:
        with told_spread(options) as options.spread:
            return figure(options)

    return run
