"""Writing OME-Zarr, version 0.5 (zarr 3) or 0.4 (zarr 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.images.writers.planes import affine_mm
from napari_medlab.images.writers.pyramid import Pyramid, box_count, boxes, level_shapes
from napari_medlab.images.writers.refusals import unsupported
from napari_medlab.images.writers.text import label

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.image import Image
    from napari_medlab.images.writers.watch import Watch

__all__ = ["OmeZarrVersion", "write_ome_zarr"]

OmeZarrVersion = Literal["0.5", "0.4"]

OWN = "napari-medlab"
"""The attribute that holds what OME-Zarr has no words for: ``affine_lps`` and ``lineage``."""
UNITS = {"mm": "millimeter", "um": "micrometer"}
PLANAR_CHUNK = 512
VOLUME_CHUNK = (16, 128, 128)
BOX = 1024
"""Pixels are read in boxes this wide and high: whole chunks, as is the half of one in the level below."""
COLOURS = (("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF"), ("Alpha", "FFFFFF"))


def write_ome_zarr(image: Image, path: Path, watch: Watch, *, version: OmeZarrVersion = "0.5") -> None:
    """Write an image with its levels as a folder: (z, y, x), (y, x), or (c, y, x) for colours and channels.

    Every chunk is written, those of zeros too, so that one that is missing is known to be lost. Scales and translations
    are those of the array's own axes, from the centre of the first voxel. How a volume lies in the patient is more than
    they can say: the attribute ``napari-medlab`` holds ``affine_lps``, the (4, 4) matrix from index (z, y, x, 1) of
    level 0 to LPS millimetres.

    Parameters
    ----------
    image : Image
    path : Path
        A folder that does not exist.
    watch : Watch
    version : {"0.5", "0.4"}

    Raises
    ------
    InputRefusedError
        Where the pixels are neither integers nor real numbers.
    """
    import zarr

    if image.dtype.kind not in "iuf":
        raise unsupported(
            f"OME-Zarr holds no pixels of the type {image.dtype}.", "Convert them to integers first."
        )
    path.mkdir()  # zarr would make the folders above it, too
    group = zarr.create_group(store=str(path), zarr_format=3 if version == "0.5" else 2)
    shapes = level_shapes(image.shape, image.grid.ndim - 2)
    levels = [_Level(group, number, shape, image, version) for number, shape in enumerate(shapes)]
    pyramid = Pyramid(image, lambda number, _: levels[number])
    sides = tuple(
        VOLUME_CHUNK[0] if axis == 0 and image.grid.ndim == 3 else BOX for axis in range(len(image.shape))
    )
    # the coarsest level is there already where it was made from the one above
    passes = [number for number in range(len(shapes)) if pyramid.is_ready(number) or number + 1 < len(shapes)]
    watch.expect(sum(box_count(shapes[number], sides) for number in passes))
    for number in passes:
        wanted = list(boxes(shapes[number], sides))
        for box, block in zip(wanted, pyramid.blocks(number, watch.over(wanted)), strict=True):
            if pyramid.is_ready(number):
                levels[number][box] = block
    group.attrs.update(_attributes(image, shapes, version))


class _Level:
    """One array of the group, in the axes of the image: channels last, where the file has them first."""

    def __init__(
        self,
        group: Any,  # noqa: ANN401 - zarr's groups are untyped here
        number: int,
        shape: tuple[int, ...],
        image: Image,
        version: OmeZarrVersion,
    ) -> None:
        axes = _axes(image)
        self._has_channels = axes[0] == "c"
        stored = (shape[2], *shape[:2]) if self._has_channels else shape
        sides = VOLUME_CHUNK if axes[0] == "z" else (PLANAR_CHUNK, PLANAR_CHUNK)
        if self._has_channels:  # colours are wanted together, channels one by one
            sides = (stored[0] if image.is_rgb else 1, *sides)
        self._array = group.create_array(
            name=str(number),
            shape=stored,
            dtype=image.dtype,
            chunks=tuple(min(side, size) for side, size in zip(sides, stored, strict=True)),
            config={"write_empty_chunks": True},
            **_encoding(axes, version),
        )

    def __getitem__(self, box: tuple[slice, ...]) -> NDArray[Any]:
        block: NDArray[Any] = np.asarray(self._array[self._place(box)])
        return np.moveaxis(block, 0, -1) if self._has_channels else block

    def __setitem__(self, box: tuple[slice, ...], block: NDArray[Any]) -> None:
        stored = np.moveaxis(block, -1, 0) if self._has_channels else block
        first = [part.start for part in self._place(box)]
        # Chunk by chunk: where one of several fails, zarr goes on to write the others, into a folder that is being removed.
        for piece in boxes(stored.shape, self._array.chunks):
            place = tuple(
                slice(at + part.start, at + part.stop) for at, part in zip(first, piece, strict=True)
            )
            self._array[place] = stored[piece]

    def _place(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        return (box[2], *box[:2]) if self._has_channels else box


def _encoding(axes: str, version: OmeZarrVersion) -> dict[str, Any]:
    """Return what the two versions of zarr say differently: the compressor and the names of chunks and axes."""
    blosc = {"cname": "zstd", "clevel": 3}
    if version == "0.5":
        configuration = {**blosc, "shuffle": "shuffle"}
        return {
            "compressors": {"name": "blosc", "configuration": configuration},
            "dimension_names": tuple(axes),
        }
    return {
        "compressors": {"id": "blosc", **blosc, "shuffle": 1},
        "chunk_key_encoding": {"name": "v2", "separator": "/"},
    }


def _axes(image: Image) -> str:
    if image.grid.ndim == 3:
        return "zyx"
    return "cyx" if len(image.shape) == 3 else "yx"


def _attributes(image: Image, shapes: list[tuple[int, ...]], version: OmeZarrVersion) -> dict[str, Any]:
    """Return all that is said about the image, as JSON values."""
    axes = _axes(image)
    unit = UNITS.get(image.grid.unit)
    multiscale: dict[str, Any] = {
        "axes": [
            {"name": axis, "type": "channel"}
            if axis == "c"
            else {"name": axis, "type": "space", **({"unit": unit} if unit else {})}
            for axis in axes
        ],
        "datasets": [_dataset(image, axes, number) for number in range(len(shapes))],
        "type": "mean",
    }
    ome = {
        "multiscales": [multiscale],
        **({"omero": {"channels": named}} if (named := _channels(image)) else {}),
    }
    own = _own(image)
    if version == "0.5":
        return {"ome": {"version": version, **ome}, **own}
    multiscale["version"] = version
    return {**ome, **own}


def _dataset(image: Image, axes: str, number: int) -> dict[str, Any]:
    """Return where the voxels of a level lie; the first of a coarser one is centred between those that it stands for."""
    scale, translation = [], []
    for axis, step in zip(axes, (1.0, *image.grid.spacing)[-len(axes) :], strict=True):
        factor = 2**number if axis in "yx" else 1
        scale.append(step * factor)
        translation.append(step * (factor - 1) / 2)
    return {
        "path": str(number),
        "coordinateTransformations": [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": translation},
        ],
    }


def _channels(image: Image) -> list[dict[str, Any]]:
    """Return the channels of an image in colours, or with names; nothing is said about others."""
    if image.is_rgb:
        named = COLOURS[: image.shape[-1]]
    elif len(image.channel_names) == image.shape[-1] and _axes(image) == "cyx":
        named = tuple((label(name), "FFFFFF") for name in image.channel_names)
    else:
        return []
    low, high = (0, 1) if image.dtype.kind == "f" else (np.iinfo(image.dtype).min, np.iinfo(image.dtype).max)
    limits = {"min": int(low), "max": int(high), "start": int(low), "end": int(high)}
    return [{"label": name, "color": colour, "window": limits, "active": True} for name, colour in named]


def _own(image: Image) -> dict[str, Any]:
    affine = affine_mm(image) if image.grid.ndim == 3 else None
    own = {
        **({} if affine is None else {"affine_lps": affine.tolist()}),
        **({"lineage": [label(sentence) for sentence in image.lineage]} if image.lineage else {}),
    }
    return {OWN: own} if own else {}
