from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medlab.cli.main import main
from napari_medlab.project import Project

Run = Callable[..., tuple[int, dict[str, Any]]]

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


def test_images_without_a_patient_belong_to_different_ones(
    run: Run, tmp_path: Path, volumes: list[Path]
) -> None:
    run("init", tmp_path / "p")
    run("add", tmp_path / "p", *volumes)
    with Project.open(tmp_path / "p") as project:
        assert len({case.patient_key for case in project.cases()}) == 2


def test_a_reference_is_imported_by_the_names_of_cases(run: Run, tmp_path: Path, volumes: list[Path]) -> None:
    folder, table, excluded = tmp_path / "p", tmp_path / "annotations.csv", tmp_path / "excluded.csv"
    run("init", folder)
    run("add", folder, *volumes)
    table.write_text(HEADER + "1.2.0,-1.5,2,3,6\n1.2.0,4,2,3,7\n1.2.9,0,0,0,5\n")
    excluded.write_text(HEADER + "1.2.1,1,1,1,-1\n")
    status, said = run("import-reference", folder, table, "--excluded", excluded)
    expected = {"added": 3, "excluded": 1, "already": 0, "cases": 2, "unmatched_series": ["1.2.9"]}
    assert (status, said) == (0, expected)
    with Project.open(folder) as project:
        findings = project.findings()
        assert findings.centres.tolist() == [[-1.5, 2, 3], [4, 2, 3], [1, 1, 1]]
        assert findings.is_excluded.tolist() == [False, False, True]
    # a second time changes nothing
    status, said = run("import-reference", folder, table, "--excluded", excluded)
    assert (status, said["added"], said["already"]) == (0, 0, 3)


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
    assert (status, said["error"]["code"]) == (1, "not-a-project")
