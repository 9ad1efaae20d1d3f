"""Whatever call to the disk fails, and wherever the process is killed: what is left is all of it or nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Survived

CHILD = Path(__file__).with_name("faulty_disk.py")
DEEDS = (
    "edit", "undo", "group", "correction", "conclusion", "outlines", "merge", "removal", "backup", "migration", "share", "create",
    "private names", "luna16 tables", "hard examples",
)  # fmt: skip
FILES = (
    "export luna16", "export coco", "export geojson", "export nifti", "export mha", "export yolo", "export hubmap",
    "export monai", "export nnunet", "export nndetection", "export dicom-seg", "export rtstruct",
    "image .nii", "image .nii.gz", "image .mha", "image .ome.tif", "image .zarr", "mask", "checkpoint", "model",
)  # fmt: skip
FAULTS = ("kill", "stays full", "full", "stays broken", "broken")
AT_EVERY_CALL = {
    "killed": ("kill",),
    "disk full": ("full", "stays full"),
    "I/O error": ("broken", "stays broken"),
}
"""What happens at every call in turn; a disk that is full, or broken, is so once or from then on, by turns."""


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
    # a killed process leaves its passing files behind; threads of libraries would not outlive a fork
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return {said.pop("deed"): said for said in map(json.loads, done.stdout.splitlines())}


def test_every_deed_is_swept() -> None:
    from deeds import DEEDS as OF_PROJECTS
    from deeds_of_files import FILES as OF_FILES

    assert (set(DEEDS), set(FILES)) == (set(OF_PROJECTS), set(OF_FILES))


@pytest.mark.parametrize(
    "deeds", [pytest.param(DEEDS, id="projects"), pytest.param(FILES, id="files", marks=pytest.mark.slow)]
)
def test_a_disk_that_fails_leaves_all_or_nothing(quick_folder: Path, deeds: tuple[str, ...]) -> None:
    for deed, said in swept(quick_folder, deeds, FAULTS, 300).items():
        assert said["problems"] == [], deed
        assert said["points"] >= 3, deed
        assert said["refused"] + said["killed"] > 0, deed


def test_a_careless_writer_is_seen_to_tear(quick_folder: Path) -> None:
    said = swept(quick_folder, ("careless",), ("kill", "full"), 1)["careless"]
    assert any("torn" in problem for problem in said["problems"])


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("fault", AT_EVERY_CALL)
@pytest.mark.parametrize("deed", [*DEEDS, *FILES])
def test_a_disk_that_fails_at_any_call_leaves_all_or_nothing(
    quick_folder: Path, deed: str, fault: str, survived: Survived
) -> None:
    said = swept(quick_folder, (deed,), AT_EVERY_CALL[fault], 1)[deed]
    spoilt = {problem.split(":")[0] for problem in said["problems"]}
    survived(
        "durability", "every write call", tried=said["points"], survived=said["points"] - len(spoilt), control="",
        detail=deed,
    )  # fmt: skip
    assert said["problems"] == []
    assert said["refused"] + said["killed"] > 0


@pytest.mark.slow
@pytest.mark.promise
def test_a_careless_writer_is_seen_to_tear_at_any_call(quick_folder: Path, survived: Survived) -> None:
    said = swept(quick_folder, ("careless",), ("kill", "full", "broken"), 1)["careless"]
    torn = sum("torn" in problem for problem in said["problems"])
    survived(
        "durability", "every write call", tried=0, survived=0,
        control=f"a writer that does not take care left a torn file at {torn} of {said['points']} calls",
    )  # fmt: skip
    assert torn >= 1
