"""Real files, as their origin describes them."""

from __future__ import annotations

import tarfile
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.errors import ImageRefusedError
from napari_medlab.images import open_image

if TYPE_CHECKING:
    from pathlib import Path


def test_a_real_chest_ct_whose_names_are_not_in_order(test_data: Path, tmp_path: Path) -> None:
    with tarfile.open(next((test_data / "ct_lung").glob("*.tar.xz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    image = open_image(tmp_path)
    assert image.shape == (99, 512, 512)
    assert image.dtype == np.int16
    assert image.grid.spacing == pytest.approx((3.0, 0.564453125, 0.564453125))
    assert image.grid.to_world((0, 0, 0))[2] == pytest.approx(-288)
    assert image.grid.to_world((98, 0, 0))[2] == pytest.approx(6)
    middle = np.asarray(image.levels[0][49])
    assert middle.min() >= -1024
    assert -900 < np.median(middle) < 100


def test_dicom_and_nifti_agree_about_where_the_body_is(test_data: Path) -> None:
    folder = test_data / "ct_body"
    scan = open_image(folder / "example_ct_dicom")
    labels = open_image(folder / "example_seg_dicom.nii.gz").oriented()
    assert scan.grid.shape == labels.grid.shape
    assert np.allclose(scan.grid.affine, labels.grid.affine, atol=1e-3)
    voxels, label_map = np.asarray(scan.levels[0]), np.asarray(labels.levels[0])
    means = {label: round(float(voxels[label_map == label].mean()), 1) for label in (1, 5, 20)}
    assert means == {1: 79.6, 5: 89.3, 20: -563.1}
    flipped = float(voxels[:, ::-1][label_map == 20].mean())
    assert abs(flipped - -563.1) > 100


def test_lossless_syntaxes_decode_to_the_same_voxels(test_data: Path) -> None:
    files = sorted(p for p in (test_data / "dicom_syntaxes").iterdir() if "JPEGProcess6_8" not in p.name)
    volumes = [np.asarray(open_image(path).levels[0]) for path in files]
    assert len(volumes) == 7
    intercept = -1024
    stored = [volume - intercept for volume in volumes]
    assert (stored[0].min(), stored[0].max()) == (-2000, 2402)
    assert all(np.array_equal(stored[0], other) for other in stored[1:])


def test_a_syntax_that_nobody_decodes_is_one_clear_error(test_data: Path) -> None:
    path = next((test_data / "dicom_syntaxes").glob("*JPEGProcess6_8*"))
    with pytest.raises(ImageRefusedError) as caught:
        open_image(path)
    assert caught.value.code == "syntax"
    assert "Process 6" in caught.value.message


@pytest.mark.parametrize(
    ("name", "kind", "shapes", "spacing"),
    [
        ("cmu-1-small-region.svs", "slide", [(2967, 2220)], (0.499, 0.499)),
        ("tcga-cr-7395-01a-01-ts1.svs", "slide", [(3567, 4443), (1783, 2221)], None),
        ("kidney-48-5.tif", "photo", [(901, 1493)], None),
        ("boxes.tiff", "slide", [(250, 300), (125, 150), (62, 75), (31, 37)], None),
        ("dataset.ome.tif", "slide", [(50, 50)], None),
    ],
)
def test_real_slides(
    test_data: Path,
    name: str,
    kind: str,
    shapes: list[tuple[int, int]],
    spacing: tuple[float, float] | None,
) -> None:
    image = open_image(test_data / "slides" / name)
    assert image.kind == kind
    assert [level.shape[:2] for level in image.levels] == shapes
    assert (image.grid.spacing if image.grid.unit == "um" else None) == spacing
    corner = np.asarray(image.levels[-1][-20:, -30:])
    assert corner.shape == (20, 30, 3)
    assert corner.min() != corner.max() or name == "boxes.tiff"


def test_opening_a_large_pyramid_costs_little(test_data: Path) -> None:
    path = test_data / "slides" / "yb10kx5k.zstd.tiff"
    open_image(path)  # the readers themselves are loaded here
    tracemalloc.start()
    image = open_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(image.levels) == 5
    assert image.shape == (5000, 10000, 3)
    assert peak < 1 << 20
    assert np.asarray(image.levels[0][2000:2010, 3000:3010]).shape == (10, 10, 3)


def test_real_tiles_open_as_photos(test_data: Path) -> None:
    for folder in ("images", "masks"):
        path = next((test_data / "glomeruli" / folder).iterdir())
        assert np.asarray(open_image(path).levels[0]).shape[:2] == (256, 256)
