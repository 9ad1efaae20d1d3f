"""What tests of every room share."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before numpy or torch is first imported
if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # Qt ends the process where it finds no display


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what drives the window where there is no display: Qt's offscreen platform cannot draw with OpenGL."""
    has_display = sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if has_display and os.environ.get("QT_QPA_PLATFORM") != "offscreen":
        return
    skip = pytest.mark.skip(reason="needs a display: run `make test`, or pytest under xvfb-run")
    for item in items:
        if item.get_closest_marker("window"):
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep what is made of slides, and how windows are laid out, away from what whoever runs the tests has."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDLAB_CACHE_DIR", str(folder))
        patch.setenv("MEDLAB_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Return the folder of real samples."""
    folder = os.environ.get("MEDLAB_TEST_DATA")
    if not folder:
        pytest.skip("MEDLAB_TEST_DATA is not set: the real samples are not here")
    return Path(folder)
