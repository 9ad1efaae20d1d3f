"""Where the plugin turns up in napari's own menus, and that what is chosen there comes."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.window


@pytest.fixture
def viewer(npe2pm: Any, make_napari_viewer: Any) -> Any:  # noqa: ANN401 - napari's
    """Open a window that knows no plugin but this one."""
    from npe2 import PluginManifest

    npe2pm.register(PluginManifest.from_distribution("napari-medlab"))
    return make_napari_viewer()


def entries(menu: Any) -> dict[str, Any]:  # noqa: ANN401 - a QMenu
    """Return the actions of a menu by their titles."""
    menu.aboutToShow.emit()
    return {action.text().replace("&", ""): action for action in menu.actions() if action.text()}


def chosen(menu: Any, *titles: str) -> Any:  # noqa: ANN401 - as above
    """Go down from a menu and return the last action."""
    *above, last = titles
    for title in above:
        menu = entries(menu)[title].menu()
    return entries(menu)[last]


@pytest.mark.parametrize("key", ["chest", "mammogram", "slide"])
def test_a_sample_comes_from_the_file_menu(viewer: Any, key: str) -> None:  # noqa: ANN401 - napari's
    title = {
        "chest": "Chest CT phantom",
        "mammogram": "Mammography phantom",
        "slide": "Kidney section phantom",
    }[key]
    menu = entries(viewer.window.file_menu)["Open Sample"].menu()
    samples = entries(entries(menu)["MedLab"].menu())
    (action,) = (action for shown, action in samples.items() if shown.startswith(title))
    action.trigger()
    kinds = {layer._type_string for layer in viewer.layers}
    assert kinds == {"image", "points"}


def test_panels_stand_under_plugins_and_where_one_looks_for_what_they_do(viewer: Any) -> None:  # noqa: ANN401
    window = viewer.window
    panels = entries(entries(window.plugins_menu)["MedLab"].menu())
    assert {"Workspace (everything) (MedLab)", "Cases (MedLab)", "Review (MedLab)"} <= set(panels)
    for menu, title in (("Annotate", "Correct"), ("Segment", "Run"), ("Measure", "Evaluate")):
        assert chosen(window.layers_menu, menu, f"{title} (MedLab)").isEnabled()
    assert chosen(window.file_menu, "IO Utilities", "Open the MedLab workspace (MedLab)").isEnabled()


def test_a_panel_opens_beside_the_canvas(viewer: Any) -> None:  # noqa: ANN401
    chosen(viewer.window.layers_menu, "Annotate", "Correct (MedLab)").trigger()
    assert "Correct (MedLab)" in viewer.window.dock_widgets
