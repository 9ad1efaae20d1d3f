"""What ``napari-medlab convert`` writes, what it says where, and what it refuses."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pictures

from napari_medlab.cli.main import main
from napari_medlab.images import Decisions, open_here

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

FORMATS = (".nii", ".nii.gz", ".mha", ".ome.tif", ".zarr")


@pytest.fixture
def dicom(repository: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return what writes DICOM series for the tests of images."""
    monkeypatch.syspath_prepend(repository / "tests" / "images")
    return importlib.import_module("dicom_phantom")


def gapped(dicom: ModuleType, folder: Path, heights: tuple[float, ...] = (0, 2, 4, 9, 11, 13, 15)) -> Path:
    series = dicom.Series()
    places = [np.add(series.origin, (0, 0, height)) for height in heights]
    written: Path = dicom.write(folder, [series.slice(number, place) for number, place in enumerate(places)])
    return written


def oblique(path: Path) -> NDArray[np.int16]:
    """Write a volume whose slices are tilted by 15 degrees."""
    import nibabel

    voxels = np.arange(6 * 5 * 4, dtype=np.int16).reshape(6, 5, 4) - 40
    tilt = np.radians(15)
    axes = np.array([[-1, 0, 0], [0, -np.cos(tilt), np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * (0.7, 0.8, 2.5), (12, 34, -56)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    return voxels


def converted(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Run the verb and return its status, the one document on standard output, and what came on the other."""
    status = main(["convert", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    return status, json.loads(line), captured.err


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_is_written_lies_where_the_source_lies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    voxels = oblique(tmp_path / "a.nii")
    status, document, told = converted(capsys, tmp_path / "a.nii", tmp_path / f"out{suffix}")
    assert status == 0
    (written,) = document["written"]
    assert written == {"path": str(tmp_path / f"out{suffix}"), "shape": [4, 5, 6], "decisions": {}, "lineage": [],
                       "warnings": written["warnings"]}  # fmt: skip
    assert f"writing out{suffix}" in told
    again, source = open_here(tmp_path / f"out{suffix}"), open_here(tmp_path / "a.nii")
    np.testing.assert_array_equal(again.arrays[0][...], voxels.T)
    if suffix in (".nii", ".nii.gz", ".mha"):
        np.testing.assert_allclose(again.grid.affine, source.grid.affine, atol=1e-4)
    else:  # these have no place for where a patient lies
        assert again.grid.spacing == pytest.approx(source.grid.spacing, rel=1e-5)


def test_others_read_the_same_geometry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dicom: ModuleType
) -> None:
    import nibabel
    import SimpleITK as sitk

    folder = dicom.series_in(tmp_path / "ct")
    source = open_here(folder)
    for suffix in (".nii.gz", ".mha"):
        assert converted(capsys, folder, tmp_path / f"out{suffix}")[0] == 0
    corner, opposite = (0, 0, 0), tuple(size - 1 for size in source.shape)
    nifti = nibabel.Nifti1Image.from_filename(tmp_path / "out.nii.gz")
    meta = sitk.ReadImage(str(tmp_path / "out.mha"))
    truth = np.asarray(source.arrays[0])
    for z, y, x in (corner, opposite, (2, 3, 4)):
        world = source.grid.to_world((z, y, x))
        ras = nifti.affine @ (x, y, z, 1)
        np.testing.assert_allclose(ras[:3] * (-1, -1, 1), world, atol=1e-3)
        np.testing.assert_allclose(meta.TransformIndexToPhysicalPoint((x, y, z)), world, atol=1e-3)
        assert float(nifti.dataobj[x, y, z]) == meta.GetPixel(x, y, z) == truth[z, y, x]


def test_a_photo_becomes_a_tiff_and_not_a_nifti(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 250, (30, 40, 3)).astype(np.uint8)
    Pictures.fromarray(pixels).save(tmp_path / "a.png")
    assert converted(capsys, tmp_path / "a.png", tmp_path / "a.ome.tif")[0] == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.ome.tif"), pixels)
    status, document, _ = converted(capsys, tmp_path / "a.png", tmp_path / "a.nii")
    assert status == 3
    assert document["error"]["hint"]
    assert not (tmp_path / "a.nii").exists()


@pytest.mark.parametrize(("version", "marker"), [("0.4", ".zattrs"), ("0.5", "zarr.json")])
def test_the_version_of_ome_zarr_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str, marker: str
) -> None:
    oblique(tmp_path / "a.nii")
    assert converted(capsys, tmp_path / "a.nii", tmp_path / "a.zarr", "--ome-zarr", version)[0] == 0
    assert (tmp_path / "a.zarr" / marker).is_file()


def test_one_series_of_a_folder_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dicom: ModuleType
) -> None:
    short, long = dicom.Series(count=4), dicom.Series(count=7)
    for series in (short, long):
        dicom.write(tmp_path / "ct", series.slices())
    status, document, _ = converted(capsys, tmp_path / "ct", tmp_path / "a.mha")
    assert status == 3
    assert not (tmp_path / "a.mha").exists()
    for series in (short, long):
        out = tmp_path / f"{series.count}.mha"
        status, document, _ = converted(capsys, tmp_path / "ct", out, "--series", series.uid)
        assert status == 0
        assert document["written"][0]["shape"][0] == series.count
        assert document["written"][0]["decisions"] == {"series_uid": series.uid}
        assert dicom.worst_error(open_here(out)) <= 0.5
    assert converted(capsys, tmp_path / "ct", tmp_path / "no.mha", "--series", "1.2.3")[0] == 3


def test_one_volume_of_a_time_series_is_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import nibabel

    voxels = np.arange(5 * 4 * 3 * 3, dtype=np.int16).reshape(5, 4, 3, 3)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.0, -1.0, 2.0, 1.0])), tmp_path / "a.nii")
    assert converted(capsys, tmp_path / "a.nii", tmp_path / "b.nii")[0] == 3
    assert converted(capsys, tmp_path / "a.nii", tmp_path / "b.nii", "--phase", "1")[0] == 0
    np.testing.assert_array_equal(
        np.asarray(nibabel.Nifti1Image.from_filename(tmp_path / "b.nii").dataobj), voxels[..., 1]
    )
    for phase in ("3", "-1"):
        status, document, _ = converted(capsys, tmp_path / "a.nii", tmp_path / "c.nii", "--phase", phase)
        assert (status, document["error"]["code"]) == (3, "four-d")
    assert not (tmp_path / "c.nii").exists()


def test_an_uneven_series_is_refused_and_then_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dicom: ModuleType
) -> None:
    folder = gapped(dicom, tmp_path / "ct")
    status, document, _ = converted(capsys, folder, tmp_path / "a.nii.gz")
    assert (status, document["error"]["code"]) == (3, "gap")
    status, document, _ = converted(capsys, folder, tmp_path / "a.nii.gz", "--split-uneven")
    assert status == 0
    paths = [tmp_path / "a-1.nii.gz", tmp_path / "a-2.nii.gz"]
    assert [written["path"] for written in document["written"]] == [str(path) for path in paths]
    assert [written["shape"][0] for written in document["written"]] == [3, 4]
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a-1.nii.gz", "a-2.nii.gz"]
    for path in paths:
        assert dicom.worst_error(open_here(path)) <= 0.5


def test_of_several_outputs_none_is_written_where_one_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dicom: ModuleType
) -> None:
    folder = gapped(dicom, tmp_path / "ct")
    (tmp_path / "a-2.mha").write_text("mine", encoding="utf-8")
    status, document, _ = converted(capsys, folder, tmp_path / "a.mha", "--split-uneven")
    assert (status, document["error"]["code"]) == (3, "exists")
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a-2.mha"]
    assert (tmp_path / "a-2.mha").read_text(encoding="utf-8") == "mine"


def test_what_was_interpolated_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dicom: ModuleType
) -> None:
    folder = gapped(dicom, tmp_path / "ct", (0, 2, 4, 5.9, 8.2, 10.1))
    status, document, _ = converted(capsys, folder, tmp_path / "a.mha", "--resample-uneven")
    assert status == 0
    (written,) = document["written"]
    assert written["decisions"] == Decisions(uneven="resample").as_json()
    assert "interpolated linearly" in written["lineage"][0]
    assert "resampled" in [warning["code"] for warning in written["warnings"]]
    assert dicom.worst_error(open_here(tmp_path / "a.mha")) <= 1


@pytest.mark.parametrize("suffix", [".nii", ".zarr"])
def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    oblique(tmp_path / "a.nii")
    (tmp_path / f"out{suffix}").write_text("mine", encoding="utf-8")
    status, document, told = converted(capsys, tmp_path / "a.nii", tmp_path / f"out{suffix}")
    assert (status, document["error"]["code"]) == (3, "exists")
    assert "exists" in told
    assert (tmp_path / f"out{suffix}").read_text(encoding="utf-8") == "mine"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", ["out.jpg", "out", "out.nii.bz2", "out.tif"])
def test_a_name_that_asks_for_no_format_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    oblique(tmp_path / "a.nii")
    status, document, _ = converted(capsys, tmp_path / "a.nii", tmp_path / name)
    assert (status, document["error"]["code"]) == (3, "unsupported-output")
    assert ".nii.gz" in document["error"]["hint"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_a_folder_that_is_not_there_is_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oblique(tmp_path / "a.nii")
    status, document, _ = converted(capsys, tmp_path / "a.nii", tmp_path / "nowhere" / "out.nii")
    assert (status, document["error"]["code"]) == (3, "not-found")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]


def test_progress_is_for_people_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dicom: ModuleType
) -> None:
    folder = dicom.series_in(tmp_path / "ct")
    assert main(["convert", str(folder), str(tmp_path / "a.mha")]) == 0
    captured = capsys.readouterr()
    assert str(tmp_path / "a.mha") in captured.out
    assert "of" not in captured.out.split()
    assert captured.err.count("writing a.mha") == 1
