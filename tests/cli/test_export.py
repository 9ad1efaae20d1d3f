from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.annotations.formats.luna16 import read_candidates, read_reference, read_series
from napari_medlab.cli.main import main
from napari_medlab.hardcases.package import read_package
from napari_medlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "project", make_reviewed_project(tmp_path / "project")


def export(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["export", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_luna16_tables_hold_the_run_by_case_id(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    out = tmp_path / "luna"
    status, said = export(capsys, folder, "--format", "luna16", "--out", out)
    assert (status, said) == (
        0,
        {"format": "luna16", "out": str(out), "run_id": run_id, "cases": 3, "findings": 6, "excluded": 3,
         "candidates": 5},
    )  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == [
        "annotations.csv",
        "annotations_excluded.csv",
        "candidates.csv",
        "seriesuids.csv",
    ]
    with Project.open(folder, read_only=True) as project:
        cases, findings, candidates = project.cases(), project.findings(), project.candidates(run_id)
    assert read_series(out / "seriesuids.csv") == [case.case_id for case in cases]
    written = read_candidates(out / "candidates.csv")
    assert written.case_ids.tolist() == candidates.case_ids.tolist()
    assert written.centres.tolist() == candidates.centres.tolist()
    assert written.scores.tolist() == candidates.scores.tolist()
    reference = read_reference(out / "annotations.csv", out / "annotations_excluded.csv")
    assert sorted(reference.centres.tolist()) == sorted(findings.centres.tolist())
    assert reference.is_excluded.sum() == 3
    text = "".join(path.read_text() for path in out.iterdir())
    assert not any(case.name in text or case.patient_key in text for case in cases)


def test_luna16_tables_are_what_evaluate_reads(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "luna"
    export(capsys, made[0], "--format", "luna16", "--out", out)
    words = ["--reference", "annotations.csv", "--ignore", "annotations_excluded.csv", "--cases", "seriesuids.csv"]
    words += ["--candidates", "candidates.csv"]
    places = [word if word.startswith("--") else str(out / word) for word in words]
    assert main(["evaluate", "froc", *places, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["cases"], said["findings"], said["tp"], said["fp"], said["fn"]) == (3, 6, 3, 2, 3)


def test_hard_examples_are_written_and_recorded(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    out = tmp_path / "hard"
    status, said = export(capsys, folder, "--format", "hard", "--out", out, "--fp-per-scan", "8")
    manifest, crops = read_package(out)
    assert status == 0
    assert said == {
        "format": "hard",
        "out": str(out),
        "run_id": run_id,
        "model": "lung-nodules",
        "examples": len(crops),
        "manifest_sha256": hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest(),
    }
    reasons = [crop.record["reason"] for crop in crops]
    # the ambiguous one is left out
    assert (reasons.count("false positive"), reasons.count("miss"), reasons.count("replay")) == (1, 2, 3)
    with Project.open(folder, read_only=True) as project:
        frozen = {case.case_id for case in project.cases() if case.frozen}
        (record,) = project.exports()
    assert not frozen & {crop.record["case_id"] for crop in crops}
    assert (record.path, record.format, record.manifest_digest) == (str(out), "hard", said["manifest_sha256"])
    assert manifest["fp_per_scan"] == 8.0


def test_the_budget_holds_errors_back(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(capsys, made[0], "--format", "hard", "--out", tmp_path / "hard", "--budget", "1")
    reasons = [crop.record["reason"] for crop in read_package(tmp_path / "hard")[1]]
    assert sorted(reasons) == ["miss", "replay"]


@pytest.mark.parametrize("form", ["luna16", "hard"])
def test_nothing_is_overwritten(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    (tmp_path / "out").mkdir()
    status, said = export(capsys, made[0], "--format", form, "--out", tmp_path / "out")
    assert (status, said["error"]["code"]) == (3, "exists")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_belongs_to_hard_examples_is_refused_for_tables(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = export(capsys, made[0], "--format", "luna16", "--out", tmp_path / "out", "--budget", "3")
    assert (status, said["error"]["code"]) == (3, "option")


def test_a_project_that_another_holds_gives_tables_but_no_package(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Project.open(made[0]):
        status, said = export(capsys, made[0], "--format", "hard", "--out", tmp_path / "hard")
        assert (status, said["error"]["code"]) == (1, "read-only")
        assert export(capsys, made[0], "--format", "luna16", "--out", tmp_path / "luna")[0] == 0


def test_a_format_that_is_not_offered_is_wrong_usage(made: tuple[Path, str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", str(made[0]), "--format", "yolo", "--out", str(tmp_path / "out")])
    assert caught.value.code == 2
