"""What ``npe2 validate`` lets through: menus that napari never shows, and key bindings that it never binds."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import yaml
from rooms import ROOT

CONTRIBUTIONS: dict[str, Any] = yaml.safe_load(
    (ROOT / "napari_medlab" / "napari.yaml").read_text(encoding="utf-8")
)["contributions"]


def test_every_menu_is_one_that_napari_lets_plugins_add_to() -> None:
    from napari._app_model.constants import MenuId

    known = {str(getattr(menu, "value", menu)) for menu in MenuId.contributables()}
    assert set(CONTRIBUTIONS.get("menus", {})) - known == set()


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
