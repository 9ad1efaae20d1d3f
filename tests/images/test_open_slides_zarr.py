"""OME-Zarr: what zarr writes comes back exactly; what is missing or leads elsewhere is refused."""

from __future__ import annotations

import json
import os
from itertools import product
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import pytest
import zarr
from slide_phantom import levels_are, refusal
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions, Image, open_here, open_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Opener = Callable[[Path], Image]

RNG = np.random.default_rng(0)
PLANE = RNG.integers(1, 255, (90, 70), dtype=np.uint8)
KINDS = {"c": "channel", "t": "time"}
CODECS: dict[int, tuple[Any, ...]] = {
    2: ("auto", numcodecs.Blosc("zstd", shuffle=2), numcodecs.Zlib(), numcodecs.GZip(), numcodecs.LZ4(), numcodecs.BZ2(), None),
    3: ("auto", BloscCodec(cname="lz4"), GzipCodec(), ZstdCodec(checksum=True), None),
}  # fmt: skip


def write(folder: Path, pixels: NDArray[Any], axes: str, version: int = 3, **options: Any) -> Path:  # noqa: ANN401 - as zarr
    """Write an OME-Zarr of two levels: 0.4 where ``version`` is 2, 0.5 where it is 3."""
    unit, spacing = options.pop("unit", "micrometer"), options.pop("spacing", (0.5, 0.25))
    more, separator = options.pop("more", {}), options.pop("separator", "/")
    options.setdefault("chunks", (1,) * (pixels.ndim - 2) + (32, 16))
    group = zarr.open_group(folder, mode="w", zarr_format=version)  # type: ignore[arg-type]
    datasets = []
    for level, step in enumerate((1, 2)):
        part = pixels[..., ::step, ::step]
        key = {"name": "default" if version == 3 else "v2", "separator": separator}
        array = group.create_array(
            str(level), shape=part.shape, dtype=part.dtype, chunk_key_encoding=key, config={"write_empty_chunks": True},
            **options,
        )  # fmt: skip
        array[...] = part
        scale = [1.0] * (pixels.ndim - len(spacing)) + [*spacing[:-2], spacing[-2] * step, spacing[-1] * step]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    described = [
        {"name": a, "type": KINDS.get(a, "space"), **({"unit": unit} if a in "zyx" else {})} for a in axes
    ]
    scales = [{"axes": described, "datasets": datasets}]
    if version == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": scales, **more}
    else:
        group.attrs.update({"multiscales": [{"version": "0.4", **scales[0]}], **more})
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], None], name: str = "zarr.json") -> Path:
    """Change a metadata file as a program would that means harm."""
    meta = json.loads((folder / name).read_text())
    change(meta)
    (folder / name).write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize(("version", "separator"), [*product((2, 3), "./")])
def test_what_zarr_writes_comes_back(tmp_path: Path, version: int, separator: str) -> None:
    for number, codec in enumerate(CODECS[version]):
        for dtype in ("u1", "<u2", ">i2", "<f4"):
            planes = RNG.integers(1, 200, (3, 70, 50)).astype(dtype)
            order = {"order": "F"} if version == 2 and number % 2 else {}
            path = write(
                tmp_path / f"{number}{dtype}", planes, "cyx", version, compressors=codec, separator=separator,
                chunks=(2, 32, 16), **order,
            )  # fmt: skip
            image = open_here(path)
            levels_are(image, np.moveaxis(planes, 0, -1), np.moveaxis(planes, 0, -1)[::2, ::2])
            assert image.arrays[0].tile == (32, 16, 2)


@pytest.mark.parametrize("opener", [open_here, open_image])
def test_a_plane_is_measured_in_micrometres(tmp_path: Path, opener: Opener) -> None:
    image = opener(write(tmp_path / "a.zarr", PLANE, "yx"))
    levels_are(image, PLANE, PLANE[::2, ::2])
    assert (image.kind, image.grid.unit) == ("slide", "um")
    assert image.grid.spacing == pytest.approx((0.5, 0.25), abs=1e-6)


@pytest.mark.parametrize(
    ("unit", "spacing", "known", "expected"),
    [
        ("nanometer", (500.0, 250.0), "um", (0.5, 0.25)),
        ("millimeter", (0.5, 0.25), "mm", (0.5, 0.25)),
        ("parsec", (1.0, 1.0), "px", (1.0, 1.0)),
    ],
)
def test_units_are_converted_or_unknown(
    tmp_path: Path, unit: str, spacing: tuple[float, float], known: str, expected: tuple[float, float]
) -> None:
    image = open_here(write(tmp_path / "a.zarr", PLANE, "yx", unit=unit, spacing=spacing))
    assert image.grid.unit == known
    assert image.grid.spacing == pytest.approx(expected, abs=1e-6)
    assert [warning.code for warning in image.warnings] == (["unknown-spacing"] if known == "px" else [])


