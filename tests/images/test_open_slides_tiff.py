"""TIFFs of every vendor's kind: the slide comes back exactly, and nothing that is no slide comes back at all."""

from __future__ import annotations

import logging
import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hostile_tiff import directory, head, page
from slide_phantom import MACRO, RGB, grey_jpeg, levels_are, ndpi, pieces_of, refusal, tiff_of

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions, Image, open_here, open_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from slide_phantom import Entry

GREY = np.random.default_rng(1).integers(0, 200, (600, 500), dtype=np.uint8)
TILED: dict[str, Any] = {"tile": (64, 64), "metadata": None}


def write(path: Path, pixels: NDArray[Any], **options: Any) -> Path:  # noqa: ANN401 - as tifffile takes them
    tifffile.imwrite(path, pixels, **{"metadata": None, **options})
    return path


@pytest.mark.parametrize("opener", [open_here, open_image])
def test_only_the_levels_of_an_aperio_slide_are_there(
    tmp_path: Path, opener: Callable[[Path], Image]
) -> None:
    said = "Aperio Image Library v11.2.1\n500x600|AppMag = 20|MPP = 0.2521"
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        writer.write(RGB, photometric="rgb", description=said, compression="zlib", **TILED)
        writer.write(
            MACRO[::3, ::3], photometric="rgb", description="Aperio thumbnail", rowsperstrip=16, metadata=None
        )
        for step in (2, 4):
            writer.write(
                RGB[::step, ::step], photometric="rgb", description="Aperio", compression="zlib", **TILED
            )
        writer.write(
            MACRO[::2, ::2], photometric="rgb", description="Aperio\nlabel 9x9", subfiletype=1, **TILED
        )
        writer.write(
            MACRO[:200], photometric="rgb", description="Aperio\nmacro 9x9", subfiletype=9, metadata=None
        )
    image = opener(tmp_path / "a.svs")
    levels_are(image, RGB, RGB[::2, ::2], RGB[::4, ::4])
    assert image.grid.spacing == pytest.approx((0.2521, 0.2521), abs=1e-6)
    assert (image.kind, image.is_rgb, image.details) == (
        "slide",
        True,
        {"format": "SVS", "compression": "DEFLATE"},
    )


