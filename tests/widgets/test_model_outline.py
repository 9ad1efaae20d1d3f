"""The outline of an object as a model's mask has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from test_mask_picture import store_of, view_on

from napari_medlab.annotations import Region
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, isotropic_grid
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.widgets.case_mask import ShownMask
from napari_medlab.widgets.model_outline import Wanted, outline_from

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> NDArray[np.uint8]:
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2
    return np.where(inside, 230, 5).astype(np.uint8)


def coarser(image: Grid, factor: int) -> Grid:
    affine = np.array(image.affine)
    affine[:2, 2] = image.to_world(np.full(2, (factor - 1) / 2))
    affine[:2, :2] *= factor
    return Grid((image.shape[0] // factor, image.shape[1] // factor), affine, image.unit)


def area(region: Region) -> float:
    (ring,) = region.rings
    y, x = ring[:, -2], ring[:, -1]
    return 0.5 * abs(float(np.dot(y, np.roll(x, 1)) - np.dot(x, np.roll(y, 1))))


@pytest.mark.parametrize("flips", [(1, 1), (1, -1)])
def test_the_part_nearest_to_the_object_becomes_its_outline(tmp_path: Path, flips: tuple[int, int]) -> None:
    image = Grid.axis_aligned((400, 400), (0.5, 0.5), unit="um")
    lattice = coarser(image, 4)
    masks = np.maximum(disc((100, 100), (30, 40), 10), disc((100, 100), (30, 65), 8))[None]
    store_of(tmp_path, lattice, masks, (64, 64))
    centre = tuple(lattice.to_world((30.0, 41.0)).tolist())
    region = Region("c", (np.zeros((3, 2)),), "finding", "glomerulus")
    shown = ShownMask(tmp_path / "mask.zarr", 0.5, "m")
    after = outline_from(shown, view_on(image, flips), region, Wanted(centre, 40.0, "glomerulus"))
    assert after is not None
    assert (after.region_id, after.owner_id, after.label) == (region.region_id, "finding", "glomerulus")
    # in pixels of the image as stored, however it is shown
    np.testing.assert_allclose(
        after.rings[0].mean(axis=0), image.to_index(lattice.to_world((30.0, 40.0))), atol=2
    )
    assert area(after) == pytest.approx(np.pi * 40**2, rel=0.1)
    assert len(after.rings[0]) < 120


def test_in_a_volume_it_lies_in_the_slices_of_the_image(tmp_path: Path) -> None:
    image = Grid.axis_aligned((20, 40, 40), (2.0, 1.0, 1.0))
    lattice = isotropic_grid(image, 1.0)
    masks = np.full((1, *lattice.shape), 5, np.uint8)
    masks[0, 10:17, 15:23, 18:26] = 255
    store_of(tmp_path, lattice, masks, (16, 16, 16))
    centre = tuple(lattice.to_world((13.0, 18.5, 21.5)).tolist())
    after = outline_from(
        ShownMask(tmp_path / "mask.zarr", 0.5, "m"),
        view_on(image),
        Region("c", (), "f", "nodule"),
        Wanted(centre, 8.0, "nodule"),
    )
    assert after is not None
    assert sorted({float(ring[0, 0]) for ring in after.rings}) == [5.0, 6.0, 7.0, 8.0]
    assert after.rings[0][:, 1:].min(axis=0) == pytest.approx((14.5, 17.5), abs=0.6)
    assert after.rings[0][:, 1:].max(axis=0) == pytest.approx((22.5, 25.5), abs=0.6)


def test_the_class_of_the_object_is_asked_and_its_threshold(tmp_path: Path) -> None:
    image = Grid.axis_aligned((60, 60), (1.0, 1.0))
    masks = np.stack([disc((60, 60), (30, 30), 12) // 3, disc((60, 60), (30, 30), 5)])
    store = MaskStore.create(tmp_path / "mask.zarr", image, ["a", "b"], chunk=(60, 60))
    store.write((0, 0), masks)
    shown = ShownMask(store.folder, (0.2, 0.5), "m")
    centre = tuple(image.to_world((30.0, 30.0)).tolist())
    for label, radius in (("a", 12), ("b", 5)):
        after = outline_from(shown, view_on(image), Region("c", (), "f", label), Wanted(centre, 10.0, label))
        assert after is not None
        assert area(after) == pytest.approx(np.pi * radius**2, rel=0.15)


def test_where_the_model_sees_nothing_or_something_else_there_is_no_outline(tmp_path: Path) -> None:
    image = Grid.axis_aligned((200, 200), (1.0, 1.0))
    store_of(tmp_path, image, disc((200, 200), (60, 60), 6)[None], (100, 100))
    shown = ShownMask(tmp_path / "mask.zarr", 0.5, "m")
    region = Region("c", (), "f", "a")
    for place in ((150.0, 150.0), (60.0, 82.0)):
        centre = tuple(image.to_world(place).tolist())
        assert outline_from(shown, view_on(image), region, Wanted(centre, 4.0, "a")) is None


def test_what_the_model_has_not_looked_at_yet_is_said(tmp_path: Path) -> None:
    image = Grid.axis_aligned((64, 64), (1.0, 1.0))
    store = MaskStore.create(tmp_path / "mask.zarr", image, ["a"], chunk=(32, 32))
    shown = ShownMask(store.folder, 0.5, "m")
    with pytest.raises(InputRefusedError, match="not done yet"):
        outline_from(shown, view_on(image), Region("c", (), "f", "a"), Wanted((30.0, 30.0), 4.0, "a"))
