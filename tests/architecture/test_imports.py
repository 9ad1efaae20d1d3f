"""What is loaded by importing the rooms: start-up stays quick, and each room works without what it does not need."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rooms import core, files

WINDOW = {"napari", "qtpy", "PyQt6", "PySide6", "magicgui", "superqt", "vispy"}
HEAVY = WINDOW | {"torch", "monai", "SimpleITK", "dask", "skimage", "matplotlib"}


def loaded_by(names: list[str]) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after importing some modules."""
    script = (
        "import importlib, json, sys\n"
        "for name in json.load(sys.stdin): importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(names), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_under(package: str) -> list[str]:
    """Return the modules of a package."""
    return [name for name in files() if name == package or name.startswith(f"{package}.")]


def test_importing_the_package_takes_no_time_worth_mentioning() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import napari_medlab"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    last = done.stderr.strip().splitlines()[-1]
    assert last.endswith("napari_medlab")
    assert int(last.split("|")[1]) < 100_000  # microseconds; numpy alone would take longer on a cold disk


def test_the_core_loads_neither_torch_nor_qt_nor_anything_else_that_is_slow() -> None:
    assert loaded_by(core()) & HEAVY == set()


def test_models_load_nothing_that_belongs_to_a_window() -> None:
    assert loaded_by(modules_under("napari_medlab.models")) & WINDOW == set()


def test_models_can_be_looked_up_and_described_without_torch() -> None:
    names = [*modules_under("napari_medlab.models.bundles"), *modules_under("napari_medlab.models.workflows")]
    assert loaded_by(names) & {"torch", "monai"} == set()


@pytest.mark.parametrize("room", ["panels", "views", "layers"])
def test_widgets_leave_torch_to_another_process(room: str) -> None:
    assert loaded_by(modules_under(f"napari_medlab.widgets.{room}")) & {"torch", "monai"} == set()


def test_the_workspace_leaves_torch_to_another_process() -> None:
    assert loaded_by(["napari_medlab.widgets.workspace"]) & {"torch", "monai"} == set()
