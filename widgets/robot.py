"""A hand that drives the real window with real Qt events: for the demo without a display, and for tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEventLoop, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QWidget

from napari_medlab.errors import MedlabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.widgets.workspace import Workspace

__all__ = ["Robot"]


def _rest(milliseconds: int) -> None:
    """Let the event loop run; it sleeps where there is nothing to do, which a loop over processEvents does not."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


class Robot:
    """Presses keys, clicks, drags, waits and takes pictures.

    Parameters
    ----------
    workspace : Workspace
    pictures : Path
        Folder for screenshots; made where it is missing.
    """

    def __init__(self, workspace: Workspace, pictures: Path) -> None:
        self._workspace = workspace
        self._pictures = pictures
        self._window: QWidget = workspace.header.window()
        pictures.mkdir(parents=True, exist_ok=True)

    def wait_for(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        """Let the window work until a condition holds.

        Raises
        ------
        MedlabError
            Where it does not hold in time.
        """
        end = time.monotonic() + seconds
        errors = self._workspace.controller.errors
        known = len(errors)
        while not condition():
            if len(errors) > known:
                raise MedlabError(f"Waiting for {what}: {errors[-1]}", code="demo-error")
            if time.monotonic() > end:
                raise MedlabError(f"Waited {seconds:.0f} s for {what}, in vain.", code="demo-timeout")
            _rest(20)

    def pause(self, seconds: float) -> None:
        """Let the window work for a while."""
        _rest(round(seconds * 1000))

    def key(self, key: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        """Press and release a key in the window."""
        self._window.activateWindow()
        # keys pressed before the window is active are lost
        self.wait_for(self._window.isActiveWindow, 10, "the window to become active")
        QTest.keyClick(self._window.windowHandle(), key, modifier)
        _rest(30)

    def click(self, widget: QWidget) -> None:
        """Click a widget in its middle."""
        QTest.mouseClick(widget, Qt.MouseButton.LeftButton)
        _rest(30)

    def drag(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> None:
        """Drag on the main canvas between two points of the slice shown, (y, x) in the viewer's coordinates."""
        canvas = self._canvas()
        a, b = self._pixel(canvas, start), self._pixel(canvas, end)
        QTest.mouseMove(canvas, a)
        _rest(60)
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, a)
        for share in (0.25, 0.5, 0.75, 1.0):
            QTest.mouseMove(canvas, a + (b - a) * share)
            _rest(30)
        QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, b)
        _rest(60)

    def click_at(self, point: NDArray[np.float64], *, double: bool = False) -> None:
        """Click a point of the slice shown, (y, x) in the viewer's coordinates, once or twice."""
        canvas = self._canvas()
        at = self._pixel(canvas, point)
        QTest.mouseMove(canvas, at)
        _rest(30)
        clicked = QTest.mouseDClick if double else QTest.mouseClick
        clicked(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, at)
        _rest(40)

    @property
    def canvas_size(self) -> tuple[int, int]:
        """How high and wide the main canvas is, in pixels."""
        canvas = self._canvas()
        return canvas.height(), canvas.width()

    def picture(self, name: str) -> Path:
        """Save what the window looks like."""
        _rest(250)
        path = self._pictures / f"{name}.png"
        screen = self._window.screen()
        if QApplication.platformName() == "xcb":
            geometry = self._window.frameGeometry()
            shot = screen.grabWindow(0, geometry.x(), geometry.y(), geometry.width(), geometry.height())
        else:
            shot = self._window.grab()
        shot.save(str(path))
        return path

    def _canvas(self) -> QWidget:
        """Return the canvas of the main viewer: the widget in the middle of the window that OpenGL draws on."""
        middle = self._window.centralWidget()  # type: ignore[attr-defined]
        found = [w for w in middle.findChildren(QWidget) if "CanvasBackend" in w.metaObject().className()]
        canvas: QWidget = found[0]
        return canvas

    def _pixel(self, canvas: QWidget, point: NDArray[np.float64]) -> QPoint:
        camera = self._workspace.viewer.scene.camera
        offset = (np.asarray(point) - np.asarray(camera.center[-2:])) * camera.zoom
        return QPoint(round(canvas.width() / 2 + offset[1]), round(canvas.height() / 2 + offset[0]))
