"""Masks of models as napari draws them: in the right place, as far as they are there, and no larger than has to be."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, isotropic_grid
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.widgets.layers import mask_picture
from napari_medlab.widgets.layers.case_view import CaseView
from napari_medlab.widgets.layers.mask_picture import UNSEEN, MaskPicture, colours_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def view_on(grid: Grid, flips: tuple[int, ...] = ()) -> CaseView:
    order = tuple(range(grid.ndim))
    turned = flips or (1,) * grid.ndim
    kind = "volume" if grid.ndim == 3 else "slide"
    levels = [np.zeros((1,) * grid.ndim, np.uint8)]
    return CaseView("c", "c", kind, [levels], grid.reordered(order, turned), order=order, flips=turned)


def store_of(folder: Path, grid: Grid, masks: NDArray[np.uint8], chunk: tuple[int, ...]) -> MaskStore:
    """Return a store whose chunks hold ``masks``, (class, …)."""
    store = MaskStore.create(
        folder / "mask.zarr", grid, [f"class {n}" for n in range(len(masks))], chunk=chunk
    )
    for index in np.ndindex(*store.counts):
        box = store.box(index)
        store.write(index, masks[(slice(None), *map(slice, box.start, box.stop))])
    return store


def filled(picture: MaskPicture) -> MaskPicture:
    for box in picture.boxes():
        picture.draw(box)
    return picture


def place(picture: MaskPicture, label: int) -> NDArray[np.float64]:
    """Return the first and the last edge of what carries a label, in the viewer's coordinates."""
    rows = np.argwhere(picture.levels[0] == label)
    edges = np.stack([rows.min(axis=0) - 0.5, rows.max(axis=0) + 0.5])
    found: NDArray[np.float64] = edges * np.asarray(picture.scale) + np.asarray(picture.translate)
    return found


@pytest.mark.parametrize("flips", [(1, 1), (1, -1)])
def test_a_square_on_a_coarser_lattice_stands_where_it_is_in_the_world(
    tmp_path: Path, flips: tuple[int, int]
) -> None:
    image = Grid.axis_aligned((400, 600), (0.5, 0.5), unit="um")
    # as the preprocessing makes it: one voxel of the mask spans 4 pixels of the image
    affine = np.array(image.affine)
    affine[:2, 2] = image.to_world(np.full(2, 1.5))
    affine[:2, :2] *= 4
    lattice = Grid((100, 150), affine, "um")
    masks = np.zeros((1, 100, 150), np.uint8)
    masks[0, 10:20, 30:45] = 255
    store_of(tmp_path, lattice, masks, (32, 32))
    view = view_on(image, flips)
    corners = view.to_display(lattice.to_world(np.asarray([[9.5, 29.5], [19.5, 44.5]])))
    found = place(filled(MaskPicture(tmp_path / "mask.zarr", view, 0.5)), 1)
    np.testing.assert_allclose(found, np.sort(corners, axis=0), atol=1e-9)


def test_a_finer_mask_of_a_volume_lies_in_the_slices_of_the_image(tmp_path: Path) -> None:
    image = Grid.axis_aligned((20, 40, 40), (3.0, 1.0, 1.0))
    lattice = isotropic_grid(image, 1.5)
    masks = np.zeros((1, *lattice.shape), np.uint8)
    masks[0, 10:21, 4:9, 6:12] = 200
    store_of(tmp_path, lattice, masks, (16, 16, 16))
    picture = filled(MaskPicture(tmp_path / "mask.zarr", view_on(image), 0.5))
    assert picture.scale == pytest.approx((3.0, 1.5, 1.5))
    slices = np.flatnonzero((picture.levels[0] == 1).any(axis=(1, 2)))
    # voxels 10 to 20 of 1.5 mm are 15 to 30 mm: slices 5 to 10 of 3 mm
    assert slices.tolist() == [5, 6, 7, 8, 9, 10]
    assert len(picture.levels) == 1


