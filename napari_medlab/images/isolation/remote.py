"""Images whose pixels are decoded in the reader process."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.budget import memory_budget_bytes
from napari_medlab.images.contents import Entry
from napari_medlab.images.decisions import AS_IS, Decisions
from napari_medlab.images.isolation.messages import LevelForm, image_from, level_forms
from napari_medlab.images.isolation.process import reader_process
from napari_medlab.images.tiles import tile_box

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from napari_medlab.images.image import Image

__all__ = ["RemoteTiles", "ask_contents", "open_isolated"]


@dataclass(frozen=True)
class RemoteTiles:
    """One level of an image, each tile asked of the reader process.

    Parameters
    ----------
    path : str
    decisions : Decisions
    pyramid : bool
        Whether levels were added to those of the file.
    stamp : str
        What the file was when it was opened.
    level : int
    form : (shape, dtype, tile)
    """

    path: str
    decisions: Decisions
    pyramid: bool
    stamp: str
    level: int
    form: LevelForm

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the level."""
        return self.form[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        return self.form[1]

    @property
    def tile(self) -> tuple[int, ...]:
        """The sides of a tile."""
        return self.form[2]

    @property
    def key(self) -> Hashable:
        """What its tiles are called in the cache."""
        return self.path, self.decisions, self.stamp, self.level

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return a tile that the reader process decoded."""
        return self.read_tiles([index])[0]

    def read_tiles(self, indices: Sequence[tuple[int, ...]]) -> list[NDArray[Any]]:
        """Return several tiles that the reader process decoded, asked for at once."""
        request = {
            "op": "read", "path": self.path, "decisions": self.decisions.as_json(), "pyramid": self.pyramid,
            "stamp": self.stamp, "level": self.level, "budget": memory_budget_bytes(), "tiles": [list(i) for i in indices],
        }  # fmt: skip
        _, tiles = reader_process().ask(request)
        shapes = [tuple(box.stop - box.start for box in tile_box(self, index)) for index in indices]
        expected = [math.prod(shape) * self.dtype.itemsize for shape in shapes]
        if [tile.nbytes for tile in tiles] != expected:
            raise ImageRefusedError(
                f"{self.path}: tiles came back as {[tile.nbytes for tile in tiles]} bytes, expected {expected}.",
                code="unreadable",
                hint="The file is damaged; copy it again from its source.",
            )
        return [tile.view(self.dtype).reshape(shape) for tile, shape in zip(tiles, shapes, strict=True)]


def ask_contents(
    path: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> list[Entry]:
    """Ask the reader process what a path holds; see :func:`napari_medlab.images.contents`."""
    request = {"op": "contents", "path": str(path.absolute())}
    message, _ = reader_process().ask(request, on_progress=on_progress, stop=stop)
    return [Entry.from_json(entry) for entry in message["entries"]]


def open_isolated(
    path: Path,
    decisions: Decisions = AS_IS,
    *,
    pyramid: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Image:
    """Open an image in the reader process; see :func:`napari_medlab.images.open_image`."""
    absolute = str(path.absolute())
    request = {
        "op": "open", "path": absolute, "decisions": decisions.as_json(), "pyramid": pyramid,
        "budget": memory_budget_bytes(),
    }  # fmt: skip
    message, _ = reader_process().ask(request, on_progress=on_progress, stop=stop)
    sources = tuple(
        RemoteTiles(absolute, decisions, pyramid, message["stamp"], level, form)
        for level, form in enumerate(level_forms(message["image"]))
    )
    return image_from(path, message["image"], sources)
