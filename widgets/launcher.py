"""Opening the window: a display where there is none, the workspace, and a project in it."""

from __future__ import annotations

import faulthandler
import gc
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import MissingExtraError
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from napari_medlab.widgets.workspace import Workspace

__all__ = ["VERB", "display", "open_window"]

SCREEN = "1600x1000x24"


@contextmanager
def display(*, headless: bool) -> Iterator[None]:
    """Make sure that there is a display: the one there is, or an Xvfb of our own, which ends with the block.

    Raises
    ------
    MissingExtraError
        Where Xvfb is needed and not installed.
    """
    if not headless and (
        sys.platform != "linux" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        yield
        return
    if shutil.which("Xvfb") is None:
        raise MissingExtraError(
            "There is no display and no Xvfb to stand in for one.", code="no-display",
            hint="Install it: sudo apt-get install xvfb",
        )  # fmt: skip
    read, write = os.pipe()
    # with -terminate the server goes when its last client has gone: never under a window that is still there
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", SCREEN, "-nolisten", "tcp", "-terminate", "+extension", "GLX"],
        pass_fds=[write], stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(write)
    with os.fdopen(read) as answer:
        os.environ["DISPLAY"] = f":{answer.readline().strip()}"
    os.environ["QT_QPA_PLATFORM"] = "xcb"
    try:
        yield
    finally:
        from qtpy.QtWidgets import QApplication

        if QApplication.instance() is None:
            server.terminate()
            server.wait()


def open_window(size: tuple[int, int] | None = None) -> Workspace:
    """Open a napari window with the workspace in it; it fills the screen up to 1600 × 1000 where no size is given."""
    # napari 0.9.2 slices in threads only experimentally, and crashes now and then with several viewers: cases are
    # decoded in threads of our own instead, and slicing what is in memory takes no time
    os.environ["NAPARI_ASYNC"] = "0"
    faulthandler.enable()  # where a driver crashes the window, say in which line
    import napari

    from napari_medlab.images.isolation import reader_process
    from napari_medlab.widgets.preferences import apply_preferences
    from napari_medlab.widgets.workspace import Workspace

    apply_preferences()
    reader_process().start()  # it imports what it needs while the window is being built

    viewer = napari.Viewer(title="MedLab", show_welcome_screen=False, show=False)
    workspace = Workspace(viewer)
    viewer.window.show()
    available = workspace.header.screen().availableSize()
    width, height = size or (min(1600, available.width()), min(1000, available.height()))
    viewer.window.resize(width, height)  # after showing: napari brings back the size of its last window
    workspace.share_width()
    workspace.controller.display.warm_up()
    # napari collects garbage each time a layer goes: 0.15 s each, unless what lives as long as the window is left out
    gc.collect()
    gc.freeze()
    session = workspace.controller.session
    for changed in (session.cases_changed, session.review_changed):
        changed.connect(lambda: gc.freeze())  # what was just read lives on as well
    return workspace


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the project")
    parser.add_argument("paths", type=Path, nargs="*", metavar="PATH", help="images to add to it")


def _run(options: argparse.Namespace) -> dict[str, Any]:
    with display(headless=False):
        import napari

        workspace = open_window()
        controller = workspace.controller
        controller.open_project(
            options.folder, then=lambda: controller.add_images(options.paths) if options.paths else None
        )
        napari.run()
    return {"project": str(options.folder)}


VERB = Verb("review", "open the window on a project", _configure, _run)
