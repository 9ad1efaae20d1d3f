from __future__ import annotations

import pytest
import torch

from napari_medlab.models.detection.anchors import AnchorGrid
from napari_medlab.models.detection.boxes import area, centres, sizes


def test_two_cells_of_one_anchor_worked_by_hand() -> None:
    """Cells of 4 voxels span -0.5 … 3.5 and 3.5 … 7.5: their middles are 1.5 and 5.5."""
    grid = AnchorGrid([4], [1.0], [4])
    assert grid.anchors([(1, 2)], (4, 8)).tolist() == [[-0.5, -0.5, 3.5, 3.5], [-0.5, 3.5, 3.5, 7.5]]


def test_a_ratio_is_height_over_width_at_the_same_area() -> None:
    anchors = AnchorGrid([8], [0.2, 1.0, 5.0], [8]).anchors([(1, 1)], (8, 8))
    assert area(anchors).tolist() == pytest.approx([64, 64, 64])
    height, width = sizes(anchors).unbind(dim=1)
    assert (height / width).tolist() == pytest.approx([0.2, 1, 5])


def test_a_ratio_in_3d_is_that_of_z_to_the_others_at_the_same_volume() -> None:
    anchors = AnchorGrid([6], [0.5], [4], spatial_dims=3).anchors([(1, 1, 1)], (4, 4, 4))
    z, y, x = sizes(anchors)[0].tolist()
    assert (z / y, z * y * x) == pytest.approx((0.5, 216))
    assert y == pytest.approx(x)


def test_a_shape_is_the_sides_in_units_of_the_size() -> None:
    """As the base shapes and scales of MONAI's lung nodule detector."""
    grid = AnchorGrid([1, 2], [(6, 8, 4), (8, 6, 5)], [1, 2], spatial_dims=3)
    anchors = grid.anchors([(2, 2, 2), (1, 1, 1)], (2, 2, 2))
    assert sizes(anchors)[:2].tolist() == [[6, 8, 4], [8, 6, 5]]
    assert sizes(anchors)[-2:].tolist() == [[12, 16, 8], [16, 12, 10]]


def test_anchors_come_level_by_level_and_cell_by_cell() -> None:
    grid = AnchorGrid([(4, 5), (8, 10)], [1.0, 2.0], [4, 8])
    anchors = grid.anchors([(2, 2), (1, 1)], (8, 8))
    assert grid.per_cell == 4
    assert anchors.shape == (4 * 4 + 4, 4)
    expected = [1.5, 1.5] * 4 + [1.5, 5.5] * 4
    assert centres(anchors)[:8].flatten().tolist() == pytest.approx(expected, abs=1e-5)
    assert sizes(anchors)[::2][:2, 0].tolist() == pytest.approx([4, 5])


def test_strides_may_differ_between_axes_or_follow_from_the_maps() -> None:
    given = AnchorGrid([4], [1.0], [(1, 4, 4)], spatial_dims=3)
    derived = AnchorGrid([4], [1.0], spatial_dims=3)
    shapes, image = [(3, 2, 2)], (3, 8, 8)
    assert torch.equal(given.anchors(shapes, image), derived.anchors(shapes, image))
    assert centres(given.anchors(shapes, image))[-1].tolist() == [2, 5.5, 5.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sizes": [(4, 5), (8,)], "strides": [4, 8]}, "as many sizes"),
        ({"sizes": [4, 8], "strides": [4]}, "2 levels of sizes, but 1 strides"),
        ({"sizes": [4], "ratios": [0.0]}, "positive"),
        ({"sizes": [4], "ratios": [(1, 2, 3)]}, "2 positive numbers"),
    ],
)
def test_grids_that_make_no_sense_are_refused(arguments: dict[str, list[object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnchorGrid(**arguments)  # type: ignore[arg-type]


def test_maps_have_to_be_as_many_as_levels() -> None:
    with pytest.raises(ValueError, match="1 levels, but there are 2 maps"):
        AnchorGrid([4], [1.0], [4]).anchors([(1, 1), (1, 1)], (4, 4))
