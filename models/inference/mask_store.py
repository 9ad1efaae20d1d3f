"""Masks of a segmenter on disk: written chunk by chunk, read box by box, and never taken for more than they are.

A store is a zarr array (format 3) of uint8 probabilities, (class, y, x) or (class, z, y, x). Its attributes say whether it
is complete, and which chunks hold nothing because nobody looked there; every other chunk must be a file, so that one that
is lost is an error and not background. A checksum in each chunk tells damage.
"""

from __future__ import annotations

import base64
import json
import zlib
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from napari_medlab.durable import replace_file, writing
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Box", "MaskStore"]

ATTRIBUTES = "napari_medlab_mask"
HEADER = "zarr.json"
CHUNKS = {2: (1024, 1024), 3: (64, 128, 128)}
MOST = 255
"""What stands for a probability of 1."""


class Box(NamedTuple):
    """Voxels ``start`` … ``stop - 1`` along each spatial axis."""

    start: tuple[int, ...]
    stop: tuple[int, ...]


class MaskStore:
    """The masks of one image; see :meth:`create` and :meth:`open`.

    Attributes
    ----------
    folder : Path
    grid : Grid
        Its shape is that of the masks, without the classes.
    classes : tuple of str
    chunk : tuple of int
        The sides of a chunk along the spatial axes.
    bundle : str
        The hash of the bundle that made them.
    is_complete : bool
        Whether every chunk is there; otherwise the masks are partial, and :meth:`done` tells where they are not.
    """

    def __init__(self, folder: Path) -> None:
        header = _read_header(folder)
        about = header["attributes"][ATTRIBUTES]
        self.folder = folder
        self.grid = Grid.from_json(about["grid"])
        self.classes = tuple(str(name) for name in about["classes"])
        self.chunk = tuple(int(side) for side in header["chunk_grid"]["configuration"]["chunk_shape"][1:])
        self.bundle = str(about["bundle"])
        self.is_complete = about["status"] == "complete"
        self._blank = _unpacked(about["blank"], self.counts)
        self._array: Any = None

    @classmethod
    def create(
        cls, folder: Path, grid: Grid, classes: Sequence[str], *, bundle: str = "", chunk: Sequence[int] = ()
    ) -> Self:
        """Make an empty store, which is partial until :meth:`finish`.

        Parameters
        ----------
        folder : Path
            Must not exist.
        grid : Grid
            The lattice of the masks, such as ``prepared.grid``.
        classes : sequence of str
        bundle : str
            The hash of the bundle that makes the masks.
        chunk : sequence of int
            The sides of a chunk; of about a million voxels where left out.

        Raises
        ------
        InputRefusedError
            Where the folder exists: nothing is overwritten.
        DiskError
            Where it cannot be written.
        """
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        if folder.exists():
            raise InputRefusedError(
                f"{folder} exists already, and nothing is overwritten.",
                code="exists",
                hint="Choose another name.",
            )
        sides = tuple(
            min(side, size) for side, size in zip(chunk or CHUNKS[grid.ndim], grid.shape, strict=True)
        )
        counts = _counts(grid.shape, sides)
        about: dict[str, Any] = {
            "status": "partial", "classes": list(classes), "grid": grid.as_json(), "bundle": bundle,
            "blank": _packed(np.zeros(counts, np.bool_)),
        }  # fmt: skip
        with writing(folder):
            zarr.create_array(
                store=str(folder), shape=(len(classes), *grid.shape), chunks=(1, *sides), dtype="uint8", fill_value=0,
                compressors=[ZstdCodec(level=1), Crc32cCodec()], zarr_format=3,
                attributes={ATTRIBUTES: about},
            )  # fmt: skip
        return cls(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a store that was made before, complete or partial.

        Raises
        ------
        InputRefusedError
            Where the folder holds no masks, or its description is damaged.
        """
        return cls(folder)

    @property
    def counts(self) -> tuple[int, ...]:
        """How many chunks there are along each spatial axis."""
        return _counts(self.grid.shape, self.chunk)

    def box(self, index: Sequence[int]) -> Box:
        """Return the voxels of the chunk with this number along each axis."""
        starts = tuple(number * side for number, side in zip(index, self.chunk, strict=True))
        ends = zip(starts, self.chunk, self.grid.shape, strict=True)
        return Box(starts, tuple(min(start + side, size) for start, side, size in ends))

    def boxes(self) -> Iterator[Box]:
        """Yield the voxels of each chunk that is done and was looked at, row by row: elsewhere is nothing."""
        for index in product(*map(range, self.counts)):
            if not self._blank[index] and self._is_written(index):
                yield self.box(index)

    def blank(self) -> NDArray[np.bool_]:
        """Tell of each chunk, by its number along each axis, whether it is known to hold nothing."""
        return self._blank.copy()

    def done(self) -> NDArray[np.bool_]:
        """Tell of each chunk, by its number along each axis, whether it holds a result or is known to hold nothing."""
        done = self._blank.copy()
        for index in product(*map(range, self.counts)):
            done[index] |= self._is_written(index)
        return done

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.uint8]:
        """Return the probabilities, 0 … 255, of all classes in a box of voxels, uint8 (class, …).

        Raises
        ------
        InputRefusedError
            With code ``"partial"`` where a part of the box is not done yet, ``"missing-chunk"`` where it was done and is
            lost, ``"damaged"`` where it is not readable.
        """
        first = (a // side for a, side in zip(start, self.chunk, strict=True))
        last = (-(-b // side) for b, side in zip(stop, self.chunk, strict=True))
        for index in product(*map(range, first, last)):
            if not self._blank[index] and not self._is_written(index):
                raise self._missing(index)
        try:
            pixels = self._zarr()[(slice(None), *map(slice, start, stop))]
        except (OSError, RuntimeError, ValueError) as error:
            raise InputRefusedError(
                f"The masks in {self.folder} cannot be read: {error}",
                code="damaged",
                hint="Run the model again.",
            ) from error
        return np.asarray(pixels, np.uint8)

    def write(self, index: Sequence[int], masks: NDArray[np.uint8]) -> Box:
        """Write one chunk of all classes, uint8 (class, …), and return its voxels.

        Raises
        ------
        DiskError
            Where it cannot be written.
        """
        box = self.box(index)
        with writing(self.folder):
            self._zarr()[(slice(None), *map(slice, *box))] = masks
        return box

    def set_blank(self, blank: NDArray[np.bool_]) -> None:
        """Say which chunks, by their number along each axis, hold nothing as nobody needs to look there."""
        self._blank = blank.copy()
        self._describe(blank=_packed(blank))

    def finish(self) -> None:
        """Mark the masks as complete, in one step.

        Raises
        ------
        InputRefusedError
            With code ``"partial"`` where a chunk is not done.
        """
        missing = np.argwhere(~self.done())
        if len(missing):
            raise self._missing(tuple(missing[0].tolist()))
        self._describe(status="complete")
        self.is_complete = True

    def _describe(self, **changed: str) -> None:
        header = _read_header(self.folder)
        header["attributes"][ATTRIBUTES].update(changed)
        replace_file(self.folder / HEADER, json.dumps(header, indent=1).encode())

    def _is_written(self, index: Sequence[int]) -> bool:
        rest = "/".join(map(str, index))
        return all((self.folder / f"c/{number}/{rest}").exists() for number in range(len(self.classes)))

    def _zarr(self) -> Any:  # noqa: ANN401 - zarr is not typed here
        import zarr

        if self._array is None:
            # a chunk of zeros is a result like any other
            self._array = zarr.open_array(str(self.folder), mode="r+").with_config(
                {"write_empty_chunks": True}
            )
        return self._array

    def _missing(self, index: Sequence[int]) -> InputRefusedError:
        box = self.box(index)
        where = f"voxels {list(box.start)} to {list(box.stop)} of the masks in {self.folder}"
        if self.is_complete:
            return InputRefusedError(
                f"The {where} are lost.", code="missing-chunk", hint="Run the model again."
            )
        return InputRefusedError(f"The {where} are not done yet.", code="partial", hint="Let the run finish.")


def _read_header(folder: Path) -> dict[str, Any]:
    try:
        header: dict[str, Any] = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        about = header["attributes"][ATTRIBUTES]
        sides = (len(about["classes"]), *about["grid"]["shape"])
        if tuple(header["shape"]) != sides or header["data_type"] != "uint8":
            raise ValueError(f"an array of {header['shape']} {header['data_type']} for masks of {sides}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputRefusedError(
            f"{folder} holds no masks that can be read: {error!r}.", code="masks", hint="Run the model again."
        ) from error
    return header


def _counts(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    return tuple(-(-size // side) for size, side in zip(shape, chunk, strict=True))


def _packed(mask: NDArray[np.bool_]) -> str:
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes())).decode()


def _unpacked(text: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    size = int(np.prod(shape))
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    return np.unpackbits(bits, count=size).astype(np.bool_).reshape(shape)
