from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.geometry import Grid
from napari_medlab.hardcases.describing.descriptors import FREE, VESSEL, describe
from napari_medlab.hardcases.describing.reduced_image import reduced
from napari_medlab.hardcases.describing.table import ColumnTitle, DescriptorTable
from napari_medlab.images import Image
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.phantoms.chest_ct import chest_phantom
from napari_medlab.phantoms.mammogram import mammogram_exam
from napari_medlab.phantoms.slide import slide_phantom

if TYPE_CHECKING:
    from numpy.typing import NDArray

LUNG, TISSUE = -850.0, 40.0
SPACING = np.asarray([1.25, 0.8, 0.8])
SHAPE = (56, 110, 110)
MIDDLE = (35.0, 44.0, 44.0)


class Chest:
    """A box of muscle with one round lung in it (mm, array order), to stamp things into."""

    def __init__(self, noise: float = 20.0) -> None:
        self.axes = np.meshgrid(
            *[np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True)], indexing="ij", sparse=True
        )
        self.hu = np.where(self.distance(MIDDLE) < 32, LUNG, TISSUE)
        self.noise = noise

    def distance(self, centre: tuple[float, float, float]) -> NDArray[np.float64]:
        squares = [(axis - c) ** 2 for axis, c in zip(self.axes, centre, strict=True)]
        return np.asarray(np.sqrt(squares[0] + squares[1] + squares[2]))

    def stamp_ball(self, centre: tuple[float, float, float], radius: float, hu: float = TISSUE) -> None:
        occupancy = np.clip(0.5 + (radius - self.distance(centre)) / 1.0, 0, 1)
        self.hu = np.maximum(self.hu, LUNG + (hu - LUNG) * occupancy)

    def stamp_vessel(self, centre: tuple[float, float, float], radius: float) -> None:
        """Stamp a vessel that leaves a place in the direction of x, within the slice."""
        z, y, x = self.axes
        across = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2)
        occupancy = np.clip(0.5 + (radius - across) / 1.0, 0, 1) * (x > centre[2])
        self.hu = np.maximum(self.hu, LUNG + (TISSUE - LUNG) * occupancy)

    def image(self) -> Image:
        noise = np.random.default_rng(0).normal(0, self.noise, self.hu.shape)
        grid = Grid.axis_aligned(SHAPE, SPACING)
        return Image.of_arrays([(self.hu + noise).astype(np.int16)], grid, modality="CT")


def world(centre: tuple[float, float, float]) -> list[float]:
    return list(centre[::-1])


def test_a_nodule_on_the_pleura_is_nearer_to_the_edge_than_a_central_one() -> None:
    chest = Chest()
    at_pleura = (MIDDLE[0], MIDDLE[1], MIDDLE[2] + 29.0)
    chest.stamp_ball(MIDDLE, 4.0)
    chest.stamp_ball(at_pleura, 4.0)
    edge = describe(chest.image(), [world(MIDDLE), world(at_pleura)], [8.0, 8.0]).numbers["edge_distance"]
    assert edge[0] == pytest.approx(32 - 4, abs=3)
    assert edge[1] == pytest.approx(32 - 29 - 4, abs=3)


@pytest.mark.parametrize("radius", [2.5, 4.0])
def test_a_nodule_on_a_vessel_shows_in_its_vesselness(radius: float) -> None:
    first, second = (35.0, 32.0, 36.0), (35.0, 58.0, 36.0)
    chest = Chest()
    chest.stamp_ball(first, radius)
    chest.stamp_ball(second, radius)
    chest.stamp_vessel(second, 1.6)
    table = describe(chest.image(), [world(first), world(second)], [2 * radius] * 2)
    isolated, attached = table.numbers["vesselness"]
    assert isolated < 0.1 < 0.2 < attached
    assert table.categories["vessel"].tolist() == [FREE, VESSEL]


@pytest.mark.parametrize("radius", [3.0, 6.0, 11.0])
def test_brightness_and_contrast_are_those_of_the_truth(radius: float) -> None:
    chest = Chest()
    chest.stamp_ball(MIDDLE, radius, hu=-100.0)
    table = describe(chest.image(), [world(MIDDLE)], [2 * radius])
    assert table.numbers["mean_intensity"][0] == pytest.approx(-100, abs=40)
    assert table.numbers["contrast"][0] == pytest.approx(-100 - LUNG, abs=60)
    assert table.numbers["noise"][0] == pytest.approx(20, rel=0.25)
    ratio = table.numbers["contrast"][0] / table.numbers["noise"][0]
    assert table.numbers["contrast_to_noise"][0] == pytest.approx(ratio)
    assert table.title("mean_intensity").unit == "HU"
    assert table.numbers["slice_spacing"][0] == 1.25
    assert table.numbers["spacing"][0] == 0.8


