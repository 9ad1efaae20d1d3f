"""A pixel size that a person states, of images whose headers state none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_medlab.errors import ImageRefusedError, InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Decisions, Image, open_image
from napari_medlab.images.image import ImageWarning
from napari_medlab.images.stated_size import STATED, with_stated_size
from napari_medlab.images.writers import write_image
from napari_medlab.models.bundles import find_bundle

if TYPE_CHECKING:
    from pathlib import Path

EIGHT = Decisions(pixel_size_um=8.0)
NO_PIXELS = np.zeros((4, 6), np.uint16)


def tile(path: Path, side: int = 40) -> Path:
    from PIL import Image as Pictures

    Pictures.fromarray(np.random.default_rng(3).integers(0, 255, (side, side + 8, 3), np.uint8)).save(path)
    return path


def test_a_picture_opens_at_the_size_that_is_stated(tmp_path: Path) -> None:
    image = open_image(tile(tmp_path / "tile.png"), EIGHT)
    assert (image.kind, image.grid.unit, image.grid.shape) == ("photo", "um", (40, 48))
    assert image.grid.to_world((2, 3)) == pytest.approx((24.0, 16.0))
    assert image.grid.spacing_mm == pytest.approx((0.008, 0.008))
    assert (image.decisions, image.details["spacing_source"]) == (EIGHT, STATED)
    assert image.decoded().shape == (40, 48, 3)


def test_levels_that_are_added_keep_the_size(tmp_path: Path) -> None:
    image = open_image(tile(tmp_path / "tile.png", 1100), EIGHT, pyramid=True)
    assert len(image.sources) == 2
    assert image.grid.spacing == pytest.approx((8.0, 8.0))


def test_a_model_for_a_pixel_size_reads_the_picture(tmp_path: Path) -> None:
    preprocessing = find_bundle("glomeruli").preprocessing
    path = tile(tmp_path / "tile.png")
    with pytest.raises(ImageRefusedError, match="no known pixel size") as caught:
        preprocessing.prepare(open_image(path))
    assert "--pixel-size" in caught.value.hint
    wanted = preprocessing.spacing_um
    assert wanted is not None
    prepared = preprocessing.prepare(open_image(path, EIGHT))
    assert prepared.grid.spacing == pytest.approx((wanted, wanted), rel=0.05)


def test_what_is_written_carries_the_size(tmp_path: Path) -> None:
    image = open_image(tile(tmp_path / "tile.png"), EIGHT)
    again = open_image(write_image(image, tmp_path / "tile.ome.tif"))
    assert again.grid.unit == "um"
    assert again.grid.spacing == pytest.approx((8.0, 8.0))


def test_a_header_that_states_a_size_is_not_overruled(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, NO_PIXELS, metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25})
    with pytest.raises(ImageRefusedError, match=r"states 0.25 × 0.5 µm a pixel") as caught:
        open_image(path, EIGHT)
    assert caught.value.code == "pixel-size"


def test_a_volume_is_refused() -> None:
    grid = Grid.axis_aligned((3, 4, 5), (1.0, 1.0, 1.0), unit="px")
    with pytest.raises(ImageRefusedError, match="is a volume") as caught:
        with_stated_size(Image.of_arrays([np.zeros((3, 4, 5), np.int16)], grid, decisions=EIGHT))
    assert caught.value.code == "pixel-size"


def test_a_radiograph_is_measured_in_millimetres_and_warns_no_more() -> None:
    grid = Grid.axis_aligned((4, 6), (1.0, 1.0), unit="px")
    warnings = (ImageWarning("unknown-spacing", "unknown"), ImageWarning("other", "stays"))
    stored = Image.of_arrays(
        [NO_PIXELS], grid, kind="mammogram", warnings=warnings, decisions=Decisions(pixel_size_um=70)
    )
    image = with_stated_size(stored)
    assert image.grid.unit == "mm"
    assert image.grid.spacing == pytest.approx((0.07, 0.07))
    assert image.warnings == warnings[1:]


@pytest.mark.parametrize("size", [0.0, -8.0, 0.001, 5000.0, math.nan, math.inf])
def test_sizes_that_no_pixel_has_are_refused(size: float) -> None:
    with pytest.raises(InputRefusedError, match="is outside") as caught:
        Decisions(pixel_size_um=size)
    assert caught.value.code == "pixel-size"


def test_it_is_recorded_as_json() -> None:
    assert EIGHT.as_json() == {"pixel_size_um": 8.0}
    assert Decisions.from_json(EIGHT.as_json()) == EIGHT
    with pytest.raises(InputRefusedError, match="pixel_size_um"):
        Decisions.from_json({"pixel_size_um": "8"})
