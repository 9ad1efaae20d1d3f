"""Writing OME-TIFF: tiles in a pyramid, as QuPath and Bio-Formats read them."""

from __future__ import annotations

import tempfile
import uuid
from typing import TYPE_CHECKING, Any

from napari_medlab.images.writers.pyramid import Pyramid, box_count, boxes
from napari_medlab.images.writers.refusals import check_dtype
from napari_medlab.images.writers.text import label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images.image import Image
    from napari_medlab.images.writers.watch import Watch

__all__ = ["write_ome_tiff"]

DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
TILE = 512
BATCH_BYTES = 16 << 20
"""How many bytes of tiles are compressed at once, in several threads."""
MICROMETRES = {"mm": 1e3, "um": 1.0}
COMPRESSION = "zlib"
"""Deflate without a predictor: Bio-Formats refuses the one for real numbers, and its releases differ on how the other
one runs over tiles."""


def write_ome_tiff(image: Image, path: Path, watch: Watch) -> None:
    """Write a planar image with its levels, or a volume as a stack of z, as a tiled BigTIFF.

    Level 0 is read once, tile by tile; the levels that the image lacks wait in a temporary folder beside the file.
    Pixel sizes are stated in micrometres, or left out where they are unknown. OME-XML knows sizes alone: where a volume
    lies in the patient, and how it is turned, is lost.

    Parameters
    ----------
    image : Image
    path : Path
        A new file.
    watch : Watch

    Raises
    ------
    InputRefusedError
        Where the pixels have a type that OME lacks.
    """
    import tifffile

    check_dtype(image, "OME-TIFF", DTYPES)
    with tempfile.TemporaryDirectory(prefix=f"{path.name}-", dir=path.parent) as folder:
        layout, metadata = _Layout(image), _metadata(image)
        pyramid = Pyramid(image, lambda number, shape: _spool(f"{folder}/{number}", shape, layout))
        watch.expect(sum(box_count(shape, layout.sides) for shape in pyramid.shapes))
        with tifffile.TiffWriter(path, bigtiff=True, ome=True, byteorder="<") as tiff:
            for number, shape in enumerate(pyramid.shapes):
                wanted = watch.over(boxes(shape, layout.sides, layout.order))
                tiff.write(
                    layout.tiles(pyramid.blocks(number, wanted)),
                    shape=layout.stored(shape),
                    dtype=image.dtype.newbyteorder("="),
                    tile=(TILE, TILE),
                    buffersize=BATCH_BYTES,
                    compression=COMPRESSION,
                    subfiletype=1 if number else 0,
                    subifds=0 if number else len(pyramid.shapes) - 1,
                    metadata=metadata,
                    **layout.samples,
                )


class _Layout:
    """How the axes of an image lie in the file: colours within a pixel, planes and channels one after the other."""

    def __init__(self, image: Image) -> None:
        self.dtype = image.dtype
        self._is_volume = image.grid.ndim == 3
        self._is_rgb = image.is_rgb
        self._has_channels = len(image.shape) > image.grid.ndim and not image.is_rgb
        channels = (image.shape[-1],) if self._is_rgb else (1,) if self._has_channels else ()
        self.sides = (*((1,) if self._is_volume else ()), TILE, TILE, *channels)
        self.order = (2, 0, 1) if self._has_channels else tuple(range(len(image.shape)))
        self.samples: dict[str, Any] = {"photometric": "minisblack"}
        if self._is_rgb:
            alpha = {"extrasamples": ("unassalpha",)} if image.shape[-1] == 4 else {}
            self.samples = {"photometric": "rgb", "planarconfig": "contig", **alpha}

    def stored(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return a level's shape in the order of the file's axes."""
        return tuple(shape[axis] for axis in self.order)

    def tiles(self, blocks: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Drop the axis of a block's one plane or channel."""
        for block in blocks:
            yield block[0] if self._is_volume else block[..., 0] if self._has_channels else block


def _spool(folder: str, shape: tuple[int, ...], layout: _Layout) -> Any:  # noqa: ANN401 - zarr's arrays are untyped here
    """Return a temporary array in which half a tile fills one chunk."""
    import zarr

    sides = tuple(side // 2 if side == TILE else side for side in layout.sides)
    chunks = tuple(min(side, size) for side, size in zip(sides, shape, strict=True))
    return zarr.create_array(store=folder, shape=shape, chunks=chunks, dtype=layout.dtype)


def _metadata(image: Image) -> dict[str, Any]:
    """Return what OME-XML is made from: axes, sizes, the names of channels and the lineage."""
    axes = (
        "ZYX" if image.grid.ndim == 3 else "YXS" if image.is_rgb else "CYX" if len(image.shape) == 3 else "YX"
    )
    # tifffile's own choice tells the network address of this machine and the time
    found: dict[str, Any] = {"axes": axes, "UUID": str(uuid.uuid4())}
    scale = MICROMETRES.get(image.grid.unit)
    if scale is not None:
        for axis, step in zip("ZYX"[-image.grid.ndim :], image.grid.spacing, strict=True):
            found |= {f"PhysicalSize{axis}": step * scale, f"PhysicalSize{axis}Unit": "µm"}
    if axes == "CYX" and image.channel_names:
        found["Channel"] = {"Name": [label(name) for name in image.channel_names]}
    if image.lineage:
        found["Description"] = "\n".join(label(sentence) for sentence in image.lineage)
    return found
