from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import pytest
import torch

from napari_medlab.models.detection.roi_align import align_over_levels, assign_levels, roi_align

if TYPE_CHECKING:
    from collections.abc import Sequence

FIRST = torch.zeros(1, dtype=torch.int64)


def ramp(shape: tuple[int, ...], axis: int) -> torch.Tensor:
    """Return a map (1, 1, …) that says at every cell where it is along one axis."""
    along = torch.arange(shape[axis], dtype=torch.float64)
    view = [-1 if other == axis else 1 for other in range(len(shape))]
    return along.view(view).expand(shape).unsqueeze(0).unsqueeze(0)


def value_at(maps: torch.Tensor, place: Sequence[float]) -> torch.Tensor:
    """Return the channels of a map (channel, …cells) at a place, one corner of its cell after the other."""
    cells = maps.shape[1:]
    if any(not -1 <= p <= n for p, n in zip(place, cells, strict=True)):
        return torch.zeros(len(maps), dtype=maps.dtype)
    held = [min(max(p, 0), n - 1) for p, n in zip(place, cells, strict=True)]
    total = torch.zeros(len(maps), dtype=maps.dtype)
    for corner in itertools.product((0, 1), repeat=len(place)):
        at = [min(math.floor(p) + step, n - 1) for p, step, n in zip(held, corner, cells, strict=True)]
        share = math.prod(
            p - math.floor(p) if step else 1 - (p - math.floor(p))
            for p, step in zip(held, corner, strict=True)
        )
        total += share * maps.movedim(0, -1)[tuple(at)]
    return total


def naive(
    features: torch.Tensor,
    boxes: torch.Tensor,
    images: torch.Tensor,
    bins: tuple[int, ...],
    stride: tuple[int, ...],
    points: int,
) -> torch.Tensor:
    """RoI align as the paper tells it: box by box, bin by bin, point by point."""
    dims = len(bins)
    pooled = torch.zeros(len(boxes), features.shape[1], *bins, dtype=features.dtype)
    for row, (box, image) in enumerate(zip(boxes.tolist(), images.tolist(), strict=True)):
        for place_of_bin in itertools.product(*map(range, bins)):
            for point in itertools.product(range(points), repeat=dims):
                share = [
                    (b + (p + 0.5) / points) / n for b, p, n in zip(place_of_bin, point, bins, strict=True)
                ]
                voxel = [box[axis] + (box[dims + axis] - box[axis]) * share[axis] for axis in range(dims)]
                place = [(v + 0.5) / s - 0.5 for v, s in zip(voxel, stride, strict=True)]
                pooled.movedim(1, -1)[(row, *place_of_bin)] += value_at(features[image], place) / points**dims
    return pooled


@pytest.mark.parametrize(("dims", "points"), [(2, 1), (2, 3), (3, 2)])
def test_is_what_going_point_by_point_gives(dims: int, points: int) -> None:
    generator = torch.Generator().manual_seed(dims + points)
    cells, bins, stride = (5, 7, 4)[:dims], (3, 2, 2)[:dims], (4, 2, 1)[:dims]
    features = torch.randn(2, 3, *cells, generator=generator, dtype=torch.float64)
    extent = torch.tensor([n * s for n, s in zip(cells, stride, strict=True)])
    corners = (torch.rand(6, 2, dims, generator=generator, dtype=torch.float64) * 1.6 - 0.3) * extent
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    images = torch.tensor([0, 1, 1, 0, 1, 0])
    expected = naive(features, boxes, images, bins, stride, points)
    torch.testing.assert_close(
        roi_align(features, boxes, images, bins, stride, points), expected, atol=1e-12, rtol=0
    )


