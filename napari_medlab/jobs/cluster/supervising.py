"""The workers of one machine: a process for each GPU, or several that share the processor, started again when they end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.jobs.cluster.connecting import checked_member, knock, require_distributed
from napari_medlab.jobs.cluster.serving import MODULE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["Place", "places", "supervise"]

LOOK_SECONDS = 0.5
LEAST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a worker is started again, longer after each that ended soon."""
GRACE_SECONDS = 40.0


@dataclass(frozen=True)
class Place:
    """Where one worker of a machine computes.

    Parameters
    ----------
    threads : int
        Of the processor.
    gpu : str
        Its name for ``CUDA_VISIBLE_DEVICES``; empty for none.
    """

    threads: int
    gpu: str = ""

    def environment(self) -> dict[str, str]:
        """Return the environment of the process."""
        threads = {
            name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        }
        # Without PASSIVE, the threads of two torch processes spin against each other: ten times slower on two cores.
        common = {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUTF8": "1", "PYTHONFAULTHANDLER": "1", **threads}
        return os.environ | common | ({"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {})


def places(gpus: int, per_machine: int | None) -> list[Place]:
    """Return where the workers of this machine compute: one on each GPU, or ``per_machine`` that share the processor.

    Parameters
    ----------
    gpus : int
        How many there are that this process may use.
    per_machine : int or None
        How many workers are asked for: on GPUs, at most so many as there are. One for each GPU, or one on the processor,
        where None.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = min(gpus, per_machine or gpus) if gpus else per_machine or 1
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = (
        [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(gpus)]
    )
    threads = max(1, cores // count)
    return [Place(threads, names[number] if gpus else "") for number in range(count)]


def supervise(
    address: str, certificates: Path | None, wanted: Sequence[Place], stop: threading.Event, say: Callable[[str], None],
    *, host: str | None = None,
) -> int:  # fmt: skip
    """Keep workers running until ``stop`` is set, and return how often one had to be started again.

    Parameters
    ----------
    address, certificates, host
        As :func:`napari_medlab.jobs.cluster.serving.serve_worker` takes them.
    wanted : sequence of Place
    stop : threading.Event
    say : callable
        Told in a line what happens.

    Raises
    ------
    MedlabError
        At the beginning, where the scheduler cannot be reached; later it is tried again and again.
    """
    where, member = checked_member(address, certificates, host)
    require_distributed()
    knock(where, member)
    command = [sys.executable, "-P", "-m", MODULE, address, str(certificates or ""), host or ""]
    workers = [_Supervised(command, place) for place in wanted]
    try:
        for worker in workers:
            worker.start()
            say(
                f"worker {worker.pid} on {f'GPU {worker.place.gpu}' if worker.place.gpu else f'{worker.place.threads} threads'}"
            )
        while not stop.wait(LOOK_SECONDS):
            for worker in workers:
                if worker.restart_when_due(say):
                    say(f"worker {worker.pid} started again")
    finally:
        for worker in workers:
            worker.ask_to_end()
        for worker in workers:
            worker.end()
    return sum(worker.restarts for worker in workers)


class _Supervised:
    """A worker's process."""

    def __init__(self, command: list[str], place: Place) -> None:
        self._command, self.place = command, place
        self._process: subprocess.Popen[bytes] | None = None
        self._began = self._pause = 0.0
        self._ended: float | None = None
        self.restarts = 0

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        # a session of its own: Ctrl+C in the terminal is for the supervisor, which asks its workers to end
        self._process = subprocess.Popen(
            self._command,
            env=self.place.environment(),
            stdin=subprocess.PIPE,
            stdout=2,
            start_new_session=True,
        )
        self._began, self._ended = time.monotonic(), None

    def restart_when_due(self, say: Callable[[str], None]) -> bool:
        if self._process is None or self._process.poll() is None:
            return False
        now = time.monotonic()
        if self._ended is None:
            self._ended = now
            lived = now - self._began
            self._pause = (
                LEAST_PAUSE
                if lived > LONGEST_PAUSE
                else min(LONGEST_PAUSE, max(LEAST_PAUSE, 2 * self._pause))
            )
            say(
                f"worker {self.pid} ended with status {self._process.returncode}; again in {self._pause:.0f} s"
            )
        if now < self._ended + self._pause:
            return False
        self.end()
        self.start()
        self.restarts += 1
        return True

    def ask_to_end(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def end(self) -> None:
        if self._process is None:
            return
        self.ask_to_end()
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
