"""One call to the disk fails, or the process is killed at it: every call of a deed in turn.

Runs as a process of its own, which forks: the child gets ready, strace is put on it, and then it does the deed, with the
n-th call of one sort failing. What is then on the disk must be all of it or nothing. Everything that may start threads
happens in children: a process that has threads cannot be forked.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import MedlabError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deed import Deed

CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "rename",
    "unlink",
    "mkdir",
    "fallocate",
    "sendfile",
)
FAULTS = {
    "kill": "signal=SIGKILL:when={}",
    "full": "error=ENOSPC:when={}",
    "stays full": "error=ENOSPC:when={}+",
    "broken": "error=EIO:when={}",
    "stays broken": "error=EIO:when={}+",
}
DISK = ("disk", "not-written")
"""The codes of errors that say that the disk is to blame."""
PATIENCE = 30.0


@dataclass
class Result:
    """What became of a deed at every point where a call failed."""

    points: int = 0
    refused: int = 0
    killed: int = 0
    undone: int = 0
    problems: list[str] = field(default_factory=list)


def sweep(deed: Deed, folder: Path, faults: Sequence[str], step: int) -> Result:
    """Do a deed once for each ``step``-th call that can fail, the faults taking turns; look at what is left each time."""
    result = Result()
    template = folder / "template"
    _apart(lambda: deed.make(template))
    for call in CALLS:
        for number in count(1, step):
            place = folder / f"{call}-{number}"
            shutil.copytree(template, place)
            fault = FAULTS[faults[result.points % len(faults)]]
            was_hit = _try_one(deed, place, (call, fault.format(number)), result)
            shutil.rmtree(place)
            if not was_hit:
                break
            result.points += 1
    return result


def _try_one(deed: Deed, place: Path, injection: tuple[str, str], result: Result) -> bool:
    """Do the deed with one fault; return whether it came so far."""
    trace = place.with_name(f"{place.name}.trace")
    said = _in_child(deed, place, (trace, *injection))
    text = trace.read_text()
    trace.unlink()
    was_killed = "killed by SIGKILL" in text
    if not was_killed and "(INJECTED)" not in text:
        if said != ["done"]:
            result.problems.append(f"without a fault: {said}")
        return False
    name = f"{place.name} {injection[1]}"
    result.killed += was_killed
    result.refused += said[:1] == ["refused"]
    try:
        was_undone, problems = _apart(lambda: _look(deed, place, said, was_killed=was_killed))
    except RuntimeError as error:
        was_undone, problems = False, [f"{error}, after {said}"]
    result.undone += was_undone
    result.problems += [f"{name}: {problem}" for problem in problems]
    return True


def _look(deed: Deed, place: Path, said: list[str], *, was_killed: bool) -> tuple[bool, list[str]]:
    """Return whether nothing was done yet, and what is wrong with what is left on the disk."""
    problems = []
    state = deed.state(place)
    was_undone = was_killed and state == "before"
    if was_undone:
        deed.again(place)
        state = deed.state(place)
    elif not was_killed and said not in (["done"], ["refused", "done"]):
        problems.append(f"it said {said}")
    if state != "after":
        problems.append(f"the state is {state}, after {said}")
    debris = [str(path.relative_to(place)) for path in place.rglob("*partial*")]
    if debris and not was_killed:
        problems.append(f"left behind: {debris}")
    return was_undone, problems


def _apart(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever it returns that JSON can hold
    """Return what ``work`` returns, done in a child; None and the error as text where it raised."""
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(receiving)
        signal.alarm(int(PATIENCE))
        try:
            answer = {"value": work()}
        except BaseException as error:  # noqa: BLE001 - told to the parent
            answer = {"error": f"{type(error).__name__}: {error}"}
        with os.fdopen(sending, "w") as file:
            json.dump(answer, file)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as file:
        text = file.read()
    os.waitpid(pid, 0)
    answer = json.loads(text or '{"error": "it hung or died"}')
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer["value"]


def _in_child(deed: Deed, place: Path, injection: tuple[Path, str, str]) -> list[str]:
    """Fork, do the deed under the fault, and return what the child said."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _child(deed, place, theirs)
    theirs.close()
    said: list[str] = []
    if ours.recv(64) == b"ready":
        tracer = _attach(pid, injection)
        ours.send(b"go")
        while word := ours.recv(4096):
            said.append(word.decode())
            if word == b"refused":  # there is room again
                _let_go(tracer)
                ours.send(b"go")
        tracer.wait(PATIENCE)  # it ends with the child
    ours.close()
    os.waitpid(pid, 0)
    return said


def _child(deed: Deed, place: Path, line: socket.socket) -> None:
    """Get ready, do the deed, do it again where it was refused, and end without a word to anybody else."""
    status = 1
    signal.alarm(int(PATIENCE))  # one that hangs is killed, and has then said nothing
    try:
        subject = deed.open(place)
        line.send(b"ready")
        line.recv(64)
        _do(deed, place, subject, line)
        status = 0
    except BaseException as error:  # noqa: BLE001 - told to the parent
        line.send(f"{type(error).__name__}: {error}"[:4000].encode())
    finally:
        os._exit(status)


def _do(deed: Deed, place: Path, subject: object, line: socket.socket) -> None:
    try:
        deed.act(place, subject)
    except MedlabError as error:
        if error.code not in DISK:
            raise
        line.send(b"refused")
        line.recv(64)
        deed.act(place, subject)
    line.send(b"done")
    deed.close(subject)


def _attach(pid: int, injection: tuple[Path, str, str]) -> subprocess.Popen[bytes]:
    trace, call, fault = injection
    command = [
        "strace",
        "-f",
        "-q",
        "-o",
        str(trace),
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{fault}",
        "-p",
        str(pid),
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + PATIENCE
    tasks = Path(f"/proc/{pid}/task")
    while not all("TracerPid:\t0\n" not in (task / "status").read_text() for task in tasks.iterdir()):
        if tracer.poll() is not None or time.monotonic() > give_up:
            msg = "strace does not attach"
            raise RuntimeError(msg)
        time.sleep(0.001)
    return tracer


def _let_go(tracer: subprocess.Popen[bytes]) -> None:
    """Take the fault away, and wait until it is gone."""
    tracer.send_signal(signal.SIGTERM)
    tracer.wait(PATIENCE)


def deed_named(name: str) -> Deed:
    """Return a deed; those of files load far more than those of projects."""
    from deeds import CARELESS, DEEDS

    if name in DEEDS or name == "careless":
        return DEEDS.get(name, CARELESS)
    from deeds_of_files import FILES

    return FILES[name]


def main(folder: str, deeds: str, faults: str, step: str) -> None:
    """Print for each deed the result of its sweep, as one line of JSON."""
    for number, name in enumerate(deeds.split(",")):
        place = Path(folder) / str(number)
        place.mkdir()
        result = sweep(deed_named(name), place, faults.split(","), int(step))
        print(json.dumps({"deed": name, **asdict(result)}), flush=True)  # noqa: T201 - read by the test
        shutil.rmtree(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
