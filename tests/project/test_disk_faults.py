from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("faulty_disk.py")
DEEDS = (
    "edit", "undo", "group", "correction", "conclusion", "outlines", "merge", "backup", "migration", "share", "create",
    "private names", "luna16 tables", "hard examples",
)  # fmt: skip
FAULTS = ("kill", "stays full", "full", "stays broken", "broken")


@cache
def why_not() -> str:
    """Return why faults cannot be injected here; nothing where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed: calls to the disk cannot be made to fail"
    command = [
        "strace",
        "-q",
        "-o",
        os.devnull,
        "-e",
        "trace=fsync",
        "-e",
        "inject=fsync:error=EIO:when=1",
        "true",
    ]
    can = subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0
    return "" if can else "strace may not watch processes here: calls to the disk cannot be made to fail"


@pytest.fixture(autouse=True)
def needs_strace() -> None:
    if why_not():
        pytest.skip(why_not())


def swept(
    folder: Path, deeds: tuple[str, ...], faults: tuple[str, ...], step: int
) -> dict[str, dict[str, Any]]:
    """Return what became of each deed."""
    command = [sys.executable, str(CHILD), str(folder), ",".join(deeds), ",".join(faults), str(step)]
    # a killed process leaves its passing files behind
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {said.pop("deed"): said for said in map(json.loads, done.stdout.splitlines())}


def test_a_disk_that_fails_leaves_all_or_nothing(tmp_path: Path) -> None:
    for deed, said in swept(tmp_path, DEEDS, FAULTS, 25).items():
        assert said["problems"] == [], deed
        assert said["points"] >= 4, deed
        assert said["refused"] > 0, deed
        assert said["killed"] > 0, deed


def test_a_careless_writer_is_seen_to_tear(tmp_path: Path) -> None:
    said = swept(tmp_path, ("careless",), ("kill", "full"), 1)["careless"]
    assert any("torn" in problem for problem in said["problems"])


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("deed", DEEDS)
def test_a_disk_that_fails_at_any_call_leaves_all_or_nothing(tmp_path: Path, deed: str, fault: str) -> None:
    said = swept(tmp_path, (deed,), (fault,), 1)[deed]
    assert said["problems"] == []
    assert said["refused"] + said["killed"] > 0
