"""What PyPI, the napari hub and pip read of the package."""

from __future__ import annotations

import re
from typing import Any

from rooms import ROOT, project_file

BINDINGS = {"pyside6", "pyside6-essentials", "pyqt6", "pyqt5", "pyside2"}
LONGEST_SUMMARY = 120
"""Characters: the hub's list cuts what is longer."""
PROJECT: dict[str, Any] = project_file()["project"]  # type: ignore[assignment]
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9_.-]+)(\[[^]]*\])?(?P<bounds>.*)")


def requirements() -> dict[str, str]:
    """Return the bounds of every requirement, those of the extras and of the tests too, by name."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    tests: Any = project_file()["dependency-groups"]
    found = [REQUIREMENT.fullmatch(line) for group in (*groups, tests["test"]) for line in group]
    return {match["name"].lower(): match["bounds"] for match in found if match is not None}


def test_the_hub_lists_it_with_a_summary_and_places_to_go() -> None:
    assert "Framework :: napari" in PROJECT["classifiers"]
    assert 20 < len(PROJECT["description"]) <= LONGEST_SUMMARY
    assert set(PROJECT["urls"]) >= {"Homepage", "Documentation", "Source Code", "Bug Tracker", "User Support"}
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())
    assert PROJECT["entry-points"]["napari.manifest"] == {PROJECT["name"]: "napari_medlab:napari.yaml"}


def test_the_manifest_and_its_icon_are_packaged() -> None:
    configuration: Any = project_file()
    assert {"napari.yaml", "icon.svg"} <= set(
        configuration["tool"]["setuptools"]["package-data"]["napari_medlab"]
    )


def test_python_versions_are_those_of_the_classifiers() -> None:
    lowest = PROJECT["requires-python"].removeprefix(">=")
    prefix = "Programming Language :: Python :: 3."
    listed = sorted(
        int(line.removeprefix(prefix)) for line in PROJECT["classifiers"] if line.startswith(prefix)
    )
    assert listed[0] == int(lowest.split(".")[1])
    assert listed == list(range(listed[0], listed[-1] + 1))


def test_no_binding_of_qt_is_forced_on_anybody() -> None:
    names = {
        match["name"].lower() for line in PROJECT["dependencies"] if (match := REQUIREMENT.fullmatch(line))
    }
    assert names & BINDINGS == set()


def test_every_requirement_has_a_lowest_version_to_be_tested_with() -> None:
    assert [name for name, bounds in requirements().items() if not bounds.startswith(">=")] == []


def test_the_readme_says_what_it_is_before_anything_else() -> None:
    title, _, summary = (ROOT / "README.md").read_text(encoding="utf-8").split("\n")[:3]
    assert title == f"# {PROJECT['name']}"
    assert PROJECT["description"] in summary
