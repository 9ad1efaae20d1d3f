"""OME-TIFF and OME-Zarr as written, read by tifffile and zarr."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from writing_phantoms import PLAIN_TYPES, image_of, planar, slanted, speckle, volume

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Image, open_here, open_image
from napari_medlab.images.tiles import halved
from napari_medlab.images.writers import OmeZarrVersion, write_image

VERSIONS: tuple[OmeZarrVersion, ...] = ("0.5", "0.4")
layouts = st.sampled_from(("yx", "yxc", "rgb", "rgba", "zyx"))
sides = st.tuples(*[st.integers(1, 40)] * 2)
steps = st.tuples(*[st.floats(0.01, 45)] * 2)


def image_in(layout: str, size: tuple[int, int], dtype: str, step: tuple[float, float]) -> Image:
    if layout == "zyx":
        return volume(speckle((3, *size), dtype))
    channels = {"yx": (), "yxc": (2,), "rgb": (3,), "rgba": (4,)}[layout]
    return planar(speckle((*size, *channels), dtype), step, is_rgb=layout.startswith("rgb"))


def attributes(path: Path, version: OmeZarrVersion = "0.5") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what OME-Zarr says, and all attributes."""
    found: dict[str, Any] = dict(zarr.open_group(path, mode="r").attrs)
    return (found["ome"] if version == "0.5" else found), found


def ome_xml(tiff: tifffile.TiffFile) -> dict[str, Any]:
    found: dict[str, Any] = tifffile.xml2dict(str(tiff.ome_metadata))["OME"]
    return found


