from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_medlab.errors import ImageRefusedError, InputRefusedError
from napari_medlab.geometry import Grid, resample
from napari_medlab.images import Image
from napari_medlab.models.classification.classifier import CubeSettings, judge, look_of
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.inference.prepared import Prepared
from napari_medlab.models.networks import build_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.classification.cubes import CubeSource

WINDOW = (-1000.0, 400.0)


def volume(seed: int = 0) -> tuple[NDArray[np.float32], Grid]:
    shape, spacing = (14, 30, 26), (2.5, 0.7, 0.9)
    grid = Grid.axis_aligned(shape, spacing, (-10.0, 20.0, -300.0))
    return np.random.default_rng(seed).normal(-400, 300, shape).astype(np.float32), grid


def whole_then_cut(
    array: NDArray[np.float32], grid: Grid, centre: Sequence[float], spacing: float, shape: Sequence[int]
) -> NDArray[np.float32]:
    affine = np.array(grid.affine)
    ratio = spacing / np.asarray(grid.spacing)
    affine[:3, :3] *= ratio
    affine[:3, 3] = grid.to_world(grid.to_index(centre) - (np.asarray(shape) - 1) / 2 * ratio)
    low, high = WINDOW
    target = Grid(tuple(shape), affine)
    return (resample(np.clip(array, low, high), grid, target, fill=low) - low) / (high - low)


@pytest.mark.parametrize("spacing", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(7, 7, 7), (8, 6, 5)])
def test_a_cube_is_what_resampling_the_whole_volume_would_give(
    spacing: float, shape: tuple[int, ...]
) -> None:
    array, grid = volume()
    centres = grid.to_world([(6.5, 14, 13), (0.1, 0.2, 0.3), (12.9, 28.7, 24.8), (5.2, 20.7, 3.1)])
    cubes = cut_cubes((array, grid), centres, spacing, shape, WINDOW)
    assert cubes.shape == (4, 1, *shape)
    assert cubes.dtype == np.float32
    for cube, centre in zip(cubes, centres, strict=True):
        np.testing.assert_allclose(
            cube[0], whole_then_cut(array, grid, centre.tolist(), spacing, shape), atol=1e-5
        )


def test_a_voxel_lies_in_the_middle_of_its_cube() -> None:
    array, grid = np.zeros((9, 9, 9), np.float32), Grid.axis_aligned((9, 9, 9), (1, 1, 1))
    array[3, 4, 6] = 1
    odd = cut_cubes((array, grid), grid.to_world((3, 4, 6)), 1.0, (5, 5, 5))[0, 0]
    assert odd[2, 2, 2] == 1
    assert odd.sum() == 1
    even = cut_cubes((array, grid), grid.to_world((3.5, 3.5, 5.5)), 1.0, (4, 4, 4))[0, 0]
    assert even[1, 2, 2] == 1


def test_only_the_blocks_that_cubes_cover_are_read() -> None:
    read: list[tuple[list[int], list[int]]] = []

    class Watched:
        grid = Grid.axis_aligned((400, 400, 400), (1, 1, 1))
        channels = 2

        def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.float32]:
            read.append(([*start], [*stop]))
            return np.ones((2, *(b - a for a, b in zip(start, stop, strict=True))), np.float32)

    cubes = cut_cubes(Watched(), [(200.0, 100.0, 50.0), (-90.0, 0.0, 0.0)], 1.0, (10, 10, 10))
    assert cubes.shape == (2, 2, 10, 10, 10)
    assert cubes[0].min() == 1
    assert cubes[1].max() == 0
    ((start, stop),) = read
    assert all(b - a <= 16 for a, b in zip(start, stop, strict=True))


def test_turned_volumes_give_the_same_cubes() -> None:
    array, grid = volume()
    turned_grid = grid.reordered((2, 0, 1), (1, -1, -1))
    turned = np.ascontiguousarray(array.transpose(2, 0, 1)[:, ::-1, ::-1])
    centres = grid.to_world([(6, 14, 13), (3.3, 10, 20)])
    straight = cut_cubes((array, grid), centres, 1.0, (6, 6, 6), WINDOW)
    images = [Image.of_arrays([one], where) for one, where in ((array, grid), (turned, turned_grid))]
    sources: list[CubeSource] = [*images, (turned, turned_grid)]
    for source in sources:
        np.testing.assert_allclose(cut_cubes(source, centres, 1.0, (6, 6, 6), WINDOW), straight, atol=1e-5)


