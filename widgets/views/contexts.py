"""Several canvases in one window: each clears up in its own OpenGL context, and all of them change as one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from qtpy.QtGui import QCursor

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["draw_again", "hold_still", "keep_apart", "mouse_from_middle"]

_canvases: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def keep_apart(viewer: Any, canvas: Any) -> None:
    """Make a canvas OpenGL's current one before a layer of its viewer goes.

    napari 0.9.2 deletes what a layer had on the graphics card in whatever context happens to be current. Where a window
    has several canvases that is another one's or Qt's own, and the driver dies at the next drawing (seen with Mesa 22.3).

    Parameters
    ----------
    viewer : napari.components.ViewerModel or napari.Viewer
    canvas : napari's VispyCanvas
        What draws the viewer.
    """

    def make_current(_: Any) -> None:
        with suppress(RuntimeError, AttributeError):  # the canvas went before its layers
            canvas._scene_canvas.set_current()

    viewer.layers.events.removing.connect(make_current)
    _canvases[viewer] = canvas


def hold_still(viewer: Any) -> None:
    """Let the canvas of a viewer stand as it is until :func:`draw_again`: many changes are drawn once then.

    Until then it shows the case before as a whole, and no mixture of two.
    """
    _enable(viewer, on=False)


def draw_again(viewer: Any) -> None:
    """Draw what has changed since :func:`hold_still`."""
    _enable(viewer, on=True)


def _enable(viewer: Any, *, on: bool) -> None:
    canvas = _canvases.get(viewer)
    if canvas is not None:
        with suppress(RuntimeError, AttributeError):  # it went before its viewer
            canvas.native.setUpdatesEnabled(on)


def mouse_from_middle(viewer: Any) -> NDArray[np.float64] | None:
    """Return how far the mouse is from the middle of a viewer's canvas, (down, right) in pixels; None where it is outside."""
    canvas = _canvases.get(viewer)
    if canvas is None:
        return None
    with suppress(RuntimeError, AttributeError):  # as above
        widget = canvas.native
        at = widget.mapFromGlobal(QCursor.pos())
        if widget.rect().contains(at):
            return np.array([at.y() - widget.height() / 2, at.x() - widget.width() / 2])
    return None
