"""Try what ``pip install napari-medlab`` brought: run by the Python that it is installed in, outside the checkout.

``python -P smoke_test.py [--without-window]``: the package and its manifest, then a trip on the command line from a
phantom to a package of hard examples, then the window on that project, opened and closed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "napari-medlab"
MOST_BYTES = 12 << 20
"""Of all files installed, the weights of the models that ship included."""
FOREIGN = ("tests", "benchmarks", "examples", "docs", "scripts", "models", "widgets")
"""Folders of the repository that must not be installed under their bare names."""
COMMAND_SECONDS, WINDOW_SECONDS = 300, 180

MAKE_SCAN = """
import sys
from dataclasses import replace
from pathlib import Path
from napari_medlab.annotations import FindingTable
from napari_medlab.annotations.formats.luna16 import write_findings
from napari_medlab.phantoms.chest_ct import SECOND_SITE, chest_phantom
from napari_medlab.project.sample_files import write_mha
phantom = chest_phantom(910_000, "scan", replace(SECOND_SITE, shape=(40, 112, 128), most_nodules=6))
write_mha(Path(sys.argv[1]), phantom)
write_findings(Path(sys.argv[2]), FindingTable.from_objects(phantom.findings))
"""
OPEN_WINDOW = """
import sys
from pathlib import Path
import napari, qtpy
from napari_medlab.widgets.launcher import display, open_window
from napari_medlab.widgets.robot import Robot
with display(headless=False):
    workspace = open_window((1100, 700))
    robot = Robot(workspace, Path(sys.argv[2]))
    controller, shown = workspace.controller, workspace.controller.display
    controller.open_project(Path(sys.argv[1]))
    robot.wait_for(lambda: controller.cases, 60, "the project")
    controller.session.show_case(controller.cases[0].case_id)
    robot.wait_for(lambda: shown.view is not None and shown.turns.is_done, 60, "the case")
    names = [layer.name for layer in workspace.viewer.layers]
    robot.picture("window")
    workspace.close()
    workspace.viewer.close()
if "image" not in names or controller.errors:
    sys.exit(f"the case is not shown: layers {names}, errors {controller.errors}")
print(f"{qtpy.API_NAME} {qtpy.QT_VERSION}, napari {napari.__version__}, {len(names)} layers")
"""


def check(holds: bool, complaint: str) -> None:
    """End the run with what is wrong.

    Raises
    ------
    SystemExit
        Where it does not hold.
    """
    if not holds:
        raise SystemExit(f"FAILED: {complaint}")


def python(code: str, *words: str | Path, seconds: int = COMMAND_SECONDS) -> str:
    """Run Python code in a process of its own and return what it printed."""
    return run([sys.executable, "-P", "-c", code, *map(str, words)], seconds)


def medlab(*words: str | Path | int) -> dict[str, Any]:
    """Run a command as a user types it, and return its document."""
    program = Path(sysconfig.get_path("scripts")) / (NAME + (".exe" if os.name == "nt" else ""))
    document: dict[str, Any] = json.loads(run([str(program), *map(str, words), "--json"], COMMAND_SECONDS))
    return document


def run(command: list[str], seconds: int) -> str:
    """Run a command and return its standard output.

    Raises
    ------
    SystemExit
        Where it fails, with what it complained of.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL
    )
    check(done.returncode == 0, f"{shlex.join(command)[:300]}\n{done.stdout[-1000:]}{done.stderr[-4000:]}")
    return done.stdout


def try_package() -> str:
    """Check what lies where: the version, no foreign folders, the size, and the weights that ship."""
    import napari_medlab

    installed = importlib.metadata.distribution(NAME)
    place = Path(napari_medlab.__file__).parent
    check("site-packages" in place.parts, f"this is not what was installed, but {place}")
    check(installed.version == napari_medlab.__version__, "the version differs from the package's metadata")
    files = [file for file in installed.files or () if "__pycache__" not in file.parts]
    foreign = [str(file) for file in files if file.parts[0] in FOREIGN or "tests" in file.parts]
    check(not foreign, f"what has no business there was installed: {foreign[:5]}")
    size = sum(Path(str(file.locate())).stat().st_size for file in files)
    check(size < MOST_BYTES, f"{size >> 20} MiB are installed, more than {MOST_BYTES >> 20}")
    weights = sorted(place.glob("models/zoo/*/model.safetensors"))
    check(len(weights) >= 3, f"of the models that ship only {len(weights)} are there")
    return f"{NAME} {installed.version}: {len(files)} files, {size / 2**20:.1f} MiB, {len(weights)} models"


def try_manifest() -> str:
    """Check that napari's plugin engine finds the manifest, that it validates, and that its icon is there."""
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution(NAME)
    manifest.validate_imports()
    package, _, resource = str(manifest.icon).partition(":")
    check(
        (Path(__import__(package).__file__ or "").parent / resource).is_file(), f"no icon at {manifest.icon}"
    )
    given = manifest.contributions
    return f"{len(given.widgets or ())} widgets, {len(given.readers or ())} readers, {len(given.sample_data or ())} samples"


def try_commands(folder: Path) -> str:
    """Go from a phantom to a package of hard examples, by commands; the project stays in ``folder / "project"``."""
    scan, reference, project = folder / "scan.mha", folder / "annotations.csv", folder / "project"
    python(MAKE_SCAN, scan, reference)
    inspected = medlab("inspect", scan)
    check(inspected["kind"] == "volume", f"the phantom is called a {inspected['kind']}")
    names = {model["name"] for model in medlab("models", "list")["models"]}
    check("lung-nodules" in names, f"the detector is missing among {sorted(names)}")
    medlab("predict", "--model", "lung-nodules", scan, "--out", folder / "predicted")
    medlab("project", "init", project)
    medlab("project", "add", project, scan)
    medlab("project", "import-reference", project, reference)
    ran = medlab("project", "run", project, "--model", "lung-nodules")
    queue = medlab("queue", project)
    check(bool(queue["items"]), "the detector makes no errors on the phantom: there is nothing to review")
    cut = medlab(
        "export", project, "--format", "hard", "--budget", 4, "--errors", "fp", "fn", "--out", folder / "hard"
    )
    return f"{ran['candidates']} candidates, {len(queue['items'])} errors, {cut['examples']} hard examples"


def main() -> None:
    """Try one after the other, and say what each found and how long it took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--without-window", action="store_true", help="where there is no display")
    has_window = not parser.parse_args().without_window
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ |= {"MEDLAB_CACHE_DIR": str(folder / "cache"), "MEDLAB_STATE_DIR": str(folder / "state")}
        trips = [
            ("package", try_package),
            ("manifest", try_manifest),
            ("commands", lambda: try_commands(folder)),
        ]
        if has_window:
            trips.append(
                (
                    "window",
                    lambda: python(
                        OPEN_WINDOW, folder / "project", folder / "pictures", seconds=WINDOW_SECONDS
                    ).strip(),
                )
            )
        for name, trip in trips:
            start = time.monotonic()
            print(f"{name:9} {trip()} ({time.monotonic() - start:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
