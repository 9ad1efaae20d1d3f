"""A huge BigTIFF in a few megabytes, for the benchmarks: many tiles share the bytes of a few."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_sparse_slide"]

TILE, VARIANTS = 512, 32
LONG8, SHORT, LONG = 16, 3, 4
MPP = 0.25


def write_sparse_slide(path: Path, width: int, height: int) -> None:
    """Write a pyramid of RGB tiles compressed with JPEG, down to at most 1,024 pixels a side.

    Each level takes its tiles in turn from the same few, so that the file stays small whatever its size in pixels.
    """
    import imagecodecs

    rng = np.random.default_rng(5)
    blobs = [
        imagecodecs.jpeg_encode(
            _tissue(rng), level=80, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"
        )
        for _ in range(VARIANTS)
    ]
    sizes = [(height, width)]
    while max(sizes[-1]) > 1024:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        places = []
        for blob in blobs:
            places.append((file.tell(), len(blob)))
            file.write(blob)
        link = 8
        for number, (rows, columns) in enumerate(sizes):
            count = -(-rows // TILE) * -(-columns // TILE)
            chosen = np.asarray(places)[(np.arange(count) * 7 + number) % VARIANTS]
            offsets = file.tell()
            file.write(chosen[:, 0].astype("<u8").tobytes())
            counts = file.tell()
            file.write(chosen[:, 1].astype("<u4").tobytes())
            resolution = struct.pack("<2I", round(1e4 * 1e4 / (MPP * 2**number)), 10_000)
            start = file.tell()
            file.seek(link)
            file.write(struct.pack("<Q", start))
            file.seek(start)
            tags = [
                (254, LONG, 1, struct.pack("<Q", int(number > 0))), (256, LONG, 1, struct.pack("<Q", columns)),
                (257, LONG, 1, struct.pack("<Q", rows)), (258, SHORT, 3, struct.pack("<3HH", 8, 8, 8, 0)),
                (259, SHORT, 1, struct.pack("<Q", 7)), (262, SHORT, 1, struct.pack("<Q", 6)),
                (277, SHORT, 1, struct.pack("<Q", 3)), (282, 5, 1, resolution), (283, 5, 1, resolution),
                (284, SHORT, 1, struct.pack("<Q", 1)), (296, SHORT, 1, struct.pack("<Q", 3)),
                (322, SHORT, 1, struct.pack("<Q", TILE)), (323, SHORT, 1, struct.pack("<Q", TILE)),
                (324, LONG8, count, struct.pack("<Q", offsets)), (325, LONG, count, struct.pack("<Q", counts)),
                (530, SHORT, 2, struct.pack("<2HI", 2, 1, 0)),
            ]  # fmt: skip
            if count == 1:  # a single value stands in the directory itself
                tags[-3] = (324, LONG8, 1, struct.pack("<Q", int(chosen[0, 0])))
                tags[-2] = (325, LONG, 1, struct.pack("<Q", int(chosen[0, 1])))
            elif count == 2:
                tags[-2] = (325, LONG, 2, struct.pack("<2I", *(int(value) for value in chosen[:, 1])))
            file.write(struct.pack("<Q", len(tags)))
            for code, kind, values, data in tags:
                file.write(struct.pack("<HHQ8s", code, kind, values, data))
            link = file.tell()
            file.write(struct.pack("<Q", 0))


def _tissue(rng: np.random.Generator) -> np.ndarray:
    """Return a tile of smooth pinkish blobs: it compresses as tissue does."""
    coarse = rng.integers(90, 255, (TILE // 16, TILE // 16, 3), dtype=np.uint8)
    smooth = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    noise = rng.integers(0, 24, smooth.shape, dtype=np.uint8)
    return np.ascontiguousarray(np.clip(smooth.astype(np.int16) - noise, 0, 255).astype(np.uint8))
