"""Opening hostile files in another process, watched: how it ended, how long it took, how much memory."""

from __future__ import annotations

import importlib
import json
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["MIB", "OPEN_IMAGE", "Attempts", "Limits", "Outcome"]

MIB = 1 << 20
OPEN_IMAGE = "napari_medlab.images:open_image"
psutil: Any = importlib.import_module("psutil")  # it has no types
WORKER = Path(__file__).with_name("hostile_worker.py")
SAMPLE_SECONDS = 0.005
LOOK_FOR_CHILDREN_SECONDS = 0.25
RESTART_BYTES = 100 * MIB
"""After an attempt that took more, the next one gets a new process: freed memory would hide what it takes."""
End = Literal["opened", "refused", "foreign", "died", "hung", "memory"]


@dataclass(frozen=True)
class Limits:
    """When an attempt is ended from outside: beyond what the reader process allows a file itself."""

    seconds: float = 40.0
    memory_bytes: int = 3072 * MIB


@dataclass(frozen=True)
class Outcome:
    """How an attempt to open a file and to read all its pixels ended.

    Parameters
    ----------
    end : {"opened", "refused", "foreign", "died", "hung", "memory"}
        ``refused`` is one of our errors; ``foreign`` any other; the last three are ends of the whole process.
    code : str
        That of our error.
    error : str
        Its class and message, or those of the foreign exception; empty where it opened.
    seconds : float
    cpu_seconds : float
        What all of the processes worked for it, however busy the machine was otherwise.
    peak_bytes : int
        By how much the memory of any one process grew.
    leaked : bool
        Whether the needle was found in pixels or message.
    """

    end: End
    code: str = ""
    error: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_bytes: int = 0
    leaked: bool = False

    def __str__(self) -> str:
        figures = f"{self.seconds:6.2f} s {self.cpu_seconds:6.2f} s CPU {self.peak_bytes / MIB:7.0f} MiB"
        return f"{self.end:8} {self.code:18} {figures}  {self.error[:160]!r}"


class Attempts:
    """One process that stays warm and opens file after file; a new one after it died or was ended.

    Parameters
    ----------
    warm : sequence of Path
        Harmless files that are opened first, so that no attempt pays for imports.
    opener : str
        ``module:function`` that opens a path.
    limits : Limits
    """

    def __init__(
        self, warm: Sequence[Path] = (), *, opener: str = OPEN_IMAGE, limits: Limits | None = None
    ) -> None:
        self._warm, self._opener, self._limits = tuple(warm), opener, limits or Limits()
        self._worker: _Worker | None = None

    def __enter__(self) -> Attempts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._worker is not None:
            self._worker.end()
        self._worker = None

    def attempt(self, path: Path, *, needle: bytes = b"") -> Outcome:
        """Open a file and read its pixels, looking for ``needle`` in them."""
        if self._worker is None:
            self._worker = _Worker(self._opener)
            for harmless in self._warm:
                self._worker.ask(harmless, b"", Limits(seconds=120))
        outcome = self._worker.ask(path, needle, self._limits)
        if outcome.end in ("died", "hung", "memory") or outcome.peak_bytes > RESTART_BYTES:
            self.close()
        return outcome


class _Worker:
    """One life of the process."""

    def __init__(self, opener: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(WORKER), opener], text=True, encoding="utf-8",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[str] = self._process.stdin
        self._answers: IO[str] = self._process.stdout
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self._family = _Family(self._process.pid)

    def ask(self, path: Path, needle: bytes, limits: Limits) -> Outcome:
        started = time.monotonic()
        self._family.begin()
        with suppress(BrokenPipeError):
            self._requests.write(json.dumps({"path": str(path), "needle": needle.hex()}) + "\n")
            self._requests.flush()
        while True:
            try:
                line = self._lines.get(timeout=SAMPLE_SECONDS)
            except queue.Empty:
                line = None
            costs: dict[str, Any] = {
                "seconds": time.monotonic() - started,
                "cpu_seconds": self._family.worked(),
                "peak_bytes": self._family.grown(),
            }
            if line is not None:
                return self._outcome(line, costs)
            if costs["seconds"] > limits.seconds:
                return Outcome("hung", **costs)
            if costs["peak_bytes"] > limits.memory_bytes:
                return Outcome("memory", **costs)

    def end(self) -> None:
        """Kill the process with those that it started."""
        self._family.kill()
        self._process.kill()
        self._process.wait()
        self._listener.join()
        with suppress(BrokenPipeError):
            self._requests.close()
        self._answers.close()

    def _outcome(self, line: str, costs: dict[str, Any]) -> Outcome:
        if not line:
            return Outcome("died", error=f"exit status {self._process.wait()}", **costs)
        answer: dict[str, Any] = json.loads(line)
        return Outcome(**(costs | answer))

    def _listen(self) -> None:
        for line in self._answers:
            self._lines.put(line)
        self._lines.put("")


class _Family:
    """A process and those that it started: how much each has grown and worked since an attempt began."""

    def __init__(self, pid: int) -> None:
        self._head: Any = psutil.Process(pid)
        self._members: list[Any] = [self._head]
        self._at_rest: dict[int, int] = {}
        self._worked_before: dict[int, float] = {}
        self._worked: dict[int, float] = {}
        self._looked = 0.0
        self._usual = 0
        self._peak = 0

    def begin(self) -> None:
        """Start to measure."""
        self._look()
        self._at_rest = {member.pid: _resident(member) for member in self._members}
        self._usual = max(self._at_rest.values(), default=0)
        self._worked_before = {member.pid: _cpu_seconds(member) for member in self._members}
        self._worked = dict(self._worked_before)
        self._peak = 0

    def worked(self) -> float:
        """Return for how many seconds they all have worked; of one that has ended, until it was last looked at."""
        for member in self._members:
            self._worked[member.pid] = max(_cpu_seconds(member), self._worked.get(member.pid, 0.0))
        return sum(self._worked.values()) - sum(self._worked_before.values())

    def grown(self) -> int:
        """Return by how many bytes any one of them has grown at most."""
        if time.monotonic() - self._looked > LOOK_FOR_CHILDREN_SECONDS:
            self._look()
        for member in self._members:
            # one that was started meanwhile grows by what it takes beyond a process with its imports
            self._peak = max(self._peak, _resident(member) - self._at_rest.get(member.pid, self._usual))
        return self._peak

    def kill(self) -> None:
        """End those that the first one started."""
        self._look()
        for member in self._members[1:]:
            with suppress(psutil.Error):
                member.kill()

    def _look(self) -> None:
        self._looked = time.monotonic()
        with suppress(psutil.Error):
            self._members = [self._head, *self._head.children(recursive=True)]


def _cpu_seconds(process: Any) -> float:  # noqa: ANN401 - psutil has no types
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _resident(process: Any) -> int:  # noqa: ANN401 - as above
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0