def test_a_blurred_object_is_less_sharp() -> None:
    from scipy import ndimage

    chest = Chest()
    chest.stamp_ball(MIDDLE, 5.0)
    sharp = describe(chest.image(), [world(MIDDLE)], [10.0]).numbers["sharpness"][0]
    chest.hu = ndimage.gaussian_filter(chest.hu, 2.0 / SPACING)
    assert describe(chest.image(), [world(MIDDLE)], [10.0]).numbers["sharpness"][0] < 0.7 * sharp


def test_turning_the_array_changes_nothing() -> None:
    chest = Chest()
    chest.stamp_ball((30.0, 40.0, 50.0), 5.0)
    image = chest.image()
    turned_grid = image.grid.reordered((2, 0, 1), (-1, 1, 1))
    pixels = image.decoded().transpose(2, 0, 1)[::-1]
    turned = Image.of_arrays([np.ascontiguousarray(pixels)], turned_grid, modality="CT")
    centre = [world((30.0, 40.0, 50.0))]
    here, there = describe(image, centre, [10.0]), describe(turned, centre, [10.0])
    for name, column in here.numbers.items():
        np.testing.assert_allclose(there.numbers[name], column, rtol=1e-5, err_msg=name)


def test_positions_are_fractions_of_the_image() -> None:
    image = Image.of_arrays([np.zeros((5, 11, 21), np.int16)], Grid.axis_aligned((5, 11, 21), (2.0, 1, 1)))
    table = describe(image, [[0.0, 10.0, 4.0]], [3.0])
    assert [float(table.numbers[f"position_{axis}"][0]) for axis in "zyx"] == [0.5, 1.0, 0.0]


def test_places_at_and_beyond_the_border_are_described_as_far_as_they_can_be() -> None:
    image = Chest().image()
    centres = [[0.0, 0.0, 0.0], [87.2, 87.2, 68.75], [500.0, 0.0, 0.0], [1e9, -1e9, 0.0]]
    table = describe(image, centres, [6.0, -1.0, 6.0, 6.0])
    assert np.isfinite(table.numbers["mean_intensity"]).tolist() == [True, True, False, False]
    assert np.isnan(table.numbers["diameter"]).tolist() == [False, True, False, False]
    assert table.categories["vessel"].tolist()[2:] == ["", ""]


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4), (1, 40, 40)])
def test_an_image_smaller_than_the_crop_is_no_problem(shape: tuple[int, ...]) -> None:
    image = Image.of_arrays([np.full(shape, 7, np.int16)], Grid.axis_aligned(shape, (1.0, 1.0, 1.0)))
    table = describe(image, [[0.0, 0.0, 0.0]], [40.0])
    assert table.numbers["mean_intensity"][0] == 7
    assert np.isnan(table.numbers["edge_distance"][0])


def test_no_objects_give_an_empty_table_with_all_columns() -> None:
    image = Chest().image()
    empty, one = describe(image, [], []), describe(image, [world(MIDDLE)], [8.0])
    assert len(empty) == 0
    assert list(empty.numbers) == list(one.numbers)
    assert list(empty.categories) == list(one.categories)


def test_the_nodules_of_a_phantom_are_denser_than_what_is_around_them() -> None:
    phantom = chest_phantom(500_001, "case")
    image = Image.of_arrays([phantom.volume], phantom.grid, modality="CT")
    table = describe(image, [f.centre for f in phantom.findings], [f.diameter for f in phantom.findings])
    assert len(table) >= 2
    assert (table.numbers["contrast"] > 80).all()
    inside = [phantom.volume[phantom.labels == n].mean() for n in range(1, len(table) + 1)]
    # at the rim of a nodule there is lung in its voxels
    assert (table.numbers["mean_intensity"] > np.asarray(inside) - 30).all()
    assert (table.numbers["mean_intensity"] < np.asarray(inside) + 300).all()
    assert (table.numbers["edge_distance"] > -12).all()


