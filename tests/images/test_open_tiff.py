from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import open_image
from napari_medlab.images.slides.pixel_size import from_aperio, from_resolution, lengths_of_ome

if TYPE_CHECKING:
    from pathlib import Path

RGB = np.random.default_rng(0).integers(0, 255, (600, 500, 3), dtype=np.uint8)


def pyramid(path: Path, *, ome: bool = False, bigtiff: bool = False, **options: object) -> Path:
    with tifffile.TiffWriter(path, ome=ome, bigtiff=bigtiff) as writer:
        common: dict[str, Any] = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
        writer.write(RGB, **{**common, **options, "subifds": 2})
        for step in (2, 4):
            writer.write(RGB[::step, ::step], **{**common, "subfiletype": 1})
    return path


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiled_pyramid_opens_level_by_level(tmp_path: Path, bigtiff: bool) -> None:
    path = pyramid(tmp_path / "a.tif", bigtiff=bigtiff, resolution=(40_000, 20_000), resolutionunit=3)
    image = open_image(path)
    assert image.kind == "slide"
    assert image.is_rgb
    assert image.grid.unit == "um"
    assert image.grid.spacing == pytest.approx((0.5, 0.25), abs=1e-6)
    for level, step in zip(image.levels, (1, 2, 4), strict=True):
        assert np.array_equal(np.asarray(level), RGB[::step, ::step])


def test_any_box_of_a_level_reads_what_it_should(tmp_path: Path) -> None:
    level = open_image(pyramid(tmp_path / "a.tif")).levels[0]
    assert np.array_equal(np.asarray(level[5, 2:6]), RGB[5, 2:6])
    assert np.array_equal(np.asarray(level[::-3, 10:90:7, 1]), RGB[::-3, 10:90:7, 1])
    assert np.array_equal(np.asarray(level[500:9:-1, 40:40]), RGB[500:9:-1, 40:40])
    travelled = pickle.loads(pickle.dumps(level))  # noqa: S301 - our own
    assert np.array_equal(travelled[3:5].compute(), RGB[3:5])


def test_inches_are_not_centimetres_and_no_unit_is_no_size(tmp_path: Path) -> None:
    inch = open_image(pyramid(tmp_path / "inch.tif", resolution=(50_800, 50_800), resolutionunit=2))
    assert inch.grid.spacing == pytest.approx((0.5, 0.5))
    none = open_image(pyramid(tmp_path / "none.tif", resolution=(40_000, 40_000), resolutionunit=1))
    assert none.grid.unit == "px"
    assert [w.code for w in none.warnings] == ["unknown-spacing"]


def test_a_print_resolution_is_no_pixel_size(tmp_path: Path) -> None:
    image = open_image(pyramid(tmp_path / "a.tif", resolution=(72, 72), resolutionunit=2))
    assert image.grid.unit == "px"
    assert "352.8" in image.warnings[0].message


def test_ome_tiff_states_its_pixel_size(tmp_path: Path) -> None:
    metadata = {"axes": "YXS", "PhysicalSizeX": 250, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.3}
    image = open_image(pyramid(tmp_path / "a.ome.tif", ome=True, metadata=metadata))
    assert image.grid.spacing == pytest.approx((0.3, 0.25))
    assert len(image.levels) == 3


def test_channels_kept_apart_come_last(tmp_path: Path) -> None:
    planes = np.arange(2 * 40 * 30, dtype=np.uint16).reshape(2, 40, 30)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "CYX"}, tile=(16, 16))
    image = open_image(tmp_path / "a.ome.tif")
    assert not image.is_rgb
    assert np.array_equal(np.asarray(image.levels[0]), np.moveaxis(planes, 0, -1))


def test_other_images_of_the_file_are_never_part_of_the_slide(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.svs") as writer:
        header = "Aperio Image Library v11.2.1\n500x600 (64x64)|AppMag = 20|MPP = 0.499"
        writer.write(RGB, tile=(64, 64), photometric="rgb", description=header, metadata=None)
        writer.write(
            RGB[:100, :100], photometric="rgb", description="Aperio Image Library\nlabel", metadata=None
        )
    image = open_image(tmp_path / "a.svs")
    assert [level.shape for level in image.levels] == [(600, 500, 3)]
    assert image.grid.spacing == (0.499, 0.499)


def test_sixteen_bit_grey_stays_sixteen_bit(tmp_path: Path) -> None:
    grey = np.arange(3000, dtype=np.uint16).reshape(50, 60)
    tifffile.imwrite(tmp_path / "a.tif", grey, resolution=(300, 300), resolutionunit=2)
    image = open_image(tmp_path / "a.tif")
    assert (image.kind, image.grid.unit, image.dtype) == ("photo", "px", np.dtype(np.uint16))
    assert np.array_equal(np.asarray(image.levels[0]), grey)


def test_stacks_and_truncated_files_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((9, 40, 30), np.uint8), photometric="minisblack")
    path = pyramid(tmp_path / "short.tif")
    path.write_bytes(path.read_bytes()[:-3000])
    codes = []
    for name in ("stack.tif", "short.tif"):
        with pytest.raises(ImageRefusedError) as caught:
            open_image(tmp_path / name)
        codes.append(caught.value.code)
    assert codes[0] == "unsupported"
    assert codes[1] in ("truncated", "unreadable")


def test_a_neighbour_named_by_ome_stays_closed(tmp_path: Path) -> None:
    secret = np.full((32, 32), 77, np.uint8)
    tifffile.imwrite(tmp_path / "secret.ome.tif", secret, metadata={"axes": "YX"})
    xml = (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" '
        'DimensionOrder="XYCZT" Type="uint8" SizeX="32" SizeY="32" SizeC="1" SizeZ="1" SizeT="1">'
        '<TiffData IFD="0"><UUID FileName="secret.ome.tif">urn:uuid:1</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(tmp_path / "a.ome.tif", np.zeros((32, 32), np.uint8), description=xml, metadata=None)
    try:
        pixels = np.asarray(open_image(tmp_path / "a.ome.tif").levels[0])
    except ImageRefusedError:
        return
    assert not (pixels == 77).any()


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"PhysicalSizeX": "0.25", "PhysicalSizeY": "0.5"}, (0.5, 0.25)),
        ({"PhysicalSizeX": "1", "PhysicalSizeXUnit": "µm", "PhysicalSizeY": "1"}, (1, 1)),
        ({"PhysicalSizeX": "1e-3", "PhysicalSizeXUnit": "mm", "PhysicalSizeY": "2"}, (2, 1)),
        ({"PhysicalSizeX": "1", "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": "1"}, None),
        ({"PhysicalSizeX": "0", "PhysicalSizeY": "1"}, None),
        ({}, None),
    ],
)
def test_pixel_sizes_of_ome(attributes: dict[str, str], size: tuple[float, float] | None) -> None:
    assert lengths_of_ome(attributes)[0] == (None if size is None else pytest.approx(size))


def test_pixel_sizes_that_say_nothing_stay_unknown() -> None:
    assert from_aperio("Aperio|MPP = 0.2520") == (0.252, 0.252)
    assert from_aperio("Aperio|MPP = 0") is None
    assert from_resolution({"XResolution": (0, 1), "YResolution": (1, 1), "ResolutionUnit": 3}) is None
    assert from_resolution({"XResolution": (1, 0), "YResolution": (1, 1), "ResolutionUnit": 3}) is None
