"""What hostile files of annotations may do, whatever their form: be refused by name, or be harmless. Nothing else.

They stand here because they are damaged and watched as images are.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pydicom
import pytest
from hostile_annotations import KINDS, sound, write_annotations
from hostile_attempts import MIB, Attempts, Outcome
from hostile_mutations import write_mutation
from roifile import roiread

from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.contents import Wanted, read_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Survived

FILE_SECONDS, FILE_BYTES = 25.0, 2560 * MIB
MANY = 2000
OPENER = "hostile_annotations:parsed"


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attempts]:
    harmless = sound(tmp_path_factory.mktemp("sound"))
    with Attempts(harmless, opener=OPENER) as running:
        ends = {path.name: running.attempt(path) for path in harmless}
        # a reader that refuses everything would pass all that follows
        assert {name: str(outcome) for name, outcome in ends.items() if outcome.end != "opened"} == {}
        yield running


@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_damaged_files_do_no_harm(attempts: Attempts, tmp_path: Path, kind: str) -> None:
    assert harm_of(outcomes_of(attempts, tmp_path, kind, 100)) == {}


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_damaged_files_do_no_harm(
    attempts: Attempts, quick_folder: Path, kind: str, survived: Survived
) -> None:
    outcomes = outcomes_of(attempts, quick_folder, kind, MANY)
    harmed = harm_of(outcomes)
    (quick_folder / "plain").mkdir()
    foreign = Counter(
        plainly(write_annotations(quick_folder / "plain", kind, number)) for number in range(200)
    )
    sys.stdout.write(f"{kind}: {Counter(outcome.end for outcome in outcomes.values())}; plainly {foreign}\n")
    survived(
        "hostile input", "mutated files", tried=MANY, survived=MANY - len(harmed), detail=f"annotations in {kind}",
        control="plain libraries raise errors that nobody told of, for the same files",
    )  # fmt: skip
    assert harmed == {}
    assert set(foreign) - {"nothing"}


def outcomes_of(attempts: Attempts, folder: Path, kind: str, count: int) -> dict[str, Outcome]:
    """Return how damaged files ended, by their names."""
    outcomes = {}
    for number in range(count):
        path = write_annotations(folder, kind, number)
        outcomes[path.name] = attempts.attempt(path)
        remove: Callable[[Path], None] = shutil.rmtree if path.is_dir() else os.unlink
        remove(path)
    return outcomes


def harm_of(outcomes: dict[str, Outcome]) -> dict[str, str]:
    """Return what is wrong with how damaged files ended: no other error than ours is let pass, in whatever process."""
    return {
        name: str(outcome)
        for name, outcome in outcomes.items()
        if outcome.end not in ("opened", "refused")
        or outcome.seconds > FILE_SECONDS
        or outcome.peak_bytes > FILE_BYTES
    }


def plainly(path: Path) -> str:
    """Return what is raised where a file is read and its numbers are believed, as scripts do."""
    readers: dict[str, Callable[[Path], Any]] = {
        ".json": lambda one: numbers_of(json.loads(one.read_bytes())), ".geojson": lambda one: json.loads(one.read_bytes()),
        ".xml": ElementTree.parse, ".dcm": lambda one: str(pydicom.dcmread(one)),
        ".roi": roiread, ".zip": roiread, ".csv": rows_of, ".txt": rows_of,
        ".folder": lambda one: rows_of(one / "labels/a.txt"),
    }  # fmt: skip
    try:
        readers[path.suffix or ".folder"](path)
    except Exception as error:  # noqa: BLE001 - what it is, is the question
        return type(error).__name__
    return "nothing"


def numbers_of(document: dict[str, Any]) -> list[float]:
    return [float(x) for one in document.get("annotations", ()) for x in one["bbox"]]


def rows_of(path: Path) -> list[float]:
    with path.open(newline="") as file:
        return [float(row[1]) for row in csv.reader(file) if row[1] != "coordX"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_window_is_told_of_damage_by_the_process_that_meets_it(tmp_path: Path, kind: str) -> None:
    codes = []
    for number in range(60):
        try:
            read_contents(Wanted(write_annotations(tmp_path, kind, number)), lambda names: {})
        except InputRefusedError as error:
            codes.append(error.code)
            break
    assert codes
    assert not [code for code in codes if code.startswith("reader") or not code]


def test_an_image_is_no_annotation(attempts: Attempts, tmp_path: Path) -> None:
    for number in range(30):
        image = write_mutation(tmp_path, "dicom", number)
        path = image.rename(tmp_path / f"dicom-seg@{image.name}")
        outcome = attempts.attempt(path)
        assert (outcome.end, outcome.code in ("dicom", "unknown-format")) == ("refused", True), str(outcome)