def smooth(height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    y, x = np.mgrid[:height, :width]
    return np.stack([(y // 9 + x // 7) % 250, y * 200 // height, x * 200 // width], -1).astype(np.uint8)


def halves(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the means of 2 × 2 pixels with even sides, done without the code that is tested."""
    four = [pixels[i::2, j::2].astype(float) for i in (0, 1) for j in (0, 1)]
    mean = np.asarray(sum(four)) / 4
    return np.asarray((mean if pixels.dtype.kind == "f" else np.floor(mean + 0.5)).astype(pixels.dtype))


@settings(deadline=None, max_examples=100)
@given(layouts, sides, st.sampled_from(PLAIN_TYPES), steps)
def test_an_ome_tiff_comes_back_as_it_was(
    layout: str, size: tuple[int, int], dtype: str, step: tuple[float, float]
) -> None:
    image = image_in(layout, size, dtype, step)
    pixels = np.asarray(image.levels[0])
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(image, Path(folder) / "a.ome.tif")
        with tifffile.TiffFile(path) as tiff:
            assert tiff.is_bigtiff
            assert len(tiff.series) == 1
            stored = tiff.series[0].asarray()
            xml = ome_xml(tiff)["Image"]["Pixels"]
        channels_first = np.moveaxis(pixels, -1, 0) if layout == "yxc" else pixels
        assert np.array_equal(
            stored, channels_first.squeeze() if layout == "zyx" else channels_first
        ) or np.array_equal(stored.squeeze(), channels_first.squeeze())
        stated = [float(xml[f"PhysicalSize{axis}"]) for axis in "YX"]
        micrometres = 1000 if layout == "zyx" else 1
        assert stated == pytest.approx([s * micrometres for s in image.grid.spacing[-2:]], rel=1e-6)
        if layout != "zyx":
            read = open_here(path)
            assert np.array_equal(np.asarray(read.levels[0]).squeeze(), pixels.squeeze())
            assert read.grid.spacing == pytest.approx(step, rel=1e-6)


@settings(deadline=None, max_examples=60)
@given(layouts, sides, st.sampled_from((*PLAIN_TYPES, "int64", "uint64")), steps, st.sampled_from(VERSIONS))
def test_an_ome_zarr_comes_back_as_it_was(
    layout: str, size: tuple[int, int], dtype: str, step: tuple[float, float], version: OmeZarrVersion
) -> None:
    image = image_in(layout, size, dtype, step)
    pixels = np.asarray(image.levels[0])
    with tempfile.TemporaryDirectory() as folder:
        path = write_image(image, Path(folder) / "a.ome.zarr", ome_zarr=version)
        array: Any = zarr.open_group(path, mode="r")["0"]
        assert array.dtype == pixels.dtype
        has_channels = layout in ("yxc", "rgb", "rgba")
        assert np.array_equal(array[:], np.moveaxis(pixels, -1, 0) if has_channels else pixels)
        assert array.metadata.zarr_format == (3 if version == "0.5" else 2)
        multiscale = attributes(path, version)[0]["multiscales"][0]
    assert [axis["name"] for axis in multiscale["axes"]] == list(
        "zyx" if layout == "zyx" else "cyx" if has_channels else "yx"
    )
    scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
    assert scale[-2:] == pytest.approx(image.grid.spacing[-2:], rel=1e-6)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.tiff", "a.ome.zarr"])
def test_levels_are_means_of_the_one_above(tmp_path: Path, name: str) -> None:
    pixels = smooth(1500, 2200)
    path = write_image(planar(pixels, is_rgb=True), tmp_path / name)
    expected = [pixels, halves(pixels), halves(halves(pixels))]
    if name.endswith("zarr"):
        group: Any = zarr.open_group(path, mode="r")
        levels = [np.moveaxis(group[number][:], 0, -1) for number in sorted(group.array_keys())]
    else:
        with tifffile.TiffFile(path) as tiff:
            levels = [level.asarray() for level in tiff.series[0].levels]
            assert {level.keyframe.tile for level in tiff.series[0].levels} == {(512, 512)}
    assert [level.shape for level in levels] == [level.shape for level in expected]
    for level, wanted in zip(levels, expected, strict=True):
        assert np.array_equal(level, wanted)


@pytest.mark.parametrize("y_axis", [0, 1])
def test_a_row_without_a_partner_is_its_own_mean(y_axis: int) -> None:
    block = np.array([[0, 1, 9], [2, 3, 5], [10, 20, 30]], np.int16)
    result = halved(block[None] if y_axis else block, y_axis)
    assert np.array_equal(result.squeeze(), [[2, 7], [15, 30]])
    assert result.dtype == np.int16


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_levels_that_the_image_has_are_kept_as_long_as_each_is_half_the_one_above(
    tmp_path: Path, name: str
) -> None:
    shapes = ((4099, 2000), (2050, 1000), (1024, 500))  # the third should have 1025 rows
    grid = Grid.axis_aligned(shapes[0], (0.5, 0.5), unit="um")
    image = image_of(
        *(np.full(shape, shade, np.uint8) for shape, shade in zip(shapes, (10, 20, 30), strict=True)),
        grid=grid,
    )
    path = write_image(image, tmp_path / name)
    if name.endswith("zarr"):
        group: Any = zarr.open_group(path, mode="r")
        levels = [group[str(number)][:] for number in range(4)]
    else:
        with tifffile.TiffFile(path) as tiff:
            levels = [level.asarray() for level in tiff.series[0].levels]
    found = [(level.shape, np.unique(level).tolist()) for level in levels]
    assert found == [((4099, 2000), [10]), ((2050, 1000), [20]), ((1025, 500), [20]), ((513, 250), [20])]


@pytest.mark.parametrize("layout", ["zyx", "yxc"])
def test_planes_and_channels_have_levels_of_their_own(tmp_path: Path, layout: str) -> None:
    planes = np.moveaxis(smooth(1100, 600), -1, 0)
    image = volume(planes) if layout == "zyx" else planar(np.moveaxis(planes, 0, -1).copy())
    with tifffile.TiffFile(write_image(image, tmp_path / "a.ome.tif")) as tiff:
        levels = [level.asarray() for level in tiff.series[0].levels]
        pages: list[Any] = [page.aspage() for page in tiff.pages]
        assert [len(page.pages) for page in pages] == [1, 1, 1]
        assert "ImageDescription" not in pages[0].pages[0].tags
    group: Any = zarr.open_group(write_image(image, tmp_path / "a.zarr"), mode="r")
    half = np.moveaxis(halves(np.moveaxis(planes, 0, -1)), -1, 0)
    for found in (levels, [group["0"][:], group["1"][:]]):
        assert np.array_equal(found[0], planes)
        assert np.array_equal(found[1], half)


def test_a_pyramid_opens_with_its_levels(tmp_path: Path) -> None:
    pixels = smooth(1500, 2200)
    read = open_image(write_image(planar(pixels, (0.25, 0.5), is_rgb=True), tmp_path / "a.ome.tif"))
    assert read.is_rgb
    assert read.kind == "slide"
    assert [level.shape for level in read.levels] == [(1500, 2200, 3), (750, 1100, 3), (375, 550, 3)]
    assert np.array_equal(np.asarray(read.levels[0]), pixels)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("layout", ["yx", "zyx"])
def test_every_chunk_is_written_even_where_there_is_nothing(
    tmp_path: Path, version: OmeZarrVersion, layout: str
) -> None:
    image = (
        planar(np.zeros((1200, 700), "uint8"))
        if layout == "yx"
        else volume(np.zeros((17, 40, 1300), "int16"))
    )
    path = write_image(image, tmp_path / "a.zarr", ome_zarr=version)
    group: Any = zarr.open_group(path, mode="r")
    for _, array in group.arrays():
        assert (
            array.nchunks_initialized == array.nchunks > 1 or array.nchunks == 1 == array.nchunks_initialized
        )
    for dataset in attributes(path, version)[0]["multiscales"][0]["datasets"]:
        assert dataset["path"] in group


@pytest.mark.parametrize("version", VERSIONS)
def test_a_coarser_level_begins_half_its_pixels_further_in(tmp_path: Path, version: OmeZarrVersion) -> None:
    path = write_image(
        planar(np.zeros((2100, 30), "uint8"), (0.25, 0.5)), tmp_path / "a.zarr", ome_zarr=version
    )
    multiscale = attributes(path, version)[0]["multiscales"][0]
    assert [axis["unit"] for axis in multiscale["axes"]] == ["micrometer", "micrometer"]
    for number, dataset in enumerate(multiscale["datasets"]):
        scale, translation = (t[t["type"]] for t in dataset["coordinateTransformations"])
        f = 2**number
        centre = np.add(np.multiply(scale, 3), translation)
        assert centre == pytest.approx([((3 + 0.5) * f - 0.5) * step for step in (0.25, 0.5)], abs=1e-12)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_volume_keeps_its_place_in_the_patient_beside_the_scales(
    tmp_path: Path, version: OmeZarrVersion
) -> None:
    image = volume(speckle((3, 4, 5), "int16"), lineage=("resampled along the stack from uneven slices",))
    path = write_image(image, tmp_path / "a.ome.zarr", ome_zarr=version)
    ome, everything = attributes(path, version)
    own = everything["napari-medlab"]
    assert np.array_equal(own["affine_lps"], image.grid.affine)
    assert own["lineage"] == ["resampled along the stack from uneven slices"]
    multiscale = ome["multiscales"][0]
    assert {axis["unit"] for axis in multiscale["axes"]} == {"millimeter"}
    assert multiscale["datasets"][0]["coordinateTransformations"][0]["scale"] == pytest.approx(
        (2.5, 0.8, 0.7)
    )
    assert "omero" not in ome
    array: Any = zarr.open_group(path, mode="r")["0"]
    assert array.metadata.dimension_names == ("z", "y", "x") if version == "0.5" else True


def test_an_unknown_pixel_size_is_left_out(tmp_path: Path) -> None:
    image = planar(speckle((4, 5), "uint16"), (1, 1), "px")
    with tifffile.TiffFile(write_image(image, tmp_path / "a.ome.tif")) as tiff:
        assert "PhysicalSize" not in str(tiff.ome_metadata)
        assert int(tiff.pages.first.tags["ResolutionUnit"].value) == 1
    multiscale = attributes(write_image(image, tmp_path / "a.zarr"))[0]["multiscales"][0]
    assert not any("unit" in axis for axis in multiscale["axes"])
    assert open_here(tmp_path / "a.ome.tif").grid.unit == "px"


def test_channels_keep_their_names(tmp_path: Path) -> None:
    names = ("DAPI", 'CD3 <&>"', "µ\x07")
    image = planar(speckle((4, 5, 3), "float32"), channel_names=names)
    with tifffile.TiffFile(write_image(image, tmp_path / "a.ome.tif")) as tiff:
        channels = ome_xml(tiff)["Image"]["Pixels"]["Channel"]
    omero = attributes(write_image(image, tmp_path / "a.zarr"))[0]["omero"]
    clean = ["DAPI", 'CD3 <&>"', "µ"]
    assert [channel["Name"] for channel in channels] == clean
    assert [channel["label"] for channel in omero["channels"]] == clean
    assert {"color", "window"} <= omero["channels"][0].keys()


def test_colours_are_told_from_channels(tmp_path: Path) -> None:
    image = planar(speckle((4, 5, 3), "uint8"), is_rgb=True)
    omero = attributes(write_image(image, tmp_path / "a.zarr"))[0]["omero"]
    assert [channel["color"] for channel in omero["channels"]] == ["FF0000", "00FF00", "0000FF"]


def test_ome_xml_holds_nothing_but_what_it_must(tmp_path: Path) -> None:
    image = volume(speckle((2, 4, 5), "int16"), slanted(), lineage=("resampled × 2",))
    image.details["patient"] = "SMITH"
    with tifffile.TiffFile(write_image(image, tmp_path / "SMITH.ome.tif")) as tiff:
        xml = ome_xml(tiff)
        tags = {tag.name for tag in tiff.pages.first.tags}
    assert xml["UUID"].split("-")[2].startswith("4"), "a random one: the others tell machine and time"
    assert xml["Image"]["Description"] == "resampled × 2"
    assert float(xml["Image"]["Pixels"]["PhysicalSizeZ"]) == pytest.approx(2500)
    assert not tags & {"DateTime", "HostComputer", "Artist", "DocumentName"}
    assert b"SMITH" not in (tmp_path / "SMITH.ome.tif").read_bytes()


@pytest.mark.parametrize(
    ("name", "dtype"), [("a.ome.tif", "int64"), ("a.zarr", "complex64"), ("a.zarr", "bool")]
)
def test_types_that_a_format_lacks_are_refused(tmp_path: Path, name: str, dtype: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        write_image(planar(np.zeros((4, 5), dtype)), tmp_path / name)
    assert caught.value.code == "unsupported-output"
    assert list(tmp_path.iterdir()) == []
