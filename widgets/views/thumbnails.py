"""Thumbnails of cases for lists, read in the background and kept on disk: the second time a list is there at once."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from qtpy.QtCore import QObject, QTimer, Signal

from napari_medlab.images.pictures.crops import thumbnail
from napari_medlab.widgets.views.crop_cache import PictureCache
from napari_medlab.widgets.views.crop_fetcher import Fetcher, Pictures
from napari_medlab.widgets.views.qimages import qimage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtGui import QImage

    from napari_medlab.images import Image

__all__ = ["ThumbnailStore"]

SIZE_PX = 96
LIMIT_BYTES, DISK_BYTES = 64 << 20, 256 << 20
IN_SIGHT = 80
"""A list asks for a picture whenever it draws a row: those asked for last are in sight."""
VERSION = 1
"""Of what thumbnails look like: another one makes those on disk stale."""


class _Step(NamedTuple):
    """Look whether the thumbnail of a case is on disk, or make it: all that are on disk come before the first is made."""

    case_id: str
    on_disk: bool


class ThumbnailStore(QObject):
    """Hands out thumbnails that are known, and reads the others off the GUI thread, those asked for last first.

    Signals
    -------
    arrived(str)
        The thumbnail of this case is there, or it is known that there is none.

    Parameters
    ----------
    open_case : callable
        Opens the image of a case; called from threads.
    name_of : callable, optional
        Returns what tells a case's pixels from all others (its fingerprint and its decisions); called from threads.
        Where it is left out or returns an empty text, nothing is kept on disk.
    size_px : int
        The longer side of a thumbnail.
    """

    arrived = Signal(str)

    def __init__(
        self, open_case: Callable[[str], Image], name_of: Callable[[str], str] | None = None,
        *, size_px: int = SIZE_PX, parent: QObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._open_case, self._name_of, self._size_px = open_case, name_of, size_px
        self._disk = PictureCache.named("thumbnails", DISK_BYTES) if name_of is not None else None
        self._kept = Pictures(LIMIT_BYTES)
        self._asked: OrderedDict[str, None] = OrderedDict()
        self._to_make: set[str] = set()
        self._fetcher = Fetcher(self._read, _group_of, self._take, parent=self)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._want)

    def picture(self, case_id: str) -> QImage | None:
        """Return the thumbnail of a case, or None where it is not read yet, which is then begun, or cannot be."""
        if case_id in self._kept:
            picture: QImage | None = self._kept.get(case_id)
            return picture
        self._asked[case_id] = None
        self._asked.move_to_end(case_id)
        while len(self._asked) > IN_SIGHT:
            self._asked.popitem(last=False)
        self._timer.start()
        return None

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being read."""
        return self._fetcher.is_idle and not self._timer.isActive()

    def clear(self) -> None:
        """Forget all thumbnails that are in memory: for when another project is opened."""
        self._timer.stop()
        self._asked.clear()
        self._to_make.clear()
        self._fetcher.forget()
        self._kept.clear()

    def close(self) -> None:
        """Read no more: for when the window goes."""
        self._timer.stop()
        self._fetcher.close()

    def _want(self) -> None:
        asked = list(reversed(self._asked))
        looks = (
            []
            if self._disk is None
            else [_Step(case_id, True) for case_id in asked if case_id not in self._to_make]
        )
        makes = [_Step(case_id, False) for case_id in asked if self._disk is None or case_id in self._to_make]
        self._fetcher.want(looks, makes)

    def _read(
        self, _: Any, steps: Sequence[_Step], stop: Callable[[], None]
    ) -> Iterator[tuple[_Step, NDArray[np.uint8] | None]]:
        for step in steps:
            stop()
            name = self._name_of(step.case_id) if self._name_of is not None else ""
            key = f"{VERSION} {name} {self._size_px}"
            if step.on_disk:
                stored = self._disk.get(key) if name and self._disk is not None else None
                yield step, stored.get("picture") if stored is not None else None
                continue
            picture = thumbnail(self._open_case(step.case_id), self._size_px, stop=stop)
            yield step, picture
            if name and self._disk is not None:
                self._disk.put(key, picture=picture)

    def _take(self, step: _Step, result: NDArray[np.uint8] | Exception | None) -> None:
        picture = None if result is None or isinstance(result, Exception) else qimage_of(result)
        if step.on_disk and picture is None:
            self._to_make.add(step.case_id)
            self._timer.start()
            return
        self._asked.pop(step.case_id, None)
        self._to_make.discard(step.case_id)
        # why a case cannot be read is said when it is opened
        self._kept.put(step.case_id, picture, 0 if picture is None else int(picture.sizeInBytes()))
        self.arrived.emit(step.case_id)


def _group_of(step: _Step) -> str:
    return "disk" if step.on_disk else f"case {step.case_id}"