def test_what_is_prepared_already_is_taken_as_it_is() -> None:
    array, grid = volume()
    centres = grid.to_world([(6, 14, 13), (0.2, 29, 25)])
    prepared = Prepared.of_array(np.stack([array, 2 * array]), grid)
    cubes = cut_cubes(prepared, centres, 1.0, (6, 6, 6))
    assert cubes.shape == (2, 2, 6, 6, 6)
    np.testing.assert_allclose(cubes[:, 1], 2 * cubes[:, 0])
    np.testing.assert_allclose(cubes[:, :1], cut_cubes((array, grid), centres, 1.0, (6, 6, 6)), atol=1e-4)


def test_planar_arrays_give_squares() -> None:
    grid = Grid.axis_aligned((40, 40), (500.0, 500.0), unit="um")
    array = np.arange(1600, dtype=np.float32).reshape(40, 40)
    squares = cut_cubes((array, grid), grid.to_world([(20, 20)]), 0.5, (3, 3))
    np.testing.assert_allclose(squares[0, 0], array[19:22, 19:22], rtol=1e-6)


def test_what_cannot_be_cut_is_refused() -> None:
    array, grid = volume()
    with pytest.raises(InputRefusedError, match="is empty"):
        cut_cubes((array, grid), [(0, 0, 0)], 1.0, (4, 4, 4), (400, 400))
    pixels = Grid.axis_aligned((8, 8), (1, 1), unit="px")
    with pytest.raises(ImageRefusedError, match="pixel size"):
        cut_cubes((np.zeros((8, 8)), pixels), [(4.0, 4.0)], 1.0, (4, 4))
    photo = Image.of_arrays([np.zeros((8, 8), np.uint8)], pixels, kind="photo")
    with pytest.raises(InputRefusedError, match="photo; cubes are cut from volumes"):
        cut_cubes(photo, [(4.0, 4.0)], 1.0, (4, 4))


def test_no_candidate_gives_no_cube() -> None:
    array, grid = volume()
    assert cut_cubes((array, grid), np.zeros((0, 3)), 1.0, (4, 5, 6)).shape == (0, 1, 4, 5, 6)


def test_cancelling_leaves_between_cubes() -> None:
    array, grid = volume()

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        cut_cubes((array, grid), grid.to_world([(6, 14, 13)]), 1.0, (4, 4, 4), stop=stop)


@pytest.mark.parametrize("classes", [1, 3])
def test_judging_in_batches_is_judging_one_by_one(classes: int) -> None:
    torch.manual_seed(0)
    design = {"sides": [8], "channels": [4, 8], "classes": classes}
    network = build_network("cube-classifier", design).eval()
    array, grid = volume()
    centres = grid.to_world(np.random.default_rng(1).uniform(0, array.shape, (7, 3)))
    settings = CubeSettings(1.0, (8, 8, 8), WINDOW)
    together = judge(look_of(network), (array, grid), centres, settings, batch=3)
    alone = [judge(look_of(network), (array, grid), [centre], settings)[0] for centre in centres]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert ((together > 0) & (together < 1)).all()
    assert len(judge(look_of(network), (array, grid), np.zeros((0, 3)), settings)) == 0


def test_settings_come_back_from_the_bundle() -> None:
    settings = CubeSettings(1.0, (24, 24, 24), (-1000.0, 400.0), "arithmetic mean", 0.3)
    assert CubeSettings.from_json({**settings.as_json(), "network": {}}) == settings
    assert CubeSettings.from_json({"spacing_mm": 1, "shape": [24] * 3}) == CubeSettings(1.0, (24, 24, 24))
    assert settings.joined([0.5], [0.9])[0] == pytest.approx(0.7 * 0.5 + 0.3 * 0.9)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"spacing_mm": "x", "shape": [1]},
        {"spacing_mm": 1, "shape": 3},
        {"spacing_mm": 1, "shape": [1], "window": 3},
    ],
)
def test_settings_that_say_too_little_are_refused(value: dict[str, object]) -> None:
    with pytest.raises(InputRefusedError, match="what cubes it sees"):
        CubeSettings.from_json(value)
