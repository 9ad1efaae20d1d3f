"""A mask of probabilities as the image of its labels, made as it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images.image import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images.image import Kind
    from napari_medlab.models.inference.mask_store import MaskStore

__all__ = ["label_image"]

MOST = 255
"""What stands for a probability of 1."""


def label_image(store: MaskStore, postprocessing: Mapping[str, Any]) -> Image:
    """Return the labels of a mask as an image that nobody has decoded yet.

    Parameters
    ----------
    store : MaskStore
        Complete.
    postprocessing : mapping
        The bundle's: its ``threshold``, one number or one for each class.

    Returns
    -------
    Image of uint8: 0 where no class reaches its threshold, else 1 for the first class, 2 for the second and so on; of
    several, the one that is most probable.
    """
    threshold = np.broadcast_to(postprocessing.get("threshold", 0.5), len(store.classes))
    kind: Kind = "volume" if store.grid.ndim == 3 else "slide"
    return Image(store.folder, kind, "", (_Labels(store, threshold * MOST),), store.grid)


class _Labels:
    """The labels, chunk by chunk; fulfils :class:`napari_medlab.images.tiles.TileSource`."""

    dtype: np.dtype[Any] = np.dtype(np.uint8)
    key = None

    def __init__(self, store: MaskStore, limits: NDArray[np.float64]) -> None:
        self.shape = store.grid.shape
        self.tile = store.chunk
        self._store = store
        self._limits = limits.reshape(-1, *(1,) * len(self.shape))

    def read_tile(self, index: Sequence[int]) -> NDArray[np.uint8]:
        box = self._store.box(index)
        values = self._store.read(box.start, box.stop)
        is_object = (values >= self._limits).any(axis=0)
        best = np.where(values >= self._limits, values, 0).argmax(axis=0)
        return np.where(is_object, best + 1, 0).astype(np.uint8)
