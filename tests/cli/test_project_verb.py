from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "images"))

from dicom_phantom import mammogram

from napari_medlab.cli.main import main
from napari_medlab.project import Project, open_case

Run = Callable[..., tuple[int, dict[str, Any]]]

HEIGHTS = (0.0, 2.0, 4.0, 9.0, 11.0, 13.0, 15.0)
"""Of slices: three with even spacing, a gap, and four."""
HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, dict[str, Any]]:
        status = main(["project", *map(str, words), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def volumes(tmp_path: Path) -> list[Path]:
    """Two small volumes whose names are series."""
    return [write_volume(tmp_path / f"1.2.{number}.mha", number) for number in range(2)]


def write_volume(path: Path, value: int) -> Path:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        "CompressedData = False\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        "ElementSpacing = 1 1 2\n"
        "DimSize = 6 5 4\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + np.full((4, 5, 6), value, dtype="<i2").tobytes())
    return path


def write_series(folder: Path, heights: tuple[float, ...], uid: str = "1.2.3") -> Path:
    """Write a CT series whose slices lie at the heights given, each with its number as its values."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(exist_ok=True)
    for number, height in enumerate(heights):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.SeriesInstanceUID, dataset.Modality, dataset.PatientName = uid, "CT", "Doe^Jane"
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, height], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [1, 1], 1, 0
        dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 5, 6, 1
        dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelData = np.full((5, 6), number, "<u2").tobytes()
        dataset.save_as(folder / f"{uid}-{number}.dcm", enforce_file_format=True)
    return folder


def write_film(path: Path, side: int = 1024) -> Path:
    path.write_bytes(b"P5\n%d %d\n255\n" % (side, side) + bytes(side * side))
    return path


def test_a_project_is_made_filled_checked_and_copied(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    folder = tmp_path / "p"
    status, said = run("init", folder)
    assert (status, said["project"]) == (0, str(folder))

    status, said = run("add", folder, *volumes, "--split", "test", "--patient", "Doe^Jane")
    assert status == 0
    assert [case["name"] for case in said["added"]] == ["1.2.0", "1.2.1"]
    with Project.open(folder) as project:
        first, second = project.cases()
        assert (first.kind, first.split, first.frozen) == ("volume", "test", True)
        assert first.grid is not None
        assert first.grid["shape"] == [4, 5, 6]
        assert first.patient_key == second.patient_key
        assert "Doe" not in first.patient_key
        assert project.case_path(first.case_id) == volumes[0]
        assert project.names.sources()[first.case_id] == str(volumes[0])

    status, said = run("verify", folder)
    assert (status, said) == (0, {"sound": True, "edits": 2, "problems": []})

    status, said = run("backup", folder)
    assert status == 0
    assert Path(said["backup"]).stat().st_size == said["bytes"]


def test_images_are_added_all_or_none(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    folder = tmp_path / "p"
    run("init", folder)
    broken = tmp_path / "broken.mha"
    broken.write_bytes(b"nothing")
    status, said = run("add", folder, volumes[0], broken)
    assert status == 3
    assert "broken.mha" in said["error"]["message"]
    assert run("add", folder, volumes[0])[0] == 0
    status, said = run("add", folder, volumes[0], volumes[1])
    assert (status, said["error"]["code"]) == (3, "exists")
    with Project.open(folder) as project:
        assert [case.name for case in project.cases()] == ["1.2.0"]


def test_what_is_refused_is_left_out_by_choice(
    run: Run, tmp_path: Path, volumes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, broken = tmp_path / "p", tmp_path / "broken.mha"
    run("init", folder)
    broken.write_bytes(b"nothing")
    run("add", folder, volumes[0])
    words = [
        "project",
        "add",
        str(folder),
        *map(str, volumes),
        str(broken),
        str(tmp_path / "none.mha"),
        "--skip-refused",
    ]
    assert main([*words, "--json"]) == 0
    said, told = capsys.readouterr()
    result = json.loads(said)
    assert [case["name"] for case in result["added"]] == ["1.2.1"]
    assert result["cases"] == 2
    assert len(result["refused"]) == 3
    assert [line for line in told.splitlines() if "left out" in line and "broken.mha" in line]


def test_the_views_of_an_exam_are_one_patient_when_they_are_given_as_files(run: Run, tmp_path: Path) -> None:
    folder, views = tmp_path / "p", []
    for view in ("CC", "MLO"):
        dataset = mammogram(np.arange(64, dtype=np.uint16).reshape(8, 8))
        dataset.ViewPosition, dataset.PatientID, dataset.StudyInstanceUID = view, "MRN-17", "1.2.5"
        views.append(tmp_path / f"{view}.dcm")
        dataset.save_as(views[-1], enforce_file_format=True)
    run("init", folder)
    status, said = run("add", folder, *views, "--pixel-size", 100)
    assert (status, said["patients"]) == (0, 1), said
    other = mammogram(np.arange(64, dtype=np.uint16).reshape(8, 8) + 1)
    other.PatientID = "MRN-17"
    other.save_as(tmp_path / "later.dcm", enforce_file_format=True)
    status, said = run("add", folder, tmp_path / "later.dcm", "--pixel-size", 100, "--split", "test")
    assert (status, said["error"]["code"]) == (3, "patient-in-both-splits")
    with Project.open(folder) as project:
        assert len({case.exam_key for case in project.cases()}) == 1
        assert [case.view for case in project.cases()] == ["LCC", "LMLO"]


def test_images_without_a_patient_belong_to_different_ones(
    run: Run, tmp_path: Path, volumes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run("init", tmp_path / "p")
    assert main(["project", "add", str(tmp_path / "p"), *map(str, volumes)]) == 0
    assert "2 images name no patient, and count as one each" in capsys.readouterr().err
    with Project.open(tmp_path / "p") as project:
        assert len({case.patient_key for case in project.cases()}) == 2


def test_images_of_one_folder_belong_to_one_patient_by_choice(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for video in ("first", "second"):
        (tmp_path / video).mkdir()
        for number in range(2):
            write_volume(tmp_path / video / f"{video}-{number}.mha", number)
    folder = tmp_path / "p"
    run("init", folder)
    words = ["project", "add", str(folder), *(str(tmp_path / name) for name in ("first", "second"))]
    assert main([*words, "--patient-from", "folder"]) == 0
    told = capsys.readouterr().err
    assert sorted(told.splitlines()) == [
        f"added {name}-{n} (volume)" for name in ("first", "second") for n in (0, 1)
    ]
    later = write_volume(tmp_path / "first" / "first-2.mha", 2)
    refused = run("add", folder, later, "--patient-from", "folder", "--split", "test")
    assert (refused[0], refused[1]["error"]["code"]) == (3, "patient-in-both-splits")
    run("add", folder, later, "--patient-from", "folder")
    with Project.open(folder) as project:
        patients: dict[str, set[str]] = {}
        for case in project.cases():
            patients.setdefault(case.name.split("-")[0], set()).add(case.patient_key)
    assert [len(keys) for keys in patients.values()] == [1, 1]
    assert not patients["first"] & patients["second"]
    with pytest.raises(SystemExit):
        main([*words, "--patient-from", "folder", "--patient", "ann"])


def test_a_reference_is_imported_by_the_names_of_cases(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    folder, table, excluded = tmp_path / "p", tmp_path / "annotations.csv", tmp_path / "excluded.csv"
    run("init", folder)
    run("add", folder, *volumes)
    table.write_text(HEADER + "1.2.0,-1.5,2,3,6\n1.2.0,4,2,3,7\n1.2.9,0,0,0,5\n")
    excluded.write_text(HEADER + "1.2.1,1,1,1,-1\n")
    status, said = run("import-reference", folder, table, "--excluded", excluded)
    expected = {
        "added": 3, "excluded": 1, "already": 0, "cases": 2, "unmatched_series": ["1.2.9"], "normal": 0, "unplaced": [],
        "format": "luna16", "outlines": 0, "outside_image": 1, "relabelled": 0, "kept_class": 0,
    }  # fmt: skip
    assert (status, said) == (0, expected)
    with Project.open(folder) as project:
        findings = project.findings()
        assert findings.centres.tolist() == [[-1.5, 2, 3], [4, 2, 3], [1, 1, 1]]
        assert findings.is_excluded.tolist() == [False, False, True]
    # a second time changes nothing
    status, said = run("import-reference", folder, table, "--excluded", excluded)
    assert (status, said["added"], said["already"]) == (0, 0, 3)
    # but where a class is asked for
    status, said = run("import-reference", folder, table, "--excluded", excluded, "--names", "nodule=mass")
    assert (status, said["added"], said["relabelled"]) == (0, 0, 3)
    with Project.open(folder) as project:
        assert set(project.findings().labels.tolist()) == {"mass"}


@pytest.mark.parametrize("words", [("--names", "mass"), ("--names", "a="), ("--class", " ")])
def test_a_class_without_a_name_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["project", "import-reference", str(tmp_path), "table.csv", *words])
    assert caught.value.code == 2


def test_a_reference_for_other_series_is_refused_by_name(
    run: Run, tmp_path: Path, volumes: list[Path]
) -> None:
    folder, table = tmp_path / "p", tmp_path / "annotations.csv"
    run("init", folder)
    run("add", folder, volumes[0])
    table.write_text(HEADER + "9.9,1,2,3,6\n")
    status, said = run("import-reference", folder, table)
    assert (status, said["error"]["code"]) == (3, "no-series")
    assert "9.9" in said["error"]["message"]
    assert "1.2.0" in said["error"]["message"]


def test_a_project_that_another_holds_is_not_written(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    with Project.create(tmp_path / "p", reader="ann"):
        status, said = run("add", tmp_path / "p", volumes[0])
    assert (status, said["error"]["code"]) == (1, "read-only")
    assert "ann on" in said["error"]["message"]


def test_an_unsound_project_is_a_failure(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    import sqlite3

    run("init", tmp_path / "p")
    run("add", tmp_path / "p", volumes[0])
    db = sqlite3.connect(tmp_path / "p" / "project.sqlite", isolation_level=None)
    db.execute("UPDATE cases SET name = 'other'")
    db.close()
    status, said = run("verify", tmp_path / "p")
    assert (status, said["error"]["code"]) == (1, "unsound")
    assert "table cases" in said["error"]["message"]


def test_a_folder_that_is_no_project_is_named(run: Run, tmp_path: Path) -> None:
    status, said = run("verify", tmp_path)
    assert (status, said["error"]["code"]) == (3, "not-a-project")


def test_the_even_blocks_of_an_uneven_stack_become_cases(
    run: Run, tmp_path: Path, volumes: list[Path]
) -> None:
    folder, series = tmp_path / "p", write_series(tmp_path / "scan", HEIGHTS)
    run("init", folder)
    status, said = run("add", folder, series)
    assert (status, said["error"]["code"]) == (3, "gap")
    status, said = run("add", folder, series, volumes[0], "--split-uneven")
    assert status == 0
    assert [case["name"] for case in said["added"]] == ["scan", "scan (block 2)", "1.2.0"]
    assert [case["decisions"] for case in said["added"]] == [
        {"uneven": "split"},
        {"uneven": "split", "block": 1},
        {},
    ]
    with Project.open(folder) as project:
        first, second, _ = project.cases()
        assert [np.asarray(open_case(project, case.case_id).arrays[0])[:, 0, 0].tolist() for case in (first, second)] == [
            [0, 1, 2], [3, 4, 5, 6],
        ]  # fmt: skip
        assert first.patient_key == second.patient_key


def test_an_uneven_stack_is_resampled_by_choice(run: Run, tmp_path: Path) -> None:
    folder, series = tmp_path / "p", write_series(tmp_path / "scan", HEIGHTS)
    run("init", folder)
    status, said = run("add", folder, series, "--resample-uneven")
    assert status == 0
    assert [case["decisions"] for case in said["added"]] == [{"uneven": "resample"}]
    with Project.open(folder) as project:
        (case,) = project.cases()
        image = open_case(project, case.case_id)
        assert image.lineage
        assert project.journal()[0].payload["lineage"] == list(image.lineage)


def series_of_one_folder(tmp_path: Path) -> Path:
    scans = write_series(tmp_path / "scans", HEIGHTS[:3], "1.2.3")
    return write_series(scans, HEIGHTS[3:], "1.2.4")


def test_every_series_of_a_folder_becomes_a_case(run: Run, tmp_path: Path) -> None:
    folder, scans = tmp_path / "p", series_of_one_folder(tmp_path)
    run("init", folder)
    status, said = run("add", folder, scans)
    assert status == 0
    assert [case["decisions"] for case in said["added"]] == [{"series_uid": "1.2.3"}, {"series_uid": "1.2.4"}]
    assert len({case["name"] for case in said["added"]}) == 2
    with Project.open(folder) as project:
        assert [open_case(project, case.case_id).shape[0] for case in project.cases()] == [3, 4]


def test_series_of_one_folder_are_added_one_by_one(run: Run, tmp_path: Path) -> None:
    folder, scans = tmp_path / "p", series_of_one_folder(tmp_path)
    run("init", folder)
    for uid, name in (("1.2.3", "scans"), ("1.2.4", "scans (series 2)")):
        status, said = run("add", folder, scans, "--series", uid)
        assert (status, said["added"][0]["name"]) == (0, name)
        assert said["added"][0]["decisions"] == {"series_uid": uid}
    with Project.open(folder) as project:
        shapes = [open_case(project, case.case_id).shape[0] for case in project.cases()]
    assert shapes == [3, 4]


def test_a_volume_of_a_time_series_is_added_by_its_number(run: Run, tmp_path: Path) -> None:
    import nibabel as nib

    folder, path = tmp_path / "p", tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((3, 4, 5, 2), np.int16), np.eye(4)), path)
    run("init", folder)
    assert run("add", folder, path)[1]["error"]["code"] == "four-d"
    status, said = run("add", folder, path, "--phase", 1)
    assert (status, said["added"][0]["decisions"]) == (0, {"phase": 1})


def test_tiles_that_were_never_written_are_background_by_choice(run: Run, tmp_path: Path) -> None:
    import tifffile

    folder, path = tmp_path / "p", tmp_path / "a.tif"
    tifffile.imwrite(path, np.full((64, 64), 9, np.uint8), tile=(32, 32))
    with tifffile.TiffFile(path, mode="r+") as file:
        counts = file.pages[0].tags["TileByteCounts"]  # type: ignore[union-attr]
        counts.overwrite([0, *counts.value[1:]])
        offsets = file.pages[0].tags["TileOffsets"]  # type: ignore[union-attr]
        offsets.overwrite([0, *offsets.value[1:]])
    run("init", folder)
    assert run("add", folder, path)[0] == 3
    status, said = run("add", folder, path, "--absent-as-background")
    assert (status, said["added"][0]["decisions"]) == (0, {"absent": "background"})


def test_a_patient_is_not_put_into_both_splits(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    run("init", tmp_path / "p")
    run("add", tmp_path / "p", volumes[0], "--patient", "Doe^Jane")
    status, said = run("add", tmp_path / "p", volumes[1], "--patient", "Doe^Jane", "--split", "test")
    assert (status, said["error"]["code"]) == (3, "patient-in-both-splits")
    assert "Doe" not in json.dumps(said)


MIAS = """mdb001 G CIRC B 535 425 197
mdb002 G CIRC B 522 280 69
mdb003 D NORM
mdb059 F CIRC M *NOTE 3*
mdb005 F CIRC B 477 133 30
mdb005 F CIRC B 500 168 26
"""


def test_a_table_of_mini_mias_is_imported(run: Run, tmp_path: Path) -> None:
    folder, table = tmp_path / "p", tmp_path / "Info.txt"
    table.write_text(MIAS)
    run("init", folder)
    run("add", folder, *(write_film(tmp_path / f"mdb{number:03d}.pgm") for number in (1, 3, 5, 59)))
    status, said = run("import-reference", folder, table)
    expected = {
        "added": 3, "excluded": 0, "already": 0, "cases": 2, "unmatched_series": ["mdb002"], "normal": 1,
        "unplaced": ["mdb059"], "format": "mini-mias", "outlines": 0, "outside_image": 0, "relabelled": 0, "kept_class": 0,
    }  # fmt: skip
    assert (status, said) == (0, expected)
    with Project.open(folder) as project:
        findings = project.findings()
        assert findings.centres.tolist() == [[534.5, 598.5], [476.5, 890.5], [499.5, 855.5]]
        assert findings.diameters.tolist() == [394, 60, 52]
        assert set(findings.labels.tolist()) == {"CIRC benign"}
        assert project.verify() == []
    status, said = run("import-reference", folder, table)
    assert (status, said["added"], said["already"]) == (0, 0, 3)
    status, said = run("import-reference", folder, table, "--excluded", table)
    assert (status, said["error"]["code"]) == (3, "excluded")


def test_mini_mias_is_refused_for_films_of_another_size(run: Run, tmp_path: Path) -> None:
    folder, table = tmp_path / "p", tmp_path / "Info.txt"
    table.write_text(MIAS)
    run("init", folder)
    run("add", folder, write_film(tmp_path / "mdb001.pgm", 512))
    status, said = run("import-reference", folder, table)
    assert (status, said["error"]["code"]) == (3, "size")
    with Project.open(folder) as project:
        assert len(project.findings()) == 0


PREDICTIONS = (
    "seriesuid,coordX,coordY,coordZ,probability\n1.2.0,1,2,3,0.9\n1.2.0,90,2,3,0.8\n1.2.7,1,2,3,0.7\n"
)


def test_predictions_made_elsewhere_are_imported_and_evaluated(
    run: Run, tmp_path: Path, volumes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, table, listed = tmp_path / "p", tmp_path / "submission.csv", tmp_path / "seriesuids.csv"
    annotations = tmp_path / "annotations.csv"
    run("init", folder)
    run("add", folder, *volumes)
    annotations.write_text(HEADER + "1.2.0,1,2,3,6\n1.2.1,2,2,2,6\n")
    run("import-reference", folder, annotations)
    table.write_text(PREDICTIONS)
    listed.write_text("1.2.0\n1.2.1\n")
    status, said = run("import-predictions", folder, table, "--model", "theirs", "--cases", listed)
    assert status == 0
    assert {name: said[name] for name in ("model", "candidates", "cases", "already", "unmatched_series")} == {
        "model": "theirs", "candidates": 2, "cases": 2, "already": 0, "unmatched_series": [],
    }  # fmt: skip
    assert (said["unlisted_candidates"], said["outside_image"]) == (1, 1)

    assert main(["queue", str(folder), "--json"]) == 0
    queue = json.loads(capsys.readouterr().out)
    assert queue["run_id"] == said["run_id"]
    assert sorted((item["kind"], item["case"]) for item in queue["items"]) == [
        ("fn", "1.2.1"),
        ("fp", "1.2.0"),
    ]

    out = tmp_path / "tables"
    assert main(["export", str(folder), "--format", "luna16", "--out", str(out), "--json"]) == 0
    capsys.readouterr()
    words = ["--reference", "annotations.csv", "--cases", "seriesuids.csv", "--candidates", "candidates.csv"]
    places = [word if word.startswith("--") else str(out / word) for word in words]
    assert main(["evaluate", "froc", *places, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["cases"], figures["tp"], figures["fp"], figures["fn"]) == (2, 1, 1, 1)

    assert run("import-predictions", folder, table, "--model", "theirs", "--cases", listed)[1]["already"] == 2
    status, said = run("import-predictions", folder, table, "--model", "ours")
    assert (status, said["error"]["code"]) == (3, "exists")


def test_progress_of_an_import_is_one_line(
    tmp_path: Path, run: Run, volumes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run("init", tmp_path / "p")
    run("add", tmp_path / "p", *volumes)
    table = tmp_path / "submission.csv"
    table.write_text(PREDICTIONS + "1.2.1,1,2,3,0.5\n")
    assert main(["project", "import-predictions", str(tmp_path / "p"), str(table)]) == 0
    lines = capsys.readouterr().err.split("\n")
    assert lines[0].split("\r") == ["", "1 of 2 cases", "2 of 2 cases"]
    assert lines[1] == "1 series have no case in the project"


def test_a_project_is_shared_with_keys_in_the_place_of_names(
    run: Run, tmp_path: Path, volumes: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, copy = tmp_path / "p", tmp_path / "copy"
    run("init", folder)
    run("add", folder, *volumes, "--patient", "Doe^Jane")
    status, said = run("share", folder, copy)
    assert status == 0
    assert said == {
        "folder": str(copy), "cases": 2, "edits": 2, "readers": 1, "models": 0, "models_left_out": [], "comments": 0,
        "comments_with_names": 0, "images": 0, "kept_as_written": ["labels", "comments", "tags", "names of models"],
    }  # fmt: skip
    stored = (copy / "project.sqlite").read_bytes()
    assert not any(word in stored for word in (b"Doe", b"1.2.0", str(tmp_path).encode()))
    assert run("verify", copy)[1]["sound"]
    status, said = run("share", folder, copy)
    assert (status, said["error"]["code"]) == (3, "exists")
    assert main(["project", "share", str(folder), str(tmp_path / "other")]) == 0
    assert "stay as they were written" in capsys.readouterr().err


def test_fields_of_cases_are_set_from_a_table(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    folder, table = tmp_path / "p", tmp_path / "fields.csv"
    run("init", folder)
    run("add", folder, *volumes)
    table.write_text(
        "seriesuid,site,fold,slice_thickness_mm,scanner\n1.2.0,A,1,1.25,007\n1.2.1,B,,2,\n1.2.9,C,3,1,x\n"
    )
    status, said = run("fields", folder, "--table", table)
    assert (status, said) == (0, {
        "cases": 2, "unchanged": 0, "fields": ["site", "fold", "slice_thickness_mm", "scanner"], "unmatched": ["1.2.9"],
    })  # fmt: skip
    with Project.open(folder, read_only=True) as project:
        assert [case.fields for case in project.cases()] == [
            {"site": "A", "fold": 1, "slice_thickness_mm": 1.25, "scanner": "007"},
            {"site": "B", "slice_thickness_mm": 2},
        ]
    table.write_text("case,site\n1.2.0,A\n1.2.1,D\n")
    status, said = run("fields", folder, "--table", table)
    assert (status, said["cases"], said["unchanged"]) == (0, 1, 1)
    with Project.open(folder) as project:
        assert project.cases()[1].fields == {"site": "D", "slice_thickness_mm": 2}
        assert project.undo() is not None
        assert project.cases()[1].fields["site"] == "B"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("site\nA\n", "csv"),
        ("", "csv"),
        ("case,site\n", "empty"),
        ("case,site\n1.2.0,A\n1.2.0,B\n", "csv"),
        ("case,site,site\n1.2.0,A,B\n", "csv"),
        ("case,site\n1.2.0,A,B\n", "csv"),
        ("case,site\n9.9,A\n", "no-series"),
        (f"case,{'x' * 65}\n1.2.0,A\n", "field"),
        ("case,noise\n1.2.0,1e999\n", "field"),
    ],
)
def test_a_table_of_fields_that_cannot_be_read_changes_nothing(
    run: Run, tmp_path: Path, volumes: list[Path], text: str, code: str
) -> None:
    folder, table = tmp_path / "p", tmp_path / "fields.csv"
    run("init", folder)
    run("add", folder, *volumes)
    table.write_text(text)
    status, said = run("fields", folder, "--table", table)
    assert (status, said["error"]["code"]) == (3, code)
    with Project.open(folder, read_only=True) as project:
        assert [case.fields for case in project.cases()] == [{}, {}]


def test_work_in_a_shared_copy_is_merged(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    from napari_medlab.annotations import Finding
    from napari_medlab.project.edits import add_findings, set_finding

    folder, copy = tmp_path / "p", tmp_path / "copy"
    run("init", folder)
    run("add", folder, *volumes)
    with Project.open(folder) as project:
        finding = Finding(project.cases()[0].case_id, (1.0, 2.0, 3.0), 4.0)
        project.commit(add_findings([finding]))
    run("share", folder, copy)
    with Project.open(copy, reader="bob") as project:
        project.commit(set_finding(finding, None))
    for edits in (1, 0):
        status, said = run("merge", folder, copy)
        assert (status, said["edits"], said["conflicts"], said["left_out"]) == (0, edits, [], {})
    with Project.open(folder, read_only=True) as project:
        assert project.readers() == ["bob"]
        assert len(project.findings()) == 0
        assert len(project.findings(as_given=True)) == 1
    run("init", tmp_path / "foreign")
    status, said = run("merge", folder, tmp_path / "foreign")
    assert (status, said["error"]["code"]) == (3, "other-project")


def test_a_case_is_removed_when_that_is_confirmed(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    folder = tmp_path / "p"
    run("init", folder)
    run("add", folder, *volumes)
    run("backup", folder)
    status, said = run("remove", folder, "1.2.0")
    assert (status, said["error"]["code"]) == (3, "unconfirmed")
    assert "cases 1" in said["error"]["message"]
    assert "--yes" in said["error"]["hint"]
    with Project.open(folder, read_only=True) as project:
        first, second = project.cases()
    status, said = run("remove", folder, "1.2.0", "--yes")
    assert (status, said["cases"], said["images_elsewhere"]) == (0, [first.case_id], [str(volumes[0])])
    assert volumes[0].exists()
    with Project.open(folder, read_only=True) as project:
        assert project.cases() == [second]
    assert run("verify", folder)[0] == 0
    status, said = run("remove", folder, "1.2.0", "--yes")
    assert (status, said["error"]["code"]) == (3, "unknown-case")
