from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from dicom_phantom import mammogram, write

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import Image, open_image

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = np.arange(12 * 8, dtype=np.uint16).reshape(12, 8) * 40


def opened(folder: Path, photometric: str = "MONOCHROME2", **fields: object) -> Image:
    dataset = mammogram(PIXELS, photometric)
    for name, value in fields.items():
        setattr(dataset, name, value)
    return open_image(next(write(folder, [dataset]).iterdir()))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_stored_values_are_never_changed(tmp_path: Path, photometric: str) -> None:
    image = opened(tmp_path, photometric)
    assert (image.kind, image.modality) == ("mammogram", "MG")
    assert np.array_equal(np.asarray(image.levels[0]), PIXELS)
    assert image.details["photometric"] == photometric
    assert (image.details["laterality"], image.details["view"]) == ("L", "MLO")


@pytest.mark.parametrize(
    ("fields", "spacing", "source"),
    [
        ({}, None, "unknown"),
        ({"ImagerPixelSpacing": [0.1, 0.07]}, (0.1, 0.07), "detector"),
        ({"PixelSpacing": [0.1, 0.1], "ImagerPixelSpacing": [0.1, 0.1]}, (0.1, 0.1), "detector"),
        ({"PixelSpacing": [0.09, 0.09], "ImagerPixelSpacing": [0.1, 0.1]}, (0.09, 0.09), "calibrated"),
        (
            {"ImagerPixelSpacing": [0.1, 0.1], "EstimatedRadiographicMagnificationFactor": 1.6},
            (0.0625, 0.0625),
            "magnified",
        ),
    ],
)
def test_the_pixel_size_says_which_one_it_is(
    tmp_path: Path, fields: dict[str, Any], spacing: tuple[float, float] | None, source: str
) -> None:
    image = opened(tmp_path, **fields)
    assert image.details["spacing_source"] == source
    assert image.grid.unit == ("mm" if spacing else "px")
    if spacing:
        assert image.grid.spacing == pytest.approx(spacing)
    else:
        assert [w.code for w in image.warnings] == ["unknown-spacing"]


def test_the_window_is_stated_in_stored_values(tmp_path: Path) -> None:
    image = opened(tmp_path, RescaleSlope=2, RescaleIntercept=100, WindowCenter=1100, WindowWidth=400)
    assert image.window == (400, 600)
    assert image.details["rescale_not_applied"] == [2.0, 100.0]


def test_several_views_make_no_volume(tmp_path: Path) -> None:
    first, second = mammogram(PIXELS), mammogram(PIXELS)
    second.SeriesInstanceUID = first.SeriesInstanceUID
    with pytest.raises(ImageRefusedError) as caught:
        open_image(write(tmp_path, [first, second]))
    assert caught.value.code == "several-images"


def test_an_unread_photometric_interpretation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageRefusedError) as caught:
        opened(tmp_path, "PALETTE COLOR")
    assert caught.value.code == "photometric"


def test_planar_affine_maps_index_to_world(tmp_path: Path) -> None:
    affine = np.asarray(opened(tmp_path, ImagerPixelSpacing=[0.1, 0.07]).as_json()["affine"])
    assert affine @ [0, 3, 5, 1] == pytest.approx([0.35, 0.3, 0, 1])
