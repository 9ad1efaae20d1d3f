"""Uneven, shifted and tilted series: refused with what can be decided, and opened as decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_phantom import Series, truth, worst_error, write

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Decisions
from napari_medlab.images.opening import open_here

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.images import Image

RESAMPLE = Decisions(uneven="resample")


def stack(folder: Path, heights: Sequence[float], sideways: Sequence[float] = ()) -> Path:
    """Write slices at heights (z, mm), moved along y."""
    series = Series()
    by = list(sideways) or [0.0] * len(heights)
    places = [np.add(series.origin, (0, y, z)) for z, y in zip(heights, by, strict=True)]
    return write(folder, [series.slice(n, place) for n, place in enumerate(places)])


def refusal(folder: Path) -> ImageRefusedError:
    with pytest.raises(ImageRefusedError) as caught:
        open_here(folder)
    return caught.value


def heights(image: Image) -> list[float]:
    """Return where the planes lie, counted from the series' origin."""
    z = image.grid.to_world([(n, 0, 0) for n in range(image.shape[0])])[:, 2]
    return [round(float(height) + 40.0, 4) for height in z]


def codes(image: Image) -> list[str]:
    return [warning.code for warning in image.warnings]


@pytest.mark.parametrize(
    ("places", "blocks"),
    [
        ([0, 2, 4, 9, 11, 13, 15], [[0, 2, 4], [9, 11, 13, 15]]),
        ([0, 1, 2, 3, 5.5, 8, 10.5], [[0, 1, 2, 3], [5.5, 8, 10.5]]),
        ([0, 10, 13, 16], [[10, 13, 16]]),
        ([0, 2, 4, 6, 20], [[0, 2, 4, 6]]),
        ([0, 2, 4, 7, 12, 14, 16], [[0, 2, 4], [12, 14, 16]]),
    ],
)
def test_even_blocks_are_offered_and_opened(
    tmp_path: Path, places: list[float], blocks: list[list[float]]
) -> None:
    folder = stack(tmp_path, places)
    error = refusal(folder)
    assert error.code == "gap"
    *split, resample = error.options
    assert [option.title.split(",")[0] for option in split] == [
        f"{len(block)} slices from {block[0] - 40:.2f} to {block[-1] - 40:.2f} mm" for block in blocks
    ]
    single = len(places) - sum(map(len, blocks))
    assert ("leaves out" in error.hint) == bool(single)
    for option, block in zip(split, blocks, strict=True):
        image = open_here(folder, Decisions.from_json(option.decisions))
        assert heights(image) == block
        assert worst_error(image) <= 0.5
        assert codes(image) == ["split"]
        assert f"{single} of which" in image.warnings[0].message
    assert Decisions.from_json(resample.decisions) == RESAMPLE


def test_first_and_last_slice_stay_where_they_were(tmp_path: Path) -> None:
    image = open_here(stack(tmp_path, [0, 2, 4, 5.9, 8.2, 10.1]), RESAMPLE)
    assert heights(image) == [0, 2.02, 4.04, 6.06, 8.08, 10.1]
    assert worst_error(image) <= 1
    assert image.decisions == RESAMPLE
    assert "6 slices were interpolated linearly onto 6 planes every 2.0200 mm" in image.lineage[0]
    assert codes(image) == ["resampled"]


def test_what_is_invented_is_said(tmp_path: Path) -> None:
    image = open_here(stack(tmp_path, [0, 2, 4, 6, 13, 15, 17]), RESAMPLE)
    invented = next(warning for warning in image.warnings if warning.code == "invented")
    assert "-34.00 to -27.00 mm" in invented.message


def test_slices_at_their_own_height_are_not_blurred(tmp_path: Path) -> None:
    image = open_here(stack(tmp_path, [0, 2, 4, 8, 10]), RESAMPLE)
    original = open_here(stack(tmp_path / "even", [0, 2, 4]))
    assert np.array_equal(image.arrays[0][:3], original.arrays[0][...])


def test_a_tilted_series_is_put_upright_without_losing_a_pixel(tmp_path: Path) -> None:
    lean = [0.66 * n for n in range(8)]
    folder = stack(tmp_path, [2.5 * n for n in range(8)], lean)
    error = refusal(folder)
    assert error.code == "tilt"
    assert [option.title for option in error.options] == ["All 8 slices, interpolated onto a straight grid"]
    image = open_here(folder, Decisions.from_json(error.options[0].decisions))
    assert image.grid.is_orthogonal
    assert image.shape == (8, 9 + int(np.ceil(lean[-1] / 0.8)), 7)
    assert codes(image) == ["resampled", "filled"]
    pixels = np.asarray(image.arrays[0], float)
    scanned = pixels > -1024
    assert scanned.sum(axis=(1, 2)).min() >= 8 * 7
    expected = truth(image.grid.to_world(np.moveaxis(np.indices(image.grid.shape), 0, -1)))
    assert np.abs(pixels - expected)[scanned].max() <= 1


def test_the_background_is_the_padding_value_where_there_is_one(tmp_path: Path) -> None:
    series = Series()
    slices = [series.slice(n, np.add(series.position(n), (0, 0.66 * n, 0))) for n in range(4)]
    for each in slices:
        each.PixelPaddingValue = 24
    image = open_here(write(tmp_path, slices), RESAMPLE)
    assert image.arrays[0][...].min() == -1000


def test_a_slice_beside_the_line_can_be_moved_back_or_left_out(tmp_path: Path) -> None:
    folder = stack(tmp_path, [0, 2, 4, 6, 8, 10], [0, 0, 0, 0.9, 0, 0])
    error = refusal(folder)
    assert error.code == "shift"
    assert [option.decisions for option in error.options] == [
        {"uneven": "split"}, {"uneven": "split", "block": 1}, {"uneven": "resample"},
    ]  # fmt: skip
    image = open_here(folder, RESAMPLE)
    inside = np.asarray(image.arrays[0], float)[:, 2:9]
    index = np.moveaxis(np.indices(image.grid.shape), 0, -1)[:, 2:9]
    assert np.abs(inside - truth(image.grid.to_world(index))).max() <= 1


def test_positions_that_are_damaged_are_not_interpolated(tmp_path: Path) -> None:
    folder = stack(tmp_path, [0, 0.02, 0.04, 0.06, 5000])
    error = refusal(folder)
    assert [option.decisions for option in error.options] == [{"uneven": "split"}]
    with pytest.raises(ImageRefusedError) as caught:
        open_here(folder, RESAMPLE)
    assert caught.value.code == "gap"


def test_an_even_series_is_not_touched_by_the_choice(tmp_path: Path) -> None:
    image = open_here(stack(tmp_path, [0, 2, 4, 6]), RESAMPLE)
    assert image.lineage == ()
    assert worst_error(image) <= 0.5
