"""Reading a file from elsewhere in a process of its own, which is ended where it hangs or takes too much."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil

from napari_medlab.errors import InputRefusedError
from napari_medlab.images.isolation import Limits
from napari_medlab.images.isolation.frames import read_frame, widen, write_frame
from napari_medlab.images.isolation.messages import error_from

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    Frame = tuple[dict[str, Any], list[NDArray[np.uint8]]]

__all__ = ["ask_parser"]

MODULE = "napari_medlab.exchange.parsing"
POLL_SECONDS = 0.05
PATIENCE = 4
"""How many times as long as it may work a process may take for it, on a busy machine or a slow disk."""
MIB = 1 << 20


def ask_parser(
    request: dict[str, Any],
    path: Path,
    *,
    limits: Limits | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> Frame:
    """Start a process, let it answer one request about a file or folder, and end it.

    Parameters
    ----------
    request : dict
        As :mod:`napari_medlab.exchange.parsing` takes it.
    path : Path
        What it is about, for messages.
    limits : Limits, optional
        What parsing may cost: 25 s of work without a sign of progress (of a folder, each file is one) and 2,560 MiB.
    on_progress : callable, optional
        Called with the files done and all files of a folder.
    stop : callable, optional
        Called now and then; raises where the work is to end.

    Raises
    ------
    InputRefusedError
        What the reader of the format raised; ``reader-died``, ``reader-hung`` or ``reader-memory`` where the file made it
        crash, hang or take too much.
    """
    bounds = limits or Limits()
    environment = os.environ | {"PYTHONUTF8": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen(
        # -P: what lies in the current folder, perhaps beside the file, is no module to be imported
        [sys.executable, "-P", "-m", MODULE, str(bounds.memory_bytes)], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    answers: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(process.stdout, answers), daemon=True)
    try:
        widen(process.stdout.fileno())
        with suppress(BrokenPipeError):  # the listener tells of its end
            write_frame(process.stdin, request)
        listener.start()
        return _Conversation(process.pid, path, bounds).answer(answers, on_progress, stop)
    finally:
        process.kill()
        process.wait()
        if listener.ident is not None:
            listener.join()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()


class _Conversation:
    """What is heard of one process until it has answered."""

    def __init__(self, pid: int, path: Path, limits: Limits) -> None:
        self._pid, self._name, self._limits = pid, path.name, limits
        self._before = 0.0

    def answer(
        self,
        answers: queue.SimpleQueue[Frame | None],
        on_progress: Callable[[int, int], None] | None,
        stop: Callable[[], None] | None,
    ) -> Frame:
        heard = time.monotonic()
        while True:
            if stop is not None:
                stop()
            try:
                frame = answers.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._watch(heard)
                continue
            if frame is None:
                raise self._refusal("died", "made its reader crash", "export it again from its source")
            message = frame[0]
            if message["event"] == "error":
                raise error_from(message["error"])
            if message["event"] == "done":
                return frame
            heard, self._before = time.monotonic(), self._worked()
            if on_progress is not None:
                on_progress(message["done"], message["total"])

    def _watch(self, heard: float) -> None:
        if self._is_over(time.monotonic() - heard):
            what = f"kept its reader busy for over {self._limits.seconds:.0f} s"
            raise self._refusal("hung", what, "split it into smaller files")
        if _resident_bytes(self._pid) > self._limits.memory_bytes:
            what = f"made its reader take over {self._limits.memory_bytes // MIB} MiB"
            raise self._refusal("memory", what, "split it into smaller files")

    def _is_over(self, waited: float) -> bool:
        """Tell whether the time is up: of work, so that a busy machine gives no file up, or of waiting for a disk."""
        worked = self._worked() - self._before
        return worked > self._limits.seconds or waited > PATIENCE * self._limits.seconds

    def _worked(self) -> float:
        with suppress(psutil.Error):
            times = psutil.Process(self._pid).cpu_times()
            return float(times.user + times.system)
        return 0.0

    def _refusal(self, reason: str, what: str, advice: str) -> InputRefusedError:
        return InputRefusedError(
            f"{self._name} {what}.", code=f"reader-{reason}", hint=f"It may be damaged: {advice}."
        )


def _listen(stream: Any, answers: queue.SimpleQueue[Frame | None]) -> None:  # noqa: ANN401 - a pipe
    try:
        while True:
            answers.put(read_frame(stream))
    except Exception:  # noqa: BLE001 - whatever it is, nothing more is to be heard
        answers.put(None)


def _resident_bytes(pid: int) -> int:
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0
