"""Crops around errors, read in the background and kept in memory and on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_medlab.images.pictures.crops import PlacePicture, crops_of_case, side_around
from napari_medlab.widgets.views.crop_cache import PictureCache
from napari_medlab.widgets.views.crop_fetcher import Fetcher, OpenImages, Pictures
from napari_medlab.widgets.views.qimages import qimage_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qtpy.QtGui import QImage

    from napari_medlab.images import Image

__all__ = ["Crop", "CropRequest", "CropStore"]

SIZE_PX = 160
LIMIT_BYTES = 128 << 20
VERSION = 1
"""Of what crops look like: another one makes those on disk stale."""
TEXT_BYTES = 256


class CropRequest(NamedTuple):
    """Which crop: around where, in world coordinates, in the image of which case; -1 is an unknown diameter."""

    case_id: str
    centre: tuple[float, ...]
    diameter: float


@dataclass(frozen=True, eq=False)
class Crop:
    """A crop ready to be drawn.

    Parameters
    ----------
    strip : QImage
        The planes, squares one below the other.
    planes : int
        Three of a volume, one of any other image.
    radius_px : float
        Of the object, in pixels of the strip; 0 where it is unknown.
    """

    strip: QImage
    planes: int
    radius_px: float

    @property
    def side_px(self) -> int:
        """Width and height of a plane."""
        return self.strip.width()


class CropStore(QObject):
    """Reads crops off the GUI thread, several of one case together, those in sight first.

    Signals
    -------
    arrived(list)
        The requests of which something is known now that was not before.

    Parameters
    ----------
    open_case : callable
        Opens the image of a case; called from threads. Planar images are best opened with their pyramid.
    name_of : callable, optional
        Returns what tells a case's pixels from all others (its fingerprint and its decisions), by which crops are found
        on disk again; called from threads. Where it is left out or returns an empty text, nothing is kept on disk.
    limit_bytes : int
        How much memory crops may take.
    """

    arrived = Signal(list)

    def __init__(
        self, open_case: Callable[[str], Image], name_of: Callable[[str], str] | None = None,
        *, size_px: int = SIZE_PX, limit_bytes: int = LIMIT_BYTES, parent: QObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._images = OpenImages(open_case)
        self._name_of, self._size_px = name_of, size_px
        self._disk = PictureCache.named("crops") if name_of is not None else None
        self._kept = Pictures(limit_bytes)
        self._fetcher = Fetcher(self._read, lambda request: request.case_id, self._take, parent=self)

    def crop(self, request: CropRequest) -> Crop | str | None:
        """Return a crop, the reason why there is none, or None where it is not read yet."""
        found: Crop | str | None = self._kept.get(request)
        return found

    def want(self, visible: Sequence[CropRequest], nearby: Sequence[CropRequest] = ()) -> None:
        """Read these crops, those in sight first; what was wanted before and is not named is given up."""
        self._fetcher.want(
            *([request for request in tier if request not in self._kept] for tier in (visible, nearby))
        )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being read."""
        return self._fetcher.is_idle

    def clear(self) -> None:
        """Forget all crops and let go of the images: for when another project is opened."""
        self._fetcher.forget()
        self._kept.clear()
        self._images.clear()

    def close(self) -> None:
        """Read no more: for when the window goes."""
        self._fetcher.close()
        self._images.clear()

    def _read(
        self, case_id: Any, requests: Sequence[CropRequest], stop: Callable[[], None]
    ) -> Iterator[tuple[CropRequest, PlacePicture]]:
        name = self._name_of(case_id) if self._name_of is not None else ""
        left = []
        for request in requests:
            picture = self._from_disk(name, request)
            if picture is None:
                left.append(request)
            else:
                yield request, picture
        if not left:
            return
        stop()
        image = self._images(case_id)
        centres = np.asarray([request.centre for request in left], dtype=np.float64)
        sides = [side_around(image.grid, request.diameter) for request in left]
        for row, picture in crops_of_case(image, centres, sides, size_px=self._size_px, stop=stop):
            yield left[row], picture
            if name and self._disk is not None:
                self._disk.put(
                    self._key(name, left[row]),
                    planes=picture.planes,
                    pixel_size=np.asarray(picture.pixel_size),
                )

    def _from_disk(self, name: str, request: CropRequest) -> PlacePicture | None:
        stored = self._disk.get(self._key(name, request)) if name and self._disk is not None else None
        if stored is None or not {"planes", "pixel_size"} <= stored.keys():
            return None
        return PlacePicture(stored["planes"], float(stored["pixel_size"]))

    def _key(self, name: str, request: CropRequest) -> str:
        return f"{VERSION} {name} {request.centre} {request.diameter} {self._size_px}"

    def _take(self, request: CropRequest, result: PlacePicture | Exception) -> None:
        if isinstance(result, Exception):
            self._kept.put(request, str(result), TEXT_BYTES)
        else:
            planes = result.planes
            strip = qimage_of(planes.reshape(-1, *planes.shape[2:]))
            radius = max(request.diameter, 0.0) / 2 / result.pixel_size
            self._kept.put(request, Crop(strip, len(planes), radius), planes.nbytes)
        self.arrived.emit([request])
