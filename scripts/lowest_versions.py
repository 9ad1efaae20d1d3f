"""Make an environment in which every requirement has the lowest version that pyproject.toml allows.

``python scripts/lowest_versions.py FOLDER`` writes ``FOLDER/lowest.txt``, makes the environment ``FOLDER/venv`` and
installs the package with its extras and the tests' requirements into it. Where a bound names a version that does not
exist, or that another requirement rules out, pip says so, and the bound has to be raised.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path
from typing import Any

from check_wheels import build, copy_sources

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("all", "cluster")
TORCH = "torch"
"""It is installed first and by itself, as everywhere here: at the version that the Makefile has."""
BOUND = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(?:\[[^]]*\])?>=(?P<version>[^,;]+)")


def lowest(requirements: list[str]) -> dict[str, str]:
    """Return the lowest version of each requirement by its name, for example ``{"dask": "2024.8"}``.

    Raises
    ------
    SystemExit
        Where a requirement has no lower bound.
    """
    found = {}
    for line in requirements:
        match = BOUND.match(line)
        if match is None:
            raise SystemExit(f"{line} has no lower bound: it cannot be tested with its lowest version")
        found[match["name"]] = match["version"].strip()
    return found


def requirements_of(configuration: dict[str, Any]) -> list[str]:
    """Return what pyproject.toml asks for: the package, its extras that are tested, and the tests."""
    extras = [configuration["project"]["optional-dependencies"][name] for name in EXTRAS]
    groups = [configuration["project"]["dependencies"], *extras, configuration["dependency-groups"]["test"]]
    return [line for group in groups for line in group]


def pip(python: Path, *words: str | Path) -> None:
    """Run pip in an environment; what it says is shown."""
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "--no-compile", *map(str, words)], check=True
    )


def main() -> None:
    """Write the constraints and install by them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="made anew")
    folder: Path = parser.parse_args().folder.resolve()
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pins = lowest(requirements_of(configuration))
    torch = pins.pop(TORCH)
    folder.mkdir(parents=True)
    constraints = folder / "lowest.txt"
    constraints.write_text("".join(f"{name}=={pins[name]}\n" for name in sorted(pins)), encoding="utf-8")

    copy_sources(folder / "sources")
    build(folder / "sources", folder / "wheel", "--wheel")
    (wheel,) = (folder / "wheel").glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip(python, "--upgrade", "pip>=25.1")
    pip(python, f"{TORCH}=={torch}")
    pip(
        python,
        "-c",
        constraints,
        f"{wheel}[{','.join(EXTRAS)}]",
        "--group",
        f"{ROOT / 'pyproject.toml'}:test",
    )
    print(f"{len(pins)} requirements at their lowest versions in {folder / 'venv'}")


if __name__ == "__main__":
    main()