def test_what_nobody_looked_at_is_not_background(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((64, 64), (1.0, 1.0))
    store = MaskStore.create(tmp_path / "mask.zarr", grid, ["a"], chunk=(32, 32))
    store.set_blank(np.asarray([[True, False], [False, False]]))
    store.write((0, 1), np.ones((1, 32, 32), np.uint8))
    picture = filled(MaskPicture(tmp_path / "mask.zarr", view_on(grid), 0.5))
    assert not picture.is_complete
    assert (picture.levels[0][:32] == 0).all()
    assert (picture.levels[0][32:] == UNSEEN).all()
    assert picture.share == pytest.approx(0.5)
    picture.draw(((32, 0), (64, 32)))
    assert (picture.levels[0][32:] == UNSEEN).all()
    for index in ((1, 0), (1, 1)):
        store.write(index, np.full((1, 32, 32), 255, np.uint8))
    store.finish()
    picture.renew()
    assert filled(picture).is_complete
    assert (picture.levels[0][32:] == 1).all()
    assert picture.share == 1


def test_each_class_has_its_threshold_and_the_likeliest_wins(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((4, 4), (1.0, 1.0))
    masks = np.zeros((2, 4, 4), np.uint8)
    masks[:, 0, 0] = (100, 0)
    masks[:, 0, 1] = (0, 100)
    masks[:, 0, 2] = (200, 210)
    masks[:, 0, 3] = (250, 240)
    store_of(tmp_path, grid, masks, (4, 4))
    picture = filled(MaskPicture(tmp_path / "mask.zarr", view_on(grid), (0.3, 0.5)))
    assert picture.levels[0][0].tolist() == [1, 0, 2, 1]


def test_a_large_mask_is_drawn_coarser_and_loses_no_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mask_picture, "MOST_CELLS", 1024)
    grid = Grid.axis_aligned((100, 130), (1.0, 1.0))
    masks = np.zeros((1, 100, 130), np.uint8)
    masks[0, 51, 77] = 255
    store_of(tmp_path, grid, masks, (32, 32))
    picture = filled(MaskPicture(tmp_path / "mask.zarr", view_on(grid), 0.5))
    assert picture.levels[0].size <= 1024
    assert [(level == 1).sum() for level in picture.levels] == [1] * len(picture.levels)
    low, high = place(picture, 1)
    assert (low <= (51, 77)).all()
    assert (high >= (51, 77)).all()


def test_boxes_that_come_while_others_are_read_are_read_too(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((64, 64), (1.0, 1.0))
    store_of(tmp_path, grid, np.full((1, 64, 64), 255, np.uint8), (32, 32))
    picture = MaskPicture(tmp_path / "mask.zarr", view_on(grid), 0.5)
    first, *rest = picture.boxes()
    told = []
    assert picture.add([first])
    assert not picture.add(rest)
    picture.fill(lambda: told.append((picture.levels[0] == 1).mean()), time.monotonic)
    assert told[-1] == 1
    assert picture.add([first])


def test_what_nobody_looks_at_any_more_is_not_read(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((64, 64), (1.0, 1.0))
    store_of(tmp_path, grid, np.full((1, 64, 64), 255, np.uint8), (32, 32))
    picture = MaskPicture(tmp_path / "mask.zarr", view_on(grid), 0.5)
    picture.add(picture.boxes())
    picture.drop()
    picture.fill(lambda: None, time.monotonic)
    assert (picture.levels[0] == UNSEEN).all()


def test_a_lost_chunk_is_an_error(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((64, 64), (1.0, 1.0))
    store = store_of(tmp_path, grid, np.ones((1, 64, 64), np.uint8), (32, 32))
    store.finish()
    picture = MaskPicture(tmp_path / "mask.zarr", view_on(grid), 0.5)
    box = picture.boxes()[0]
    (store.folder / "c/0/0/0").unlink()
    with pytest.raises(InputRefusedError, match="are lost"):
        picture.draw(box)


def test_a_mask_that_lies_aslant_is_refused(tmp_path: Path) -> None:
    grid = Grid.axis_aligned((64, 64), (1.0, 1.0))
    affine = np.array(grid.affine)
    affine[:2, :2] = affine[:2, :2] @ np.asarray([[0.8, -0.6], [0.6, 0.8]])
    store_of(tmp_path, Grid(grid.shape, affine, grid.unit), np.zeros((1, 64, 64), np.uint8), (64, 64))
    with pytest.raises(InputRefusedError, match="aslant"):
        MaskPicture(tmp_path / "mask.zarr", view_on(grid), 0.5)


def test_background_is_clear_classes_are_coloured_and_the_unseen_is_veiled() -> None:
    table = colours_of(2, ("#FF0000", "#0000FF"), 0.5)
    assert table[0, 3] == 0
    np.testing.assert_allclose(table[1], (1, 0, 0, 0.5))
    np.testing.assert_allclose(table[2], (0, 0, 1, 0.5))
    assert table[3:UNSEEN, 3].max() == 0
    assert 0 < table[UNSEEN, 3] < 1
