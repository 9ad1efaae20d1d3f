"""Layers that a reader handed to napari, drawn again as their tiles arrive."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.widgets.layers.streaming import StreamedPyramid

__all__ = ["Sharpener", "is_shown", "sharpener"]

NEWS_MS = 40


class Sharpener(QObject):
    """Looks now and then whether pyramids have news, and tells the layers that show them."""

    def __init__(self) -> None:
        super().__init__()
        self._pyramids: WeakSet[StreamedPyramid] = WeakSet()
        self._timer = QTimer(self)
        self._timer.setInterval(NEWS_MS)
        self._timer.timeout.connect(self._look)

    def watch(self, pyramid: StreamedPyramid) -> None:
        """Keep the layer of a pyramid up to date for as long as somebody holds the pyramid."""
        self._pyramids.add(pyramid)
        self._timer.start()

    def _look(self) -> None:
        if not self._pyramids:
            self._timer.stop()
        for pyramid in list(self._pyramids):
            for error in pyramid.take_errors():
                from napari.utils.notifications import show_error

                show_error(str(error))
            if pyramid.take_news():
                for layer in _layers_of(pyramid):
                    layer.refresh(thumbnail=False, highlight=False, extent=False)


@lru_cache(maxsize=1)
def sharpener() -> Sharpener:
    """Return the one of this process; call it on the GUI thread."""
    return Sharpener()


def is_shown(pyramid: StreamedPyramid) -> bool:
    """Tell whether a layer of the current viewer shows a pyramid; call it on the GUI thread."""
    return next(_layers_of(pyramid), None) is not None


def _layers_of(pyramid: StreamedPyramid) -> Iterator[Any]:
    import napari

    viewer = napari.current_viewer()
    for layer in viewer.layers if viewer is not None else ():
        if getattr(layer, "multiscale", False) and layer.data[0] is pyramid.levels[0]:
            yield layer
