"""Several canvases in one window: each clears up in its own OpenGL context."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

__all__ = ["keep_apart"]


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