def test_a_mammogram_knows_its_skin_line_and_its_view() -> None:
    exam = mammogram_exam(3, shape=(512, 416))
    view = max(exam.views, key=lambda v: len(v.findings))
    image = Image.of_arrays([view.pixels], view.grid, kind="mammogram", modality="MG")
    skin = describe(image, [f.centre for f in view.findings], [f.diameter for f in view.findings])
    # deep at the chest wall, half way up, far from the skin; where the image ends there is none
    wall = 0.0 if view.laterality == "L" else view.grid.to_world(np.asarray(view.grid.shape) - 1)[0]
    middle = view.grid.to_world(np.asarray(view.grid.shape) / 2)[1]
    deep = describe(image, [(wall, middle)], [5.0], facts={"view": view.view})
    assert (skin.numbers["edge_distance"] < deep.numbers["edge_distance"][0]).any()
    assert (skin.numbers["edge_distance"] > -5).all()
    assert (skin.numbers["contrast"] > 0).all()
    assert deep.categories["view"].tolist() == [view.view]
    assert deep.title("edge_distance") == ColumnTitle("distance to the skin", "mm")
    assert "position_z" not in deep.numbers


@pytest.fixture(scope="module")
def slide_image() -> tuple[Image, NDArray[np.float64], NDArray[np.float64]]:
    slide = slide_phantom(2, shape=(1536, 2048))
    small = slide.pixels.reshape(384, 4, 512, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    image = Image.of_arrays([slide.pixels, small], slide.grid, kind="slide", is_rgb=True)
    centres = np.asarray([f.centre for f in slide.findings])
    return image, centres, np.asarray([f.diameter for f in slide.findings])


def test_a_slide_knows_where_its_tissue_ends(
    slide_image: tuple[Image, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    image, centres, diameters = slide_image
    table = describe(image, [*centres, (2.0, 2.0)], [*diameters, 100.0])
    edge = table.numbers["edge_distance"]
    assert (edge[:-1] > -15).all()
    assert edge[-1] < -60
    assert (table.numbers["contrast"][:-1] < 0).all()
    assert table.title("diameter").unit == "µm"


def test_a_pyramid_is_read_at_the_level_that_is_fine_enough(
    slide_image: tuple[Image, NDArray[np.float64], NDArray[np.float64]],
) -> None:
    image, centres, diameters = slide_image
    flat = Image.of_arrays([image.decoded()], image.grid, kind="slide", is_rgb=True)
    here, there = describe(image, centres, diameters), describe(flat, centres, diameters)
    np.testing.assert_allclose(here.numbers["mean_intensity"], there.numbers["mean_intensity"], atol=2)
    np.testing.assert_allclose(here.numbers["edge_distance"], there.numbers["edge_distance"], atol=8)


def test_a_reduced_image_lies_where_the_image_lies() -> None:
    z, y, x = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in (12, 40, 44)], indexing="ij")
    grid = Grid.axis_aligned((12, 40, 44), (1.0, 0.5, 0.5))
    for axis, ramp in enumerate((z, y, x)):
        coarse = reduced(Image.of_arrays([ramp], grid), 2.0)
        assert coarse.pixels.shape == (6, 10, 11)
        np.testing.assert_allclose(coarse.spacing, 2.0)
        at = np.asarray([3.0, 4.0, 5.0])
        np.testing.assert_allclose(coarse.to_coarse(coarse.first + at * coarse.factor), at)
        assert coarse.pixels[3, 4, 5] == pytest.approx((coarse.first + at * coarse.factor)[axis])


def test_progress_is_told_and_a_stop_is_obeyed() -> None:
    image = Chest().image()
    told: list[tuple[int, int]] = []
    describe(
        image, [world(MIDDLE)] * 3, [6.0] * 3, on_progress=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        describe(image, [world(MIDDLE)], [6.0], stop=token.check)


def test_tables_are_joined_without_mixing_units() -> None:
    first = DescriptorTable(
        {"diameter": np.asarray([5.0])}, {"view": np.asarray(["CC"])}, {"diameter": ColumnTitle("d", "mm")}, 1
    )
    second = DescriptorTable({"diameter": np.asarray([30.0])}, {}, {"diameter": ColumnTitle("d", "px")}, 1)
    joined = DescriptorTable.joined([first, second])
    np.testing.assert_array_equal(joined.numbers["diameter"], [5.0, np.nan])
    assert joined.categories["view"].tolist() == ["CC", ""]
    assert len(joined.where([False, True])) == 1


def test_columns_of_different_lengths_are_no_table() -> None:
    with pytest.raises(ValueError, match="must have that length"):
        DescriptorTable({"a": np.zeros(2)}, {}, {}, 3)