def hamamatsu(path: Path, *, restarts: bool) -> tuple[Path, list[NDArray[np.uint8]]]:
    """Write a slide of 512 × 1024 with two levels, a second focal plane, a macro and a map."""
    smooth = np.add.outer(np.arange(512) // 4, np.arange(1024) // 8).astype(np.uint8)
    macro = grey_jpeg(MACRO[:200, :300, 0])
    jpegs = [grey_jpeg(level, restart_blocks=32 if restarts else 0) for level in (smooth, smooth[::2, ::2])]
    starts = [pieces_of(jpeg) if restarts else [] for jpeg in jpegs]
    pictures = [
        ndpi((512, 1024), jpegs[0], 20.0, starts=starts[0]),
        ndpi((256, 512), jpegs[1], 10.0, starts=starts[1]),
        ndpi((512, 1024), grey_jpeg(np.zeros((512, 1024), np.uint8)), 20.0, focus=900),
        ndpi((200, 300), macro, -1.0),
        ndpi((200, 300), macro, -2.0),
    ]
    return tiff_of(path, pictures), [imagecodecs.jpeg8_decode(jpeg) for jpeg in jpegs]


@pytest.mark.parametrize("restarts", [True, False])
def test_a_hamamatsu_slide_is_read_piece_by_piece(tmp_path: Path, restarts: bool) -> None:
    path, expected = hamamatsu(tmp_path / "a.ndpi", restarts=restarts)
    image = open_here(path)
    levels_are(image, *expected)
    assert image.grid.spacing == pytest.approx((0.5, 0.25), abs=1e-6)
    assert [warning.code for warning in image.warnings] == ["focal-planes"]
    assert image.arrays[0].tile == ((256, 256) if restarts else (512, 1024))
    box = image.arrays[0][250:270, 200:600]
    assert np.array_equal(box, expected[0][250:270, 200:600])


def test_a_huge_jpeg_that_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    jpeg = bytearray(grey_jpeg(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
    path = tiff_of(tmp_path / "a.ndpi", [ndpi((65_000, 65_000), bytes(jpeg), 20.0)])
    assert refusal(path).code == "size"


def test_a_hamamatsu_slide_beyond_four_gigabytes(tmp_path: Path) -> None:
    """Offsets have 64 bits there, their high halves behind the directory."""
    far = 5 << 30
    jpeg = grey_jpeg(GREY)
    entries = [entry for entry in ndpi((600, 500), jpeg, 20.0)[0] if entry[0] not in (282, 283, 273)]
    entries = sorted([*entries, (273, 4, 1, far & 0xFFFFFFFF)])
    table = b"".join(
        struct.pack(
            "<HHI4s", tag, kind, count, value if isinstance(value, bytes) else value.to_bytes(4, "little")
        )
        for tag, kind, count, value in entries
    )
    high = b"".join((far >> 32 if tag == 273 else 0).to_bytes(4, "little") for tag, *_ in entries)
    with (tmp_path / "a.ndpi").open("wb") as file:
        file.write(b"II*\0" + (far + (1 << 20)).to_bytes(8, "little"))
        file.seek(far)
        file.write(jpeg)
        file.seek(far + (1 << 20))
        file.write(len(entries).to_bytes(2, "little") + table + bytes(8) + high)
    levels_are(open_here(tmp_path / "a.ndpi"), imagecodecs.jpeg8_decode(jpeg))


def scn(areas: str) -> str:
    glass = '<collection name="Smith^John" sizeX="26000000" sizeY="76000000">'
    return f'<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">{glass}{areas}</collection></scn>'


def area(size: tuple[int, int], view: tuple[int, int], directories: list[tuple[int, int]]) -> str:
    dimensions = "".join(
        f'<dimension sizeX="1" sizeY="1" r="{r}" z="0" ifd="{ifd}"/>' for r, ifd in directories
    )
    return (
        f'<image name="i"><pixels sizeX="{size[1]}" sizeY="{size[0]}">{dimensions}</pixels>'
        f'<view sizeX="{view[1]}" sizeY="{view[0]}" offsetX="1" offsetY="1"/></image>'
    )


def test_of_a_leica_slide_the_largest_scanned_area_is_shown(tmp_path: Path) -> None:
    xml = scn(
        area((300, 200), (76_000_000, 26_000_000), [(0, 0)])
        + area((150, 120), (75_000, 60_000), [(0, 1)])
        + area((600, 500), (300_000, 125_000), [(0, 2), (1, 3)])
    )
    with tifffile.TiffWriter(tmp_path / "a.scn") as writer:
        writer.write(MACRO[:300, :200], photometric="rgb", description=xml, **TILED)
        writer.write(MACRO[:150, :120] - 1, photometric="rgb", **TILED)
        writer.write(RGB, photometric="rgb", **TILED)
        writer.write(RGB[::2, ::2], photometric="rgb", **TILED)
    image = open_here(tmp_path / "a.scn")
    levels_are(image, RGB, RGB[::2, ::2])
    assert image.grid.spacing == pytest.approx((0.5, 0.25), abs=1e-6)
    assert [warning.code for warning in image.warnings] == ["several-areas"]
    assert "Smith" not in str(image.details)


def test_a_leica_file_with_nothing_but_its_overview_is_refused(tmp_path: Path) -> None:
    xml = scn(area((600, 500), (76_000_000, 26_000_000), [(0, 0)]))
    assert refusal(write(tmp_path / "a.scn", MACRO, photometric="rgb", description=xml)).code == "unsupported"


def test_channels_of_an_ome_tiff_keep_their_names_and_levels(tmp_path: Path) -> None:
    planes = np.random.default_rng(2).integers(0, 60_000, (3, 200, 160), dtype=np.uint16)
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC > 1", "Cy5"]}, "PhysicalSizeX": 0.3,
                "PhysicalSizeY": 0.6}  # fmt: skip
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(planes, metadata=metadata, tile=(64, 48), subifds=1, photometric="minisblack")
        writer.write(
            planes[:, ::2, ::2], metadata=None, tile=(64, 48), subfiletype=1, photometric="minisblack"
        )
    image = open_here(tmp_path / "a.ome.tif")
    levels_are(image, np.moveaxis(planes, 0, -1), np.moveaxis(planes, 0, -1)[::2, ::2])
    assert image.channel_names == ("DAPI", "FITC > 1", "Cy5")
    assert not image.is_rgb
    assert image.grid.spacing == pytest.approx((0.6, 0.3), abs=1e-6)


@pytest.mark.parametrize(
    ("step", "unit", "spacing"), [(2.5, "mm", (2.5e-3, 2e-3, 1e-3)), (0.5, "um", (0.5, 2.0, 1.0))]
)
def test_slices_of_an_ome_tiff_are_a_volume(
    tmp_path: Path, step: float, unit: str, spacing: tuple[float, float, float]
) -> None:
    stack = np.random.default_rng(3).integers(0, 255, (5, 40, 30), dtype=np.uint8)
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 2.0, "PhysicalSizeZ": step}
    tifffile.imwrite(tmp_path / "a.ome.tif", stack, metadata=metadata, photometric="minisblack")
    image = open_here(tmp_path / "a.ome.tif")
    assert (image.kind, image.grid.unit) == ("volume", unit)
    assert image.grid.spacing == pytest.approx(spacing, abs=1e-9)
    levels_are(image, stack)


def test_more_dimensions_than_three_are_opened_one_by_one(tmp_path: Path) -> None:
    movie = np.random.default_rng(4).integers(0, 255, (3, 2, 4, 20, 16), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", movie, metadata={"axes": "TCZYX"}, photometric="minisblack")
    error = refusal(tmp_path / "a.ome.tif")
    assert (error.code, len(error.options)) == ("four-d", 6)
    chosen = Decisions.from_json(error.options[3].decisions)
    image = open_here(tmp_path / "a.ome.tif", chosen)
    levels_are(image, movie[1, 1])
    assert image.decisions == chosen


@pytest.mark.parametrize(
    "xml", ['<!DOCTYPE OME [<!ENTITY x "y">]><OME><Image/></OME>', '<OME><Pixels SizeC="9" SizeZ="9"/></OME>']
)
def test_ome_that_declares_entities_or_no_image_is_refused(tmp_path: Path, xml: str) -> None:
    assert refusal(write(tmp_path / "a.ome.tif", GREY, description=xml)).code == "unsupported"


def test_a_flat_picture_is_cut_wherever_its_bytes_lie(tmp_path: Path) -> None:
    for rows in (1, 7, 600):
        path = write(tmp_path / f"{rows}.tif", RGB, photometric="rgb", rowsperstrip=rows)
        levels_are(open_here(path), RGB)
    wide = np.arange(700 * 9000, dtype=np.uint16).reshape(700, 9000)
    image = open_here(write(tmp_path / "wide.tif", wide))
    assert image.arrays[0].tile == (512, 4096)
    levels_are(image, wide)


def test_thirty_gigabytes_in_one_strip_open_lazily(tmp_path: Path) -> None:
    size = 100_000
    entries = page(size, size, offsets=4096, counts=(16, 1, (3 * size * size).to_bytes(8, "little")))
    entries = [entry for entry in entries if entry[0] not in (258, 262, 277)]
    entries += [(258, 3, 3, struct.pack("<3H", 8, 8, 8)), (262, 3, 1, 2), (277, 3, 1, 3)]
    with (tmp_path / "a.tif").open("wb") as file:
        file.write(head(16, big=True) + directory(entries, 16, big=True))
        file.truncate(4096 + 3 * size * size)
        file.seek(4096 + 3 * (77_777 * size + 55_555))
        file.write(b"\1\2\3")
    image = open_here(tmp_path / "a.tif")
    assert image.arrays[0][77_777, 55_555].tolist() == [1, 2, 3]
    assert image.arrays[0][77_776, 55_555].tolist() == [0, 0, 0]


@pytest.mark.parametrize("compression", ["zlib", "lzw", "zstd", "packbits", "lzma"])
@pytest.mark.parametrize("strips", [True, False])
def test_every_lossless_compression_comes_back(tmp_path: Path, compression: str, strips: bool) -> None:
    where: dict[str, Any] = {"rowsperstrip": 33} if strips else {"tile": (48, 80)}
    predictor = compression in ("zlib", "lzw", "zstd")
    for dtype in (np.uint8, np.uint16, np.int16, np.float32):
        pixels = (GREY[:200, :150].astype(np.int32) * 37 - 900).astype(dtype)
        for order in "<>":
            path = write(
                tmp_path / f"{np.dtype(dtype)}{order == '<'}.tif", pixels, compression=compression, byteorder=order,
                predictor=predictor, **where,
            )  # fmt: skip
            levels_are(open_here(path), pixels)


@pytest.mark.parametrize("compression", ["webp", "jpeg2000"])
def test_lossless_pictures_as_tiles_come_back(tmp_path: Path, compression: str) -> None:
    options: dict[str, Any] = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    path = write(
        tmp_path / "a.tif", RGB, photometric="rgb", compression=compression, tile=(64, 64), **options
    )
    levels_are(open_here(path), RGB)


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
def test_jpeg_tiles_come_back_in_their_colours(tmp_path: Path, photometric: str) -> None:
    path = write(
        tmp_path / "a.tif", RGB, photometric="rgb", compression="jpeg", tile=(64, 64),
        compressionargs={"level": 95, "outcolorspace": photometric},
    )  # fmt: skip
    assert np.array_equal(open_here(path).arrays[0][...], tifffile.imread(path))


def test_colours_kept_apart_are_joined(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tif", np.moveaxis(RGB, -1, 0), photometric="rgb", planarconfig="separate", tile=(64, 64)
    )
    image = open_here(path)
    assert image.is_rgb
    levels_are(image, RGB)


def test_a_palette_becomes_colours_and_white_may_be_zero(tmp_path: Path) -> None:
    colours = np.random.default_rng(5).integers(0, 255, (3, 256), dtype=np.uint8)
    path = write(tmp_path / "p.tif", GREY, photometric="palette", colormap=colours.astype(np.uint16) * 257)
    image = open_here(path)
    assert image.is_rgb
    levels_are(image, colours.T[GREY])
    inverted = open_here(write(tmp_path / "w.tif", GREY, photometric="miniswhite"))
    assert inverted.is_inverted
    levels_are(inverted, GREY)


def test_values_of_less_than_a_byte_come_back(tmp_path: Path) -> None:
    levels_are(open_here(write(tmp_path / "b.tif", GREY > 99)), (GREY > 99).astype(np.uint8))


@pytest.mark.parametrize(
    ("photometric", "samples", "code"), [("separated", 4, "photometric"), ("cielab", 3, "photometric")]
)
def test_colours_that_are_not_read_are_named(
    tmp_path: Path, photometric: str, samples: int, code: str
) -> None:
    pixels = np.zeros((40, 30, samples), np.uint8)
    error = refusal(write(tmp_path / "a.tif", pixels, photometric=photometric))
    assert error.code == code
    assert {"separated": "CMYK", "cielab": "CIELAB"}[photometric] in error.message


def test_a_pyramid_without_flags_is_found_by_its_halves(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for step in (1, 2, 4):
            writer.write(RGB[::step, ::step], photometric="rgb", **TILED)
        writer.write(MACRO[:100, :90], photometric="rgb", metadata=None)
    image = open_here(tmp_path / "a.tif")
    levels_are(image, RGB, RGB[::2, ::2], RGB[::4, ::4])
    assert "left-out" in [warning.code for warning in image.warnings]


@pytest.mark.parametrize("said", ["Label Image", "Macro", "Thumbnail of 7"])
def test_a_file_that_begins_with_a_label_is_refused(tmp_path: Path, said: str) -> None:
    assert (
        refusal(write(tmp_path / "a.tif", MACRO, photometric="rgb", description=said)).code == "unsupported"
    )


@pytest.mark.parametrize("said", ["ImageJ=1.54\nimages=9\nslices=9\n", '{"shape": [9, 600, 500]}'])
def test_a_stack_in_one_directory_is_refused(tmp_path: Path, said: str) -> None:
    assert refusal(write(tmp_path / "a.tif", GREY, description=said)).code == "unsupported"


def test_tiles_that_were_never_written_are_an_error_until_decided(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY, tile=(64, 64))
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages[0].tags[name]  # type: ignore[union-attr]
            tag.overwrite([0 if n == 9 else value for n, value in enumerate(tag.value)])
    error = refusal(path)
    assert error.code == "missing-tiles"
    image = open_here(path, Decisions.from_json(error.options[0].decisions))
    blank = GREY.copy()
    blank[64:128, 64:128] = 0
    levels_are(image, blank)
    assert (image.decisions.absent, image.warnings[0].code) == ("background", "missing-tiles")


def test_a_file_that_is_cut_short_or_changes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", GREY, tile=(64, 64))
    image = open_here(path)
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(ImageRefusedError) as caught:
        image.arrays[0][...]
    assert caught.value.code == "changed"
    path.write_bytes(path.read_bytes()[:100_000])
    assert refusal(path).code == "truncated"


def test_nothing_is_logged_about_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "a.ome.tif", GREY, description="<OME Smith^John <<Image><Pixels/>")
    with caplog.at_level(logging.DEBUG):
        levels_are(open_here(path), GREY)
    assert "Smith" not in caplog.text


def one_tile(path: Path, tile: bytes, compression: int, *more: Entry) -> Path:
    """Write a colour picture of 64 × 64 pixels whose one tile holds these bytes."""
    entries = page(
        64, 64, compression=compression, tile_width=64, tile_height=64, tile_offsets=0, tile_counts=len(tile)
    )
    dropped = {258, 262, 277, *(tag for tag, *_ in more)}
    entries = [entry for entry in entries if entry[0] not in dropped]
    colours: list[Entry] = [(258, 3, 3, struct.pack("<3H", 8, 8, 8)), (262, 3, 1, 2), (277, 3, 1, 3)]
    return tiff_of(path, [([*entries, *colours, *more], tile)])


def test_aperio_luma_and_colour_differences_become_colours(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.float32)
    red, green, blue = smooth, 200 - smooth, smooth / 2 + 40
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    stored = (
        np.stack([luma, 128 + 0.564 * (blue - luma), 128 + 0.713 * (red - luma)], axis=-1)
        .round()
        .astype(np.uint8)
    )
    tile = bytes(imagecodecs.jpeg2k_encode(stored, level=0, codecformat="j2k", mct=False))
    pixels = open_here(one_tile(tmp_path / "a.tif", tile, 33003)).arrays[0][...]
    assert np.abs(pixels.astype(float) - np.stack([red, green, blue], axis=-1)).max() < 3


def lying(form: str) -> tuple[bytes, int]:
    """Return a tile whose header claims a huge picture, hidden as well as the format allows."""
    small = np.zeros((64, 64, 3), np.uint8)
    if form.startswith("jpeg "):
        data = bytearray(imagecodecs.jpeg8_encode(small))
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 65_000, 65_000)
        comments = b"\xff\xfe\xff\xff" + bytes(0xFFFD)
        return bytes(data[:2]) + comments * 2 + bytes(data[2:]), 7
    if form == "webp":
        webp = bytearray(imagecodecs.webp_encode(small, lossless=True))
        at = webp.index(b"VP8L") + 9
        webp[at : at + 4] = (0x3FFF | 0x3FFF << 14).to_bytes(4, "little")
        return bytes(webp), 50001
    boxed = bytearray(imagecodecs.jpeg2k_encode(small, level=0, codecformat="jp2", mct=True))
    at = boxed.index(b"\xff\x4f\xff\x51")
    decoy = bytes(boxed[at : at + 48])
    boxed[at + 8 : at + 16] = struct.pack(">II", 60_000, 60_000)
    return bytes(boxed[:12]) + struct.pack(">I4s", 8 + len(decoy), b"free") + decoy + bytes(boxed[12:]), 34712


@pytest.mark.parametrize("form", ["jpeg behind comments", "webp", "jpeg2000 behind a decoy"])
def test_a_tile_that_claims_to_be_huge_is_refused(tmp_path: Path, form: str) -> None:
    assert refusal(one_tile(tmp_path / "a.tif", *lying(form))).code == "size"


def test_a_picture_in_place_of_shared_tables_is_refused(tmp_path: Path) -> None:
    data = bytes(imagecodecs.jpeg8_encode(np.zeros((64, 64, 3), np.uint8)))
    assert refusal(one_tile(tmp_path / "a.tif", data, 7, (347, 7, len(data), data))).code == "unreadable"


@pytest.mark.parametrize(
    ("name", "pages"),
    [
        ("cmu-1-small-region.svs", (0,)),
        ("tcga-cr-7395-01a-01-ts1.svs", (0, 2)),
        ("kidney-48-5.tif", (0,)),
        ("boxes.tiff", (0, 1, 2, 3)),
        ("yb10kx5k.zstd.tiff", (1, 2, 3, 4)),
    ],
)
def test_real_slides_hold_what_another_reader_finds(
    test_data: Path, name: str, pages: tuple[int, ...]
) -> None:
    path = test_data / "slides" / name
    arrays = open_here(path).arrays
    with tifffile.TiffFile(path) as tiff:
        for array, number in zip(arrays[-len(pages) :], pages, strict=True):
            assert np.array_equal(array[...], tiff.pages[number].asarray())


def test_a_real_ome_tiff_has_its_pages_as_channels(test_data: Path) -> None:
    path = test_data / "slides" / "dataset.ome.tif"
    with tifffile.TiffFile(path) as tiff:
        pages = [page.asarray() for page in tiff.pages]
    levels_are(open_here(path), np.stack(pages, axis=-1))
