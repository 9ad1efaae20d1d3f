"""What is installed, and under which names."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from rooms import files, packages, project_file


def test_every_package_is_listed_in_the_project_file() -> None:
    configuration: Any = project_file()
    assert packages() == set(configuration["tool"]["setuptools"]["packages"])


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in files().values()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_version_is_the_same_in_both_places() -> None:
    import napari_medlab

    configuration: Any = project_file()
    assert configuration["project"]["version"] == napari_medlab.__version__


def test_models_and_widgets_never_turn_up_under_their_bare_names() -> None:
    script = (
        "import importlib, json, sys\n"
        "for name in json.load(sys.stdin): importlib.import_module(name)\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] in ('models', 'widgets')]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(list(files())),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
