"""What ``npe2 validate`` lets through: menus that napari never shows, key bindings that it never binds, a missing icon."""

from __future__ import annotations

import importlib
import importlib.resources
from typing import Any

import defusedxml.ElementTree
import pytest
import yaml
from rooms import ROOT

MANIFEST: dict[str, Any] = yaml.safe_load(
    (ROOT / "napari_medlab" / "napari.yaml").read_text(encoding="utf-8")
)
CONTRIBUTIONS: dict[str, Any] = MANIFEST["contributions"]
DRAWN = {"svg", "title", "rect", "path", "circle"}
"""Elements of the icon: neither text, whose font may be missing, nor scripts, nor links."""


def test_the_engine_takes_it_without_a_complaint() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_distribution("napari-medlab")
    manifest.validate_imports()
    assert manifest.is_visible
    assert manifest.package_metadata is not None
    assert manifest.package_metadata.name == manifest.name == "napari-medlab"


def test_the_icon_lies_in_the_package_and_is_drawn_with_shapes_alone() -> None:
    package, _, resource = MANIFEST["icon"].partition(":")
    drawing = defusedxml.ElementTree.parse(importlib.resources.files(package) / resource).getroot()
    assert {element.tag.rpartition("}")[2] for element in drawing.iter()} <= DRAWN
    left, top, width, height = map(float, drawing.attrib["viewBox"].split())
    assert (left, top, width) == (0, 0, height)


def test_commands_have_no_icons_because_napari_would_look_for_them_on_the_internet() -> None:
    assert [command["id"] for command in CONTRIBUTIONS["commands"] if "icon" in command] == []


def test_every_menu_is_one_that_napari_lets_plugins_add_to() -> None:
    from napari._app_model.constants import MenuId

    known = {str(getattr(menu, "value", menu)) for menu in MenuId.contributables()}
    assert set(CONTRIBUTIONS.get("menus", {})) - known == set()


@pytest.mark.parametrize(
    ("menu", "command"),
    [
        ("napari/file/io_utilities", "workspace"),
        ("napari/layers/annotate", "correct"),
        ("napari/layers/annotate", "review"),
        ("napari/layers/segment", "run"),
        ("napari/layers/measure", "evaluate"),
    ],
)
def test_it_is_found_where_one_looks_for_it(menu: str, command: str) -> None:
    assert f"napari-medlab.{command}" in {entry["command"] for entry in CONTRIBUTIONS["menus"][menu]}


def test_there_are_no_key_bindings_because_napari_ignores_them() -> None:
    assert not CONTRIBUTIONS.get("keybindings")


def test_every_contribution_names_a_command_that_is_declared() -> None:
    declared = {command["id"] for command in CONTRIBUTIONS["commands"]}
    lists = [CONTRIBUTIONS.get(kind, []) for kind in ("widgets", "readers", "writers", "sample_data")]
    used = {
        entry["command"]
        for entries in [*lists, *CONTRIBUTIONS.get("menus", {}).values()]
        for entry in entries
    }
    assert used - declared == set()


@pytest.mark.parametrize("command", CONTRIBUTIONS["commands"], ids=lambda command: str(command["id"]))
def test_every_command_leads_to_something_that_can_be_called(command: dict[str, str]) -> None:
    module, _, name = command["python_name"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))
