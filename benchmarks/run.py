"""Run the benchmarks one after another, each in a process of its own, and write RESULTS.md.

    python benchmarks/run.py [--only NAME …] [--quick] [--out DIR] [--list] [--page]

Every script writes ``results/NAME.json``; RESULTS.md is made of all records there are, those of earlier runs too. Where a
script fails or takes too long the others go on: the page says so, and so does the exit status.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from results_page import render

FOLDER = Path(__file__).resolve().parent
TRIAL = FOLDER.parent / "out" / "benchmarks"
"""Where a quick run writes: its figures must not stand among real ones."""
DEFAULT_MINUTES, QUICK_MINUTES = 20, 10
MINUTES = {"loop_learns": 90, "models": 60, "engine": 40}
"""The time limits of the longest."""
ARGUMENTS = {"loop_learns": ("--seeds", "1")}
"""What is cut short in a run of everything; its note and its record say so."""
LAST = ("engine", "models", "loop_learns")
"""The longest come last, so that what went wrong with the others is known early."""


@dataclass(frozen=True)
class Outcome:
    """How the run of a script ended: its name, how long it took, and what was wrong, empty where nothing was."""

    name: str
    seconds: float
    error: str = ""


def main() -> None:
    """Run what was asked for, write the page, and exit with 1 where something failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=names(), metavar="NAME", help="these alone")
    parser.add_argument("--quick", action="store_true", help=f"a trial in minutes, written to {TRIAL}")
    parser.add_argument("--out", type=Path, help="where RESULTS.md and results/ are")
    parser.add_argument("--list", action="store_true", help="name the benchmarks, and do nothing")
    parser.add_argument("--page", action="store_true", help="only write RESULTS.md anew from the records")
    options = parser.parse_args()
    if options.list:
        print("\n".join(names()))
        return
    out: Path = options.out or (TRIAL if options.quick else FOLDER)
    chosen = [] if options.page else options.only or names()
    outcomes = [run(name, out / "results", quick=options.quick) for name in chosen]
    failures = {outcome.name: outcome.error for outcome in outcomes if outcome.error}
    (out / "results").mkdir(parents=True, exist_ok=True)
    (out / "RESULTS.md").write_text(render(out / "results", FOLDER, failures), encoding="utf-8")
    print(f"\n{out / 'RESULTS.md'}")
    for name, error in failures.items():
        print(f"FAILED: {name}: {error}")
    sys.exit(1 if failures else 0)


def names() -> list[str]:
    """Return the names of all benchmarks in the order in which they run."""
    found = [
        p.stem for p in FOLDER.glob("*.py") if "__main__" in p.read_text(encoding="utf-8") and p.stem != "run"
    ]
    return sorted(found, key=lambda name: (LAST.index(name) if name in LAST else -1, name))


def run(name: str, results: Path, *, quick: bool) -> Outcome:
    """Run one benchmark within its time limit."""
    print(f"\n== {name}", flush=True)
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--record", str(results / f"{name}.json")]
    command += ["--quick"] if quick else ARGUMENTS.get(name, ())
    minutes = QUICK_MINUTES if quick else MINUTES.get(name, DEFAULT_MINUTES)
    began = time.monotonic()
    # a session of its own: what it started, an Xvfb or workers, ends with it
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}, start_new_session=True
    )
    try:
        status = process.wait(60 * minutes)
        error = "" if status == 0 else f"ended with status {status}"
    except subprocess.TimeoutExpired:
        error = f"did not end within {minutes} minutes"
    finally:
        _end(process)
    error = error or _unrecorded(results / f"{name}.json", began)
    print(f"== {name}: {error or 'done'}, {time.monotonic() - began:.0f} s", flush=True)
    return Outcome(name, time.monotonic() - began, error)


def _unrecorded(path: Path, began: float) -> str:
    """Return what is wrong with the record of a script that ended well: it is missing, of another run, or cut short."""
    if not path.exists() or path.stat().st_mtime < time.time() - (time.monotonic() - began) - 1:
        return "wrote no record"
    return (
        ""
        if json.loads(path.read_text(encoding="utf-8"))["is_complete"]
        else "wrote a record that is not complete"
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a script's session."""
    try:
        os.killpg(process.pid, signal.SIGTERM)
    except ProcessLookupError:
        return
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    main()
