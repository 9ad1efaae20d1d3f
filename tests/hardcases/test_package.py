from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.mining import Example
from napari_medlab.hardcases.package import CropSettings, read_package, write_package
from napari_medlab.images import Image

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SETTINGS = CropSettings(spacing_mm=1.5, shape=(12, 16, 14))
STEEPNESS = np.array([4.0, 7.0, 3.0])
"""The images are ramps: 4 x + 7 y + 3 z in world millimetres."""

GRIDS = {
    "upright": Grid.axis_aligned((30, 60, 64), (2.0, 0.8, 0.8), (-30.0, -20.0, -40.0)),
    # stored upside down and mirrored: the crop must not be
    "turned": Grid(
        (64, 60, 30), np.array([[-0.8, 0, 0, 30], [0, -0.8, 0, 20], [0, 0, 2.0, -20], [0, 0, 0, 1.0]])
    ),
}
FINDINGS = FindingTable.from_objects(
    [
        Finding("upright", (-5.0, 3.0, -10.0), 6.0, finding_id="middle"),
        Finding("upright", (-3.0, 6.0, -8.0), 4.5, is_excluded=True, finding_id="excluded"),
        Finding("upright", (18.0, 20.0, 15.0), 6.0, finding_id="elsewhere"),
        Finding("turned", (4.0, -6.0, 9.0), -1.0, finding_id="unknown size"),
    ]
)
EXAMPLES = [
    Example("upright", (-5.0, 3.0, -10.0), "miss", 1.0, "middle", "model wrong"),
    Example("turned", (5.0, -5.0, 8.0), "replay", 1.0, "unknown size"),
    Example("upright", (-2.0, 5.0, -9.0), "false positive", 1.0, "a candidate"),
]


def open_case(case_id: str) -> Image:

    grid = GRIDS[case_id]
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    volume = np.rint(grid.to_world(index) @ STEEPNESS).astype(np.int16)
    return Image.of_arrays([volume], grid, modality="CT", path=Path(case_id))


def written(folder: Path, examples: list[Example] | None = None) -> Path:
    done = list(
        write_package(folder, examples or EXAMPLES, FINDINGS, open_case, SETTINGS, {"model": {"name": "m", "hash": "h"}})
    )
    total = len(examples or EXAMPLES)
    assert done == [(number, total) for number in range(1, total + 1)]
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("packages") / "package")


def grid_of(record: dict[str, Any]) -> Grid:
    return Grid(SETTINGS.shape, np.asarray(record["affine"]))


def test_what_is_read_is_what_was_written(package: Path) -> None:
    manifest, crops = read_package(package)
    assert manifest["model"] == {"name": "m", "hash": "h"}
    assert manifest["crops"] == {"spacing_mm": 1.5, "shape": [12, 16, 14]}
    # examples of one case are cut together
    assert [crop.record["object_id"] for crop in crops] == ["middle", "a candidate", "unknown size"]
    first = crops[0].record
    assert (first["reason"], first["weight"], first["case_id"], first["verdict"]) == (
        "miss", 1.0, "upright", "model wrong",
    )  # fmt: skip
    assert all(crop.volume.dtype == np.int16 and crop.volume.shape == SETTINGS.shape for crop in crops)


def test_every_voxel_of_a_crop_shows_its_place_in_the_world(package: Path) -> None:
    for crop in read_package(package)[1]:
        grid = grid_of(crop.record)
        np.testing.assert_allclose(grid.to_world((np.asarray(grid.shape) - 1) / 2), crop.record["centre"])
        index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
        # rounded twice, in the image and in the crop
        np.testing.assert_allclose(crop.volume, grid.to_world(index) @ STEEPNESS, atol=1.01)


def test_boxes_are_where_the_findings_are(package: Path) -> None:
    by_object = {crop.record["object_id"]: crop.record for crop in read_package(package)[1]}
    record = by_object["middle"]
    boxes = {box["finding_id"]: box for box in record["boxes"]}
    assert set(boxes) == {"middle", "excluded"}
    assert not boxes["middle"]["ignored"]
    assert boxes["excluded"]["ignored"]
    assert boxes["middle"]["diameter"] == pytest.approx(4.0)
    np.testing.assert_allclose(boxes["middle"]["centre"], (5.5, 7.5, 6.5))
    world = grid_of(record).to_world(boxes["excluded"]["centre"])
    np.testing.assert_allclose(world, (-3.0, 6.0, -8.0))
    (unknown,) = by_object["unknown size"]["boxes"]
    assert unknown["diameter"] == pytest.approx(10 / 1.5)


