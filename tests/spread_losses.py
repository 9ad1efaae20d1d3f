"""Spreads that do what clusters may do, or lose a worker in the middle, and what is compared afterwards."""

from __future__ import annotations

import hashlib
import pickle
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster_parts import cluster, wait_until

from napari_medlab.jobs.cluster import connect
from napari_medlab.jobs.spreading import Here, Outcome, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cluster_parts import Parts

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.cluster import Cluster
    from napari_medlab.jobs.spreading import TaskFunction


class Backwards:
    """Does the last task first, and gives functions and callers copies of everything, as another process would."""

    def run(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken,
        *, on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[Outcome]:  # fmt: skip
        copies = [Task(task.key, _copied(task.request)) for task in reversed(tasks)]
        for outcome in Here().run(function, copies, cancel, on_progress=on_progress):
            yield Outcome(outcome.key, _copied(outcome.value), outcome.error)


class LosingOne:
    """A spread whose first worker is held while it has a task, and killed when another has brought the first outcome.

    What it had written by then is made up: files in the folder of an attempt that nobody will ever answer.
    """

    def __init__(self, parts: Parts, spread: Cluster) -> None:
        self._spread, self._parts = spread, parts
        self.outcomes: list[Outcome] = []
        wait_until(lambda: len(spread._workers()) == len(parts.workers))
        parts.workers[0].send_signal(signal.SIGSTOP)

    def run(
        self, function: TaskFunction, tasks: Sequence[Task], cancel: CancelToken,
        *, on_progress: Callable[[str, int, int], None] | None = None,
    ) -> Iterator[Outcome]:  # fmt: skip
        for outcome in self._spread.run(function, tasks, cancel, on_progress=on_progress):
            if not self.outcomes:
                _write_half(tasks[0])
                self._parts.kill(self._parts.workers[0].pid)
            self.outcomes.append(outcome)
            yield outcome

    @property
    def attempts(self) -> list[int]:
        """How often the tasks were begun, the most often first."""
        return sorted((one.attempts for one in self.outcomes), reverse=True)


@contextmanager
def losing_one(folder: Path) -> Iterator[LosingOne]:
    """Start a cluster of two workers, one of which will be lost."""
    with cluster(folder, 2) as parts, connect(parts.address, certificates=parts.certificates) as spread:
        yield LosingOne(parts, spread)


def hashes(folder: Path, *, but: str = "manifest.json") -> dict[str, str]:
    """Return the hash of every file of a folder by its name, but of one that tells the time."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != but
    }


def without_time(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest without when it was made."""
    return {key: value for key, value in manifest.items() if key != "created"}


def _copied(value: Any) -> Any:  # noqa: ANN401 - whatever tasks are about
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - it never left this process


def _write_half(task: Task) -> None:
    from pathlib import Path

    if "parts" in task.request:
        attempt = Path(task.request["parts"]) / "of-a-worker-that-was-lost"
        attempt.mkdir()
        (attempt / "half.npz").write_bytes(b"half of")