def test_a_constant_map_stays_constant() -> None:
    boxes = torch.tensor([[1.3, 2.2, 9.9, 14.1], [-0.5, -0.5, 15.5, 15.5]])
    pooled = roi_align(
        torch.full((1, 2, 4, 4), 7.0), boxes, torch.zeros(2, dtype=torch.int64), (3, 3), (4, 4)
    )
    torch.testing.assert_close(pooled, torch.full((2, 2, 3, 3), 7.0))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_ramp_gives_the_place_of_each_bins_middle(dims: int) -> None:
    box = torch.tensor([[3.0, 2.0, 1.0][:dims] + [9.0, 8.0, 7.0][:dims]], dtype=torch.float64)
    for axis in range(dims):
        pooled = roi_align(ramp((12,) * dims, axis), box, FIRST, (3,) * dims, (1,) * dims)
        start = float(box[0, axis])
        expected = ramp((3,) * dims, axis) * 2 + start + 1  # bins of 2 voxels: middles at start + 1, + 3, + 5
        torch.testing.assert_close(pooled, expected)


def test_a_box_around_one_pixel_gives_that_pixel() -> None:
    pixels = torch.arange(20.0).view(1, 1, 4, 5)
    pooled = roi_align(pixels, torch.tensor([[1.5, 2.5, 2.5, 3.5]]), FIRST, (1, 1), (1, 1), points=1)
    assert float(pooled) == float(pixels[0, 0, 2, 3])


def test_the_middle_of_a_cell_of_four_pixels_is_a_half_pixel_off_its_second() -> None:
    """Cell 1 of stride 4 covers pixels 4 … 7, thus 3.5 … 7.5, and its middle is 5.5."""
    maps, box = torch.tensor([[[[10.0, 20.0, 30.0]]]]), torch.tensor([[-0.5, 3.5, 3.5, 7.5]])
    pooled = roi_align(maps, box, FIRST, (1, 1), (4, 4), points=1)
    assert float(pooled) == 20.0


def test_what_lies_beyond_the_border_by_more_than_a_cell_counts_as_nothing() -> None:
    """Of four bins of 2 pixels the first two lie at -3.5 and -1.5, the others at 0.5 and 2.5."""
    pooled = roi_align(
        torch.ones(1, 1, 6, 6), torch.tensor([[1.0, -4.5, 3.0, 3.5]]), FIRST, (1, 4), (1, 1), points=1
    )
    assert pooled.flatten().tolist() == [0, 0, 1, 1]


def test_gradients_reach_the_map_and_are_those_of_finite_differences() -> None:
    features = torch.randn(
        1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    boxes = torch.tensor([[0.3, 0.2, 5.1, 6.2], [3.1, 2.2, 9.9, 5.5]], dtype=torch.float64)
    images = torch.zeros(2, dtype=torch.int64)
    assert torch.autograd.gradcheck(lambda maps: roi_align(maps, boxes, images, (2, 2), (2, 2)), (features,))


def test_no_box_gives_no_features() -> None:
    pooled = roi_align(
        torch.ones(2, 3, 4, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (2, 2), (2, 2)
    )
    assert pooled.shape == (0, 3, 2, 2)


def test_boxes_of_224_pixels_go_to_the_canonical_level_and_half_as_large_ones_one_below() -> None:
    sides = torch.tensor([[224.0, 224.0], [112, 112], [448, 112], [223, 223], [20, 20], [4000, 4000]])
    boxes = torch.cat([torch.zeros(6, 2), sides], dim=1)
    assert assign_levels(boxes, levels=4).tolist() == [2, 1, 2, 1, 0, 3]


def test_in_3d_the_geometric_mean_of_the_sides_decides() -> None:
    boxes = torch.tensor([[0, 0, 0, 8.0, 16, 32], [0, 0, 0, 8, 8, 8]])
    assert assign_levels(boxes, levels=3, canonical_size=16, canonical_level=1).tolist() == [1, 0]


def test_each_box_is_cut_from_its_own_level() -> None:
    maps = [torch.full((2, 1, 16, 16), 1.0), torch.full((2, 1, 8, 8), 2.0)]
    maps[1][1] += 10
    boxes = torch.tensor([[0.0, 0, 8, 8], [2, 2, 20, 20], [1, 1, 30, 30]])
    pooled = align_over_levels(
        maps, [(2, 2), (4, 4)], boxes, torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]), (2, 2)
    )
    assert pooled.shape == (3, 1, 2, 2)
    assert pooled.mean(dim=(1, 2, 3)).tolist() == [1, 12, 2]
