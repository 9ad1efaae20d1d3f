"""One level of a DICOM slide: which frame is which tile, whichever file it lies in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.dicom.frames import Frame
from napari_medlab.images.dicom.pixels import stored_values
from napari_medlab.images.slides.absent import never_written
from napari_medlab.images.tiles import tile_box

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.dicom.frames import DicomFile

__all__ = ["DicomTiles", "Part", "parts_of_level"]


@dataclass(frozen=True, eq=False)
class Part:
    """The frames of one file.

    Parameters
    ----------
    file : DicomFile
    first : int
        The number of its first frame in the level, where that is spread over several files.
    positions : list or None
        (row, column, height, optical path) of each frame; None where frames stand in the order of the tiles.
    """

    file: DicomFile
    first: int
    positions: list[tuple[int, int, float, str]] | None


class DicomTiles:
    """One level, its optical paths last where they are several.

    Parameters
    ----------
    path : Path
        What errors name.
    parts : sequence of Part
    frames : int64 array (optical path, tile row, tile column, 2)
        The part and the number within it of each tile's frame, -1 where there is none.
    matrix : (rows, columns)
    blank : bool
        Whether tiles that were never written are 0; they are an error otherwise.
    """

    def __init__(
        self,
        path: Path,
        parts: Sequence[Part],
        frames: NDArray[np.int64],
        matrix: tuple[int, int],
        *,
        blank: bool,
    ) -> None:
        form = parts[0].file
        self._path, self._parts, self._frames, self._blank = path, parts, frames, blank
        sides = min(form.shape[0], matrix[0]), min(form.shape[1], matrix[1])
        channels, samples = len(frames), form.samples
        last = (channels, 1) if channels > 1 else (samples, samples)
        is_flat = channels == samples == 1
        self.shape: tuple[int, ...] = matrix if is_flat else (*matrix, last[0])
        self.tile: tuple[int, ...] = sides if is_flat else (*sides, last[1])
        self.dtype: np.dtype[Any] = form.stored_dtype
        self.missing = int((frames[..., 0] < 0).sum())

    @property
    def key(self) -> Hashable:
        """What its tiles are called in the cache."""
        return str(self._parts[0].file.path), self._parts[0].file.stamp, self.shape

    def read_tile(self, index: tuple[int, ...]) -> NDArray[Any]:
        """Return one tile, (y, x) or (y, x, channel)."""
        box = tile_box(self, index)
        sides = tuple(side.stop - side.start for side in box)
        channel = index[2] if len(self._frames) > 1 else 0
        number, frame = (int(value) for value in self._frames[channel, index[0], index[1]])
        if number < 0 and not self._blank:
            raise never_written(
                self._path, f"tile {index} of the level of {self.shape[0]} by {self.shape[1]}"
            )
        if number < 0:
            return np.zeros(sides, self.dtype)
        pixels = stored_values(Frame(self._parts[number].file, frame))
        return np.ascontiguousarray(pixels[: sides[0], : sides[1]]).reshape(sides)


def parts_of_level(
    path: Path, matrix: tuple[int, int], counts: tuple[int, int], parts: Sequence[Part], *, blank: bool
) -> DicomTiles:
    """Return a level from the files that it is spread over.

    Parameters
    ----------
    path : Path
    matrix : (rows, columns)
    counts : (optical paths, focal planes)
    parts : sequence of Part
    blank : bool
        See :class:`DicomTiles`.
    """
    form = parts[0].file
    if (
        len({(part.file.shape, part.file.bits, part.file.signed, part.file.photometric) for part in parts})
        > 1
    ):
        raise _refused(path, "the files of a level differ in the form of their frames")
    grid = -(-matrix[0] // form.shape[0]), -(-matrix[1] // form.shape[1])
    if all(part.positions is None for part in parts):
        frames = _in_order(path, parts, counts, grid)
    else:
        frames = _by_position(path, parts, form.shape, grid)
    # colours have one optical path; what is beyond it shows the same place in another way
    return DicomTiles(path, parts, frames if form.samples == 1 else frames[:1], matrix, blank=blank)


def _in_order(
    path: Path, parts: Sequence[Part], counts: tuple[int, int], grid: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the frames that stand row by row, focal plane by focal plane, optical path by optical path."""
    paths, planes = counts
    numbers = [
        np.stack([np.full(part.file.frames, number), np.arange(part.file.frames)], axis=1)
        for number, part in sorted(enumerate(parts), key=lambda one: one[1].first)
    ]
    frames = np.concatenate(numbers).astype(np.int64)
    expected = paths * planes * grid[0] * grid[1]
    firsts = np.cumsum([0, *(len(part) for part in numbers)])[:-1].tolist()
    if len(frames) != expected or firsts != sorted(part.first for part in parts):
        raise ImageRefusedError(
            f"{path.name}: a level of {grid[0]} by {grid[1]} tiles has {len(frames)} frames, expected {expected}.",
            code="truncated",
            hint="Is a file of the slide missing? Copy it again from its source.",
        )
    return frames.reshape(paths, planes, *grid, 2)[:, 0]


def _by_position(
    path: Path, parts: Sequence[Part], tile: tuple[int, ...], grid: tuple[int, int]
) -> NDArray[np.int64]:
    """Return the frames that say where they lie; of several heights the one nearest to 0."""
    stated = [
        (number, frame, position)
        for number, part in enumerate(parts)
        for frame, position in enumerate(part.positions or ())
    ]
    focus = min({position[2] for _, _, position in stated}, key=abs)
    names = sorted({position[3] for _, _, position in stated})
    frames = np.full((len(names), *grid, 2), -1, np.int64)
    for number, frame, (row, column, height, name) in stated:
        if height != focus:
            continue
        place = row // tile[0], column // tile[1]
        inside = row >= 0 and column >= 0 and place[0] < grid[0] and place[1] < grid[1]
        if not inside or row % tile[0] or column % tile[1]:
            raise _refused(path, f"a frame lies at row {row}, column {column}, which is no place of a tile")
        frames[names.index(name), place[0], place[1]] = number, frame
    return frames


def _refused(path: Path, what: str) -> ImageRefusedError:
    return ImageRefusedError(
        f"{path.name}: {what}.", code="unsupported", hint="Convert the slide to a regular grid of tiles."
    )
