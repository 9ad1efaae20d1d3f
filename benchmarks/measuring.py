"""What every benchmark shares: its command line, its record, the facts of the machine, and memory.

A script of its own looks like this::

    def main() -> None:
        options = arguments(__doc__).parse_args()
        with recording(__file__, options) as record:
            record.add(Figure("Slides", "opening", 12.0, "ms", Goal(50.0)))

``--record FILE`` writes what was added as JSON, after every addition, so that a run that fails leaves what it had.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from figures import Figure, Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MIB", "Record", "arguments", "code_of", "peak_above", "recording", "resident_mib", "seconds_of"]

MIB = 1 << 20
RESET = Path("/proc/self/clear_refs")
"""Where Linux is told to count a process's peak of memory anew."""
PACKAGES = (
    "napari-medlab", "numpy", "torch", "monai", "napari", "PySide6-Essentials", "pydicom", "SimpleITK", "tifffile", "zarr",
    "pycocotools", "distributed",
)  # fmt: skip


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a trial in seconds; its figures mean nothing")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the figures there as JSON")
    return parser


class Record:
    """What a run of a script found: printed as it comes, and kept in a file where one is named.

    Parameters
    ----------
    script : path of the script
    options : as parsed by :func:`arguments`
    """

    def __init__(self, script: Path, options: argparse.Namespace) -> None:
        self.quick: bool = options.quick
        self.entries: list[Figure | Growth] = []
        self._path: Path | None = options.record
        self._began: float | None = time.monotonic()
        given = {k: v if isinstance(v, list) else [v] for k, v in vars(options).items() if v is not None}
        self._head: dict[str, Any] = {
            "script": script.stem,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": self.quick,
            # where things lie says nothing about the figures
            "arguments": {
                k: " ".join(map(str, v))
                for k, v in given.items()
                if k != "quick" and not isinstance(v[0], Path)
            },
            "code": code_of(script),
            "machine": machine(),
        }
        self._notes: list[str] = []

    def add(self, *entries: Figure | Growth) -> None:
        """Print figures and keep them."""
        for entry in entries:
            self.entries.append(entry)
            print(told(entry), flush=True)
        self.write(is_complete=False)

    def is_of_before(self, when: float) -> None:
        """Date the record to a moment, in seconds since 1970, of a run whose code and circumstances nobody wrote down."""
        self._head["date"] = datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds")
        self._head["code"] = ""
        self._head["machine"] |= {"commit": "", "load_before": None, "versions": {}}
        self._began = None

    def note(self, text: str) -> None:
        """Print what a reader of the figures has to know, and keep it."""
        print(text, flush=True)
        self._notes.append(text)

    def write(self, *, is_complete: bool) -> None:
        """Write the file, if there is to be one."""
        if self._path is None:
            return
        document = self._head | {
            "seconds": None if self._began is None else round(time.monotonic() - self._began, 1),
            "is_complete": is_complete,
            "figures": [entry.as_json() for entry in self.entries if isinstance(entry, Figure)],
            "growths": [entry.as_json() for entry in self.entries if isinstance(entry, Growth)],
            "notes": self._notes,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(self._path)


@contextmanager
def recording(script: str, options: argparse.Namespace) -> Iterator[Record]:
    """Give the record of a script; it counts as complete where the block ends without an error."""
    record = Record(Path(script), options)
    yield record
    record.write(is_complete=True)


def told(entry: Figure | Growth) -> str:
    """Return one line about a figure or a growth."""
    if isinstance(entry, Growth):
        steps = ", ".join(f"{s:,.0f}: {f:.4g}" for s, f in zip(entry.sizes, entry.figures, strict=True))
        factors = ", ".join(f"{factor:.2f}" for factor in entry.factors)
        return (
            f"{entry.what} by {entry.of}: {steps} {entry.unit}; × {factors} for a tenfold, expected {entry.expected}, "
            f"{'ok' if entry.is_as_expected else 'MORE THAN EXPECTED'}"
        )
    line = f"{entry.what}: {entry.ours:.4g} {entry.unit}".rstrip()
    if entry.peer:
        line += f"; {entry.peer} {entry.peer_value:.4g} {entry.unit}".rstrip()
    if entry.ratio is not None:
        line += f"; ratio {entry.ratio:.3g}"
    if entry.goal is not None:
        line += f" (goal {entry.goal.text(entry.unit)}: {'ok' if entry.met else 'MISSED'})"
    return line


def code_of(script: Path) -> str:
    """Return a hash of a script, by which a record that is older than the script is known."""
    return hashlib.sha256(script.read_bytes()).hexdigest()[:16]


def machine() -> dict[str, Any]:
    """Return what figures depend on: processor, memory, versions, and how busy the machine is."""
    versions = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    busy = round(psutil.getloadavg()[0], 1)
    return {
        "processor": _processor(), "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": platform.platform(terse=True), "load_before": busy, "commit": _commit(), "versions": versions,
    }  # fmt: skip


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    names = (
        [line for line in path.read_text().splitlines() if line.startswith("model name")]
        if path.exists()
        else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long something takes; what it returns lives until the clock has stopped."""
    began = time.perf_counter()
    answer = work()
    seconds = time.perf_counter() - began
    del answer
    return seconds


def resident_mib(*pids: int) -> float:
    """Return the memory that processes hold, this one where none are named, in MiB."""
    return float(sum(psutil.Process(pid).memory_info().rss for pid in pids or (os.getpid(),)) / MIB)


@contextmanager
def peak_above() -> Iterator[Callable[[], float]]:
    """Give a function that returns how far this process's memory has been above where it began, in MiB."""
    before = resident_mib()
    if RESET.exists():
        RESET.write_text("5")  # the peak begins anew
    yield lambda: _peak_mib() - before


def _peak_mib() -> float:
    """Return the most memory that this process had: since the last reset on Linux, since its start elsewhere."""
    if RESET.exists():
        lines = RESET.with_name("status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