def test_slices_are_a_volume_at_its_place(tmp_path: Path) -> None:
    stack = RNG.integers(0, 255, (5, 40, 30), dtype=np.uint8)
    path = write(tmp_path / "a.zarr", stack, "zyx", unit="millimeter", spacing=(2.0, 0.5, 0.25))

    def move(meta: dict[str, Any]) -> None:
        for dataset in meta["attributes"]["ome"]["multiscales"][0]["datasets"]:
            dataset["coordinateTransformations"].append(
                {"type": "translation", "translation": [30.0, 20.0, 10.0]}
            )

    image = open_here(edit(path, move))
    assert (image.kind, image.grid.unit) == ("volume", "mm")
    assert image.grid.to_world((1, 0, 2)).tolist() == pytest.approx([10.5, 20.0, 32.0])
    levels_are(image, stack, stack[:, ::2, ::2])


@pytest.mark.parametrize("version", [2, 3])
def test_our_own_affine_is_honoured(tmp_path: Path, version: int) -> None:
    affine = [[0.0, 0.6, -0.8, 5.0], [0.0, 0.8, 0.6, 6.0], [3.0, 0.0, 0.0, 7.0], [0.0, 0.0, 0.0, 1.0]]
    stack = RNG.integers(0, 255, (5, 40, 30), dtype=np.uint8)
    more = {"napari-medlab": {"affine_lps": affine}}
    image = open_here(write(tmp_path / "a.zarr", stack, "zyx", version, spacing=(3.0, 1.0, 1.0), more=more))
    assert np.array_equal(image.grid.affine, affine)
    bad = {"napari-medlab": {"affine_lps": [[1, 2], [3, 4]]}}
    assert (
        refusal(write(tmp_path / "b.zarr", stack, "zyx", version, spacing=(3.0, 1.0, 1.0), more=bad)).code
        == "affine"
    )


def test_channels_have_names_and_may_be_colours(tmp_path: Path) -> None:
    planes = RNG.integers(0, 255, (3, 40, 30), dtype=np.uint8)
    for labels, colours, is_rgb in (
        (("DAPI", "a\tb", "x" * 999), ("0000FF", "00FF00", "FF0000"), False),
        (("1", "2", "3"), ("FF0000", "00FF00", "0000FF"), True),
        (("Red", "Green", "Blue"), ("", "", ""), True),
    ):
        channels = [{"label": label, "color": colour} for label, colour in zip(labels, colours, strict=True)]
        image = open_here(write(tmp_path / labels[0], planes, "cyx", more={"omero": {"channels": channels}}))
        assert image.is_rgb is is_rgb
        assert image.channel_names == (() if is_rgb else ("DAPI", "ab", "x" * 256))


def test_more_dimensions_than_three_are_opened_one_by_one(tmp_path: Path) -> None:
    movie = RNG.integers(0, 255, (2, 3, 4, 20, 16), dtype=np.uint8)
    path = write(tmp_path / "a.zarr", movie, "tczyx", spacing=(5.0, 1.0, 1.0), chunks=(2, 2, 3, 16, 16))
    error = refusal(path)
    assert (error.code, len(error.options)) == ("four-d", 6)
    chosen = Decisions.from_json(error.options[4].decisions)
    levels_are(open_here(path, chosen), movie[1, 1], movie[1, 1, :, ::2, ::2])


@pytest.mark.parametrize("where", ["start", "end"])
def test_shards_are_read_chunk_by_chunk(tmp_path: Path, where: str) -> None:
    from zarr.codecs import ShardingCodec

    path = tmp_path / "a.zarr"
    write(path, PLANE, "yx", chunks=(64, 32), compressors=None, filters=None, serializer=ShardingCodec(
        chunk_shape=(16, 16), index_location=where, codecs=[zarr.codecs.BytesCodec(), ZstdCodec()]))  # fmt: skip
    image = open_here(path)
    assert image.arrays[0].tile == (16, 16)
    levels_are(image, PLANE, PLANE[::2, ::2])
    shard = path / "0" / "c" / "0" / "0"
    shard.write_bytes(
        shard.read_bytes()[:-9] + b"\0" * 9 if where == "end" else b"\0" * 9 + shard.read_bytes()[9:]
    )
    assert refusal(path).code == "unreadable"


@pytest.mark.parametrize(("version", "separator"), [*product((2, 3), "./")])
def test_a_chunk_that_is_missing_is_an_error_until_decided(
    tmp_path: Path, version: int, separator: str
) -> None:
    path = write(tmp_path / "a.zarr", PLANE, "yx", version, separator=separator, fill_value=7)
    opened = open_here(path)
    name = f"1{separator}2"
    (path / "0" / (name if version == 2 else f"c{separator}{name}")).unlink()
    with pytest.raises(ImageRefusedError) as caught:
        opened.arrays[0][...]
    assert caught.value.code == "missing-tile"
    error = refusal(path)
    assert error.code == "missing-tiles"
    blank = PLANE.copy()
    blank[32:64, 32:48] = 7
    image = open_here(path, Decisions.from_json(error.options[0].decisions))
    levels_are(image, blank, PLANE[::2, ::2])
    assert (image.decisions.absent, image.warnings[0].code) == ("background", "missing-tiles")


