"""A scheduler and workers as processes of their own, on the loopback alone, and tasks for them to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.durable import DiskError
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs.cluster.certificates import make_certificates
from napari_medlab.jobs.cluster.serving import MODULE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.spreading import Tell

HERE = Path(__file__).resolve().parent
VERB = (
    "import argparse, sys; from napari_medlab.cli.cluster import VERB; parser = argparse.ArgumentParser(); "
    "VERB.configure(parser); VERB.run(parser.parse_args(sys.argv[1:]))"
)


@dataclass
class Parts:
    """What makes up a cluster.

    Parameters
    ----------
    certificates : Path
    scheduler : Popen
    address : str
        Of the scheduler.
    workers : list of Popen
    """

    certificates: Path
    scheduler: subprocess.Popen[str]
    address: str
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker that nobody starts again."""
        words = [sys.executable, "-P", "-m", MODULE, self.address, str(self.certificates), ""]
        variables = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1", **environment}
        process = subprocess.Popen(
            words, env=variables, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.workers.append(process)
        return process

    def kill(self, pid: int) -> None:
        """Kill one of the workers, which has no time to say goodbye."""
        (process,) = (one for one in self.workers if one.pid == pid)
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[Parts]:
    """Start a scheduler and workers, and end them."""
    certificates = folder / "certificates"
    make_certificates(certificates)
    scheduler = start_verb("scheduler", "--certificates", certificates, "--port", 0)
    parts = Parts(certificates, scheduler, _address(scheduler))
    try:
        for _ in range(workers):
            parts.add_worker()
        yield parts
    finally:
        for worker in parts.workers:
            end(worker)
        end(scheduler)


def start_verb(*words: object) -> subprocess.Popen[str]:
    """Start ``napari-medlab cluster``, as a person would."""
    return subprocess.Popen([sys.executable, "-c", VERB, *map(str, words)], stderr=subprocess.PIPE, text=True)


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that may have ended already, and close what leads to it."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def wait_until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a function says so."""
    end_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_at, "it never came to that"
        time.sleep(0.02)


def begun(folder: Path, name: str = "*") -> list[int]:
    """Return the processes in which tasks were begun, in that order."""
    return [int(path.name.split(".")[2]) for path in sorted(folder.glob(f"{name}.*.begun"), key=_when)]


def square(request: dict[str, Any], _cancel: CancelToken, tell: Tell) -> dict[str, Any]:
    """Return the square of an array, or fail on purpose or by mistake."""
    tell(1, 2)
    _count(request)
    if request.get("odd"):
        raise InputRefusedError("It is odd.", code="odd", hint="Even it.")
    if request.get("bug"):
        return {"never": 1 / 0}
    return {"square": np.asarray(request["array"]) ** 2, "name": request["name"]}


def slow(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> str:
    """Take so many seconds the first time, and tell how far it is; note where it is stopped."""
    _count(request)
    steps = (
        round(request["seconds"] / 0.05) if len(begun(Path(request["folder"]), request["name"])) == 1 else 1
    )
    for step in range(steps):
        tell(step, steps)
        time.sleep(0.05)
        if cancel.is_cancelled:
            (Path(request["folder"]) / f"{request['name']}.stopped").touch()
        cancel.check()
    return str(request["name"])


def deadly(request: dict[str, Any], _cancel: CancelToken, _tell: Tell) -> str:
    """End the process that does it, where it is asked to."""
    _count(request)
    if request.get("deadly"):
        os._exit(9)
    return str(request["name"])


def shaky(request: dict[str, Any], _cancel: CancelToken, _tell: Tell) -> int:
    """Fail as a file system does, so often as it is asked to, and return how often it was begun."""
    _count(request)
    attempts = len(begun(Path(request["folder"]), request["name"]))
    if attempts <= request["fails"]:
        raise OSError(5, "Input/output error")
    return attempts


def particular(request: dict[str, Any], _cancel: CancelToken, _tell: Tell) -> int:
    """Refuse in every process but the first that is begun, or in all; as a worker does that a disk is not mounted on."""
    folder = Path(request["folder"])
    with suppress(FileExistsError):
        (folder / "fit").symlink_to(str(os.getpid()))
    _count(request)
    if request.get("nowhere") or os.readlink(folder / "fit") != str(os.getpid()):
        time.sleep(0.02)
        raise InputRefusedError("This worker does not see it.", code="not-shared")
    time.sleep(0.2)
    return os.getpid()


def full(request: dict[str, Any], _cancel: CancelToken, _tell: Tell) -> int:
    """Fail once as a full disk does, and return how often it was begun."""
    _count(request)
    attempts = len(begun(Path(request["folder"]), request["name"]))
    if attempts == 1:
        raise DiskError(Path("there"), OSError(28, "No space left on device"))
    return attempts


def environment(request: dict[str, Any], _cancel: CancelToken, _tell: Tell) -> dict[str, str]:
    """Return some of the variables of the process, and its number."""
    return {name: os.environ.get(name, "") for name in request["names"]} | {"pid": str(os.getpid())}


def _count(request: dict[str, Any]) -> None:
    """Leave a trace of each time that a task is begun."""
    name = f"{request['name']}.{time.monotonic_ns()}.{os.getpid()}.begun"
    (Path(request["folder"]) / name).touch()


def _when(path: Path) -> int:
    return int(path.name.split(".")[1])


def _address(scheduler: subprocess.Popen[str]) -> str:
    assert scheduler.stderr is not None
    line = scheduler.stderr.readline()
    assert line.startswith("scheduler at tls://127.0.0.1:"), line + scheduler.stderr.read()
    threading.Thread(target=scheduler.stderr.read, daemon=True).start()
    return line.split()[-1]