def test_a_false_positive_beside_a_finding_is_neither_object_nor_background(package: Path) -> None:
    (record,) = [c.record for c in read_package(package)[1] if c.record["object_id"] == "a candidate"]
    (box,) = [box for box in record["boxes"] if not box["finding_id"]]
    assert box["ignored"]
    assert box["centre"] == [5.5, 7.5, 6.5]


def test_other_programs_see_the_same_geometry(package: Path) -> None:
    import nibabel
    import SimpleITK as sitk

    for crop in read_package(package)[1]:
        path, grid = package / crop.record["file"], grid_of(crop.record)
        by_itk = sitk.ReadImage(str(path))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(by_itk), crop.volume)
        by_nibabel: Any = nibabel.load(path)
        for z, y, x in ((0, 0, 0), (3, 5, 11), (11, 15, 13)):
            lps = grid.to_world((z, y, x))
            np.testing.assert_allclose(by_itk.TransformIndexToPhysicalPoint((x, y, z)), lps, atol=1e-4)
            ras = by_nibabel.affine @ (x, y, z, 1)
            np.testing.assert_allclose(ras[:3] * (-1, -1, 1), lps, atol=1e-4)
        np.testing.assert_allclose(by_nibabel.get_qform(), by_nibabel.get_sform(), atol=1e-4)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    with pytest.raises(InputRefusedError) as caught:
        written(tmp_path / "package")
    assert caught.value.code == "exists"
    assert list(tmp_path.iterdir()) == [tmp_path / "package"]


def test_a_package_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_second_time(case_id: str) -> Image:
        opened.append(case_id)
        if len(opened) > 1:
            raise OSError("the disk is gone")
        return open_case(case_id)

    with pytest.raises(OSError, match="the disk is gone"):
        list(write_package(tmp_path / "package", EXAMPLES, FINDINGS, open_second_time, SETTINGS, {}))
    assert list(tmp_path.iterdir()) == []


def test_an_empty_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        list(write_package(tmp_path / "package", [], FINDINGS, open_case, SETTINGS, {}))
    assert caught.value.code == "empty"


def flip_a_byte(folder: Path) -> None:
    path = folder / "crops" / "00001.nii.gz"
    payload = bytearray(path.read_bytes())
    payload[len(payload) // 2] ^= 1
    path.write_bytes(payload)


def edit_manifest(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return edit


def plant_false_crop(folder: Path) -> None:
    import hashlib

    (folder / "crops" / "00000.nii.gz").write_bytes(b"no gzip")
    digest = hashlib.sha256(b"no gzip").hexdigest()
    edit_manifest(lambda manifest: manifest["examples"][0].update(sha256=digest))(folder)


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        ("hash", flip_a_byte),
        ("path", edit_manifest(lambda manifest: manifest["examples"][0].update(file="../../etc/hostname"))),
        ("path", edit_manifest(lambda manifest: manifest["examples"][0].update(file="/etc/hostname"))),
        ("package", edit_manifest(lambda manifest: manifest["examples"][0].pop("file"))),
        ("package", edit_manifest(lambda manifest: manifest.pop("examples"))),
        ("package", edit_manifest(lambda manifest: manifest["examples"][0].update(file=7))),
        ("package", lambda folder: (folder / "crops" / "00002.nii.gz").unlink()),
        ("package", lambda folder: (folder / "manifest.json").unlink()),
        ("package", lambda folder: (folder / "manifest.json").write_text("[")),
        ("package", lambda folder: (folder / "manifest.json").write_bytes(b"\xff\xfe")),
        ("package", plant_false_crop),
    ],
)
def test_a_package_that_was_changed_is_refused(tmp_path: Path, code: str, damage: Callable[[Path], object]) -> None:
    folder = written(tmp_path / "package")
    damage(folder)
    with pytest.raises(InputRefusedError) as caught:
        read_package(folder)
    assert caught.value.code == code


def test_the_part_of_a_crop_beyond_the_image_is_its_least_value(tmp_path: Path) -> None:
    corner: NDArray[np.float64] = GRIDS["upright"].to_world((0, 0, 0))
    folder = written(tmp_path / "package", [Example("upright", tuple(corner.tolist()), "replay", 1.0)])
    (crop,) = read_package(folder)[1]
    least = np.asarray(open_case("upright").levels[0]).min()
    assert (crop.volume[:5] == least).all()
    assert (crop.volume[6:, 8:, 7:] > least).any()