def test_a_chunk_that_is_missing_within_a_shard_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", PLANE, "yx", chunks=(16, 16), shards=(64, 32))
    array = zarr.create_array(
        path / "0", shape=(90, 70), chunks=(16, 16), shards=(64, 32), dtype="u1", overwrite=True
    )
    array[:16, :16] = 1
    assert refusal(path).code == "missing-tiles"


def test_what_leads_out_of_the_folder_stays_closed(tmp_path: Path) -> None:
    secret = write(tmp_path / "secret.zarr", np.full((90, 70), 77, np.uint8), "yx")
    for number, name in enumerate(
        ("../secret.zarr/0", "/etc", str(secret / "0"), "..", "0/../../secret.zarr/0", "C:x", "a\\b")
    ):

        def lead(meta: dict[str, Any], name: str = name) -> None:
            meta["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = name

        assert refusal(edit(write(tmp_path / f"{number}.zarr", PLANE, "yx"), lead)).code == "path"
    for number, link in enumerate(("0", "0/c/0/0", "0/c/1", "0/zarr.json")):
        path = write(tmp_path / f"link{number}.zarr", PLANE, "yx")
        target = path / link
        target.rename(tmp_path / f"moved{number}")
        os.symlink(secret / link, target)
        assert refusal(path).code == "path"


def hostile(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(meta: dict[str, Any]) -> None:
        where: Any = meta
        *parts, last = [int(part) if part.isdecimal() else part for part in name.split(".")]
        for part in parts:
            where = where[part]
        where[last] = value

    return change


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("shape", [1 << 50, 1 << 50], "size"),
        ("shape", [1 << 30, 1 << 30], "size"),
        ("shape", [-1, 70], "size"),
        ("shape", "90", "size"),
        ("shape", [90, 70, 1, 1, 1, 1], "unsupported"),
        ("chunk_grid.configuration.chunk_shape", [0, 16], "size"),
        ("chunk_grid.configuration.chunk_shape", [1 << 20, 1 << 20], "size"),
        ("chunk_key_encoding.configuration.separator", "../", "unreadable"),
        ("codecs.1.name", "numcodecs.pickle", "codec"),
        ("codecs.0.name", "vlen-utf8", "codec"),
        ("data_type", "string", "unsupported"),
        ("data_type", "O", "unsupported"),
    ],
)
def test_hostile_arrays_are_refused(tmp_path: Path, name: str, value: object, code: str) -> None:
    path = write(tmp_path / "a.zarr", PLANE, "yx")
    edit(path, hostile(name, value), "0/zarr.json")
    assert refusal(path).code == code


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("compressor", {"id": "pickle"}, "codec"),
        ("filters", [{"id": "pickle"}], "codec"),
        ("dtype", "|O", "unsupported"),
        ("dtype", "|S9", "unsupported"),
        ("chunks", [0, 0], "size"),
    ],
)
def test_hostile_arrays_of_version_2_are_refused(tmp_path: Path, name: str, value: object, code: str) -> None:
    path = write(tmp_path / "a.zarr", PLANE, "yx", 2)
    edit(path, hostile(name, value), "0/.zarray")
    assert refusal(path).code == code


SCALE = "attributes.ome.multiscales.0.datasets.0.coordinateTransformations.0.scale"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        (SCALE, [0.0, 1.0], "spacing"),
        (SCALE, [1.0], "spacing"),
        (SCALE, ["inf", 1.0], "affine"),
        (SCALE, [float("nan"), 1.0], "unreadable"),
        (SCALE, [5.0, 0.25], "unsupported"),
        ("attributes.ome.multiscales.0.axes", [{"name": "x"}, {"name": "y"}], "unsupported"),
        ("attributes.ome.multiscales", [], "unsupported"),
        ("attributes.ome.multiscales.0.datasets", [], "unreadable"),
        ("attributes.ome.multiscales.0.datasets.1.path", "nowhere", "truncated"),
    ],
)
def test_hostile_groups_are_refused(tmp_path: Path, name: str, value: object, code: str) -> None:
    assert refusal(edit(write(tmp_path / "a.zarr", PLANE, "yx"), hostile(name, value))).code == code


@pytest.mark.parametrize(
    ("version", "codec"), [(2, numcodecs.Zlib()), (2, numcodecs.Blosc("zstd")), (3, ZstdCodec())]
)
def test_a_chunk_that_decodes_to_more_than_it_has_is_refused(
    tmp_path: Path, version: int, codec: object
) -> None:
    path = write(tmp_path / "a.zarr", PLANE, "yx", version, compressors=codec)
    large = write(
        tmp_path / "b.zarr",
        np.ones((4096, 4096), np.uint8),
        "yx",
        version,
        compressors=codec,
        chunks=(4096, 4096),
    )
    name = "0/0/0" if version == 2 else "0/c/0/0"
    (path / name).write_bytes((large / name).read_bytes())
    assert refusal(path).code == "unreadable"


def test_deep_metadata_and_arrays_without_an_image_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.zarr", PLANE, "yx")
    assert refusal(path / "0").code == "unsupported"
    (path / "zarr.json").write_text("[" * 200_000)
    assert refusal(path).code == "unreadable"
