"""Sound OME-Zarr folders, and damage done to one of their files: the same for the same number, always."""

from __future__ import annotations

import random
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import zarr
from hostile_documents import damaged_json
from hostile_mutations import mutate
from zarr.codecs import BloscCodec, GzipCodec

__all__ = ["sound_folders", "write_folder", "write_zarr_mutation"]

NOISE = np.random.default_rng(6)
PLANE = NOISE.integers(1, 255, (90, 70), dtype=np.uint8)
CHANNELS = NOISE.integers(0, 4096, (2, 60, 50), dtype=np.uint16)
STORES: tuple[tuple[Any, str, int, Any], ...] = (
    (PLANE, "yx", 3, BloscCodec(cname="lz4")),
    (PLANE, "yx", 3, GzipCodec()),
    (CHANNELS, "cyx", 3, "auto"),
    (PLANE, "yx", 2, numcodecs.Blosc("zstd", shuffle=2)),
    (CHANNELS, "cyx", 2, numcodecs.Zlib()),
    (PLANE, "yx", 2, None),
)
"""Pixels, axes, version of zarr and what compresses the chunks."""
METADATA_SHARE, REMOVED_SHARE, STRUCTURE_SHARE = 0.6, 0.05, 0.6
Files = dict[str, bytes]


@lru_cache(maxsize=1)
def sound_folders() -> tuple[Files, ...]:
    """Return the files of sound OME-Zarr folders of both versions, by their paths within."""
    return tuple(_folder(*store) for store in STORES)


def _folder(pixels: Any, axes: str, version: int, compressor: Any) -> Files:  # noqa: ANN401 - as zarr takes them
    with tempfile.TemporaryDirectory() as place:
        group = zarr.open_group(place, mode="w", zarr_format=version)  # type: ignore[arg-type]
        datasets = []
        for level, step in enumerate((1, 2)):
            part = pixels[..., ::step, ::step]
            array = group.create_array(
                str(level), shape=part.shape, dtype=part.dtype, chunks=(1,) * (part.ndim - 2) + (48, 40),
                compressors=compressor, config={"write_empty_chunks": True},
            )  # fmt: skip
            array[...] = part
            scale = [1.0] * (pixels.ndim - 2) + [0.5 * step, 0.25 * step]
            datasets.append(
                {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
            )
        kinds = {"c": {"type": "channel"}, "y": {"type": "space", "unit": "micrometer"}}
        described = [{"name": axis, **kinds.get(axis, kinds["y"])} for axis in axes]
        scales: dict[str, Any] = {"axes": described, "datasets": datasets}
        if version == 3:
            group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
        else:
            group.attrs.update({"multiscales": [{"version": "0.4", **scales}]})
        return {
            path.relative_to(place).as_posix(): path.read_bytes()
            for path in sorted(Path(place).rglob("*"))
            if path.is_file()
        }


def zarr_mutation(number: int) -> Files:
    """Return the files of a folder of which one is damaged or missing."""
    rng = random.Random(f"zarr {number}")
    folders = sound_folders()
    files = dict(rng.choice(folders))
    described = [name for name in files if _is_metadata(name)]
    pixels = [name for name in files if name not in described]
    name = rng.choice(described if rng.random() < METADATA_SHARE else pixels)
    if rng.random() < REMOVED_SHARE:
        del files[name]
    elif name in described and rng.random() < STRUCTURE_SHARE:
        files[name] = damaged_json(files[name], rng)
    else:
        files[name] = mutate(files[name], rng, rng.choice(list(files.values())))
    return files


def _is_metadata(name: str) -> bool:
    return name.endswith(("zarr.json", ".zarray", ".zgroup", ".zattrs"))


def write_zarr_mutation(folder: Path, number: int) -> Path:
    """Write a damaged folder and return its path."""
    return write_folder(folder / f"zarr-{number}.zarr", zarr_mutation(number))


def write_folder(path: Path, files: Files) -> Path:
    """Write files below a folder and return it."""
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path
