"""The metadata of Zarr arrays, versions 2 and 3: what is not known is refused."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images.refusals import check_decodable_whole, check_shape
from napari_medlab.images.slides.zarr_arrays import ZarrArray, inside
from napari_medlab.images.slides.zarr_codecs import checked_codec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.images.slides.zarr_arrays import Index

__all__ = ["read_array", "read_json"]

MAX_JSON = 16 << 20
MAX_INNER = 1 << 20
CHECKED_INDEX = (["bytes", "crc32c"], ["bytes"])


def read_array(root: Path, folder: Path) -> ZarrArray:
    """Return the array of a folder.

    Raises
    ------
    ImageRefusedError
        Where its metadata is not that of an array of numbers that can be read piece by piece.
    """
    version3, version2 = inside(root, folder / "zarr.json"), inside(root, folder / ".zarray")
    if version3.is_file():
        array = _version3(root, folder, read_json(version3))
    elif version2.is_file():
        array = _version2(root, folder, read_json(version2))
    else:
        raise ImageRefusedError(
            f"{root.name}: its metadata names the array {folder.name}, which is not there.",
            code="truncated",
            hint="Copy the folder again from its source.",
        )
    check_shape(root, array.shape)
    check_decodable_whole(root, array.chunk, array.dtype)
    return array


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object of bounded size, without NaN and keys that occur twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key occurs twice")
        return dict(pairs)

    def no_constant(name: str) -> float:
        raise ValueError(f"{name} is no number")

    if path.stat().st_size > MAX_JSON:
        raise ValueError(f"{path.name} has more than {MAX_JSON} bytes")
    value = json.loads(path.read_bytes(), object_pairs_hook=once, parse_constant=no_constant)
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no object")
    return value


def _version2(root: Path, folder: Path, meta: dict[str, Any]) -> ZarrArray:
    shape, chunk = _sizes(root, meta.get("shape")), _sizes(root, meta.get("chunks"))
    if meta.get("filters"):
        checked_codec(root, "filters")
    compressor = meta.get("compressor")
    axes = tuple(range(len(shape)))
    dtype = _dtype(root, str(meta.get("dtype")))
    return ZarrArray(
        root, folder, shape, _alike(root, shape, chunk), dtype, _fill(meta.get("fill_value")),
        codecs=(checked_codec(root, compressor.get("id")),) if compressor else (),
        order=axes[::-1] if meta.get("order") == "F" else axes,
        prefix="", separator="/" if meta.get("dimension_separator") == "/" else ".", shard=(1,) * len(shape),
    )  # fmt: skip


def _version3(root: Path, folder: Path, meta: dict[str, Any]) -> ZarrArray:
    shape = _sizes(root, meta.get("shape"))
    outer = _alike(root, shape, _sizes(root, meta["chunk_grid"]["configuration"]["chunk_shape"]))
    names = meta["chunk_key_encoding"]
    is_default = names["name"] == "default"
    chain = list(_named(meta["codecs"]))
    shard: dict[str, Any] = {}
    chunk = outer
    if [name for name, _ in chain] == ["sharding_indexed"]:
        shard = chain[0][1]
        chunk = _alike(root, shape, _sizes(root, shard["chunk_shape"]))
        chain = list(_named(shard["codecs"]))
    per_shard = tuple(whole // side for whole, side in zip(outer, chunk, strict=True))
    index = list(_named(shard.get("index_codecs", [{"name": "bytes"}])))
    uneven = any(whole % side for whole, side in zip(outer, chunk, strict=True))
    if uneven or math.prod(per_shard) > MAX_INNER or [name for name, _ in index] not in CHECKED_INDEX:
        raise ValueError(f"shards of {outer} with chunks of {chunk}, index {[name for name, _ in index]}")
    order, endian, codecs = _chain(root, chain, len(shape))
    dtype = _dtype(
        root, {"float16": "f2", "float32": "f4", "float64": "f8"}.get(meta["data_type"], meta["data_type"])
    )
    return ZarrArray(
        root, folder, shape, chunk, dtype.newbyteorder(endian), _fill(meta.get("fill_value")), codecs, order,
        prefix="c" if is_default else "",
        separator=_separator(names.get("configuration", {}), "/" if is_default else "."),
        shard=per_shard, is_sharded=bool(shard), has_index_first=shard.get("index_location") == "start",
        has_index_checksum=len(index) == 2,
    )  # fmt: skip


def _chain(
    root: Path, chain: list[tuple[str, dict[str, Any]]], ndim: int
) -> tuple[Index, Literal["<", ">"], tuple[str, ...]]:
    """Return the order of axes, the order of bytes, and the codecs after these."""
    order: Index = tuple(range(ndim))
    if chain and chain[0][0] == "transpose":
        order = tuple(int(axis) for axis in chain.pop(0)[1]["order"])
    if not chain or chain[0][0] != "bytes" or sorted(order) != list(range(ndim)):
        checked_codec(root, chain[0][0] if chain else "none")
        raise ValueError(f"codecs {[name for name, _ in chain]} with the order {order}")
    endian: Literal["<", ">"] = ">" if chain[0][1].get("endian") == "big" else "<"
    return order, endian, tuple(checked_codec(root, name) for name, _ in chain[1:])


def _named(codecs: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for codec in codecs:
        yield str(codec["name"]), dict(codec.get("configuration") or {})


def _separator(configuration: dict[str, Any], default: str) -> str:
    separator = str(configuration.get("separator", default))
    if separator not in ("/", "."):
        raise ValueError(f"chunks are named with {separator!r}")
    return separator


def _sizes(root: Path, values: Any) -> Index:  # noqa: ANN401 - whatever the metadata holds
    if not isinstance(values, list) or not all(
        type(value) is int and 0 < value < 1 << 40 for value in values
    ):
        raise ImageRefusedError(
            f"{root.name}: its metadata claims the size {str(values)[:100]}.",
            code="size",
            hint="Sizes must be positive whole numbers; the metadata is damaged.",
        )
    return tuple(values)


def _alike(root: Path, shape: Index, chunk: Index) -> Index:
    if len(shape) != len(chunk) or not 2 <= len(shape) <= 5:
        raise ImageRefusedError(
            f"{root.name}: an array of {shape} in chunks of {chunk}.",
            code="unsupported",
            hint="Images of two to five dimensions are read.",
        )
    return chunk


def _dtype(root: Path, name: str) -> np.dtype[Any]:
    dtype = (
        np.dtype(name) if name.lstrip("<>|=").rstrip("0123456789") in ("u", "i", "f", "uint", "int") else None
    )
    if dtype is None or dtype.kind not in "uif":
        raise ImageRefusedError(
            f"{root.name}: it holds values of the type {name[:64]}.",
            code="unsupported",
            hint="Save it as numbers.",
        )
    return dtype


def _fill(value: Any) -> float:  # noqa: ANN401 - whatever the metadata holds
    if isinstance(value, str):
        return {"Infinity": math.inf, "-Infinity": -math.inf}.get(value, math.nan)
    return float(value) if isinstance(value, int | float) else 0.0
