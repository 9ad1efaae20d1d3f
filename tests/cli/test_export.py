from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.annotations.formats.luna16 import read_candidates, read_reference, read_series
from napari_medlab.cli.export import OF_EXCHANGE
from napari_medlab.cli.main import main
from napari_medlab.exchange.writers import WRITERS
from napari_medlab.project import Project
from napari_medlab.project.edits import add_run, finish_case, set_filter

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
    told = {"format": "luna16", "out": str(out), "run_id": run_id, "cases": 3, "findings": 6, "excluded": 3,
            "candidates": 5, "files": 4, "images": 0, "unread": 0, "left_out": [], "is_recorded": True}  # fmt: skip
    assert status == 0
    assert said.items() >= told.items()
    assert sorted(path.name for path in out.iterdir()) == [
        "annotations.csv",
        "annotations_excluded.csv",
        "candidates.csv",
        "manifest.json",
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


def test_the_newest_run_on_what_is_asked_for_goes_into_luna16_tables(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    with Project.open(folder) as project:
        project.commit(add_run("e" * 32, "", {"model": "theirs"}))
        project.commit(finish_case("e" * 32, project.cases()[2].case_id, 0.1))
    words = [folder, "--format", "luna16"]
    for split, expected, cases in (("train", run_id, 2), ("test", "e" * 32, 1)):
        status, said = export(capsys, *words, "--split", split, "--out", tmp_path / split)
        assert (status, said["run_id"], said["cases"]) == (0, expected, cases)
    status, said = export(capsys, *words, "--cases", "ct-1", "--out", tmp_path / "one")
    assert (status, said["run_id"], said["cases"]) == (0, run_id, 1)


def test_luna16_tables_are_what_evaluate_reads(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "luna"
    export(capsys, made[0], "--format", "luna16", "--out", out)
    words = [
        "--reference",
        "annotations.csv",
        "--ignore",
        "annotations_excluded.csv",
        "--cases",
        "seriesuids.csv",
    ]
    words += ["--candidates", "candidates.csv"]
    places = [word if word.startswith("--") else str(out / word) for word in words]
    assert main(["evaluate", "froc", *places, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["cases"], said["findings"], said["tp"], said["fp"], said["fn"]) == (3, 6, 3, 2, 3)


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
        main(["export", str(made[0]), "--format", "matlab", "--out", str(tmp_path / "out")])
    assert caught.value.code == 2


def test_the_formats_offered_are_those_that_are_written() -> None:
    assert set(OF_EXCHANGE) == set(WRITERS)


def test_every_file_of_an_export_is_in_its_manifest(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status, said = export(capsys, made[0], "--format", "nifti", "--out", out, "--cases", "ct-0", "--images")
    assert (status, said["cases"], said["findings"], said["excluded"], said["images"]) == (0, 1, 2, 1, 1)
    text = (out / "manifest.json").read_bytes()
    manifest = json.loads(text)
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest
    with Project.open(made[0], read_only=True) as project:
        (record,) = project.exports()
        key = project.cases()[0].case_id
    assert (record.format, record.manifest_digest) == ("nifti", hashlib.sha256(text).hexdigest())
    assert said["manifest_sha256"] == record.manifest_digest
    assert set(files) >= {f"labels/{key}.nii.gz", f"images/{key}.nii.gz", "labels.json"}


def test_candidates_that_a_saved_filter_lets_through_go_out_alone(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    with Project.open(folder) as project:
        project.commit(set_filter("false alarms", None, {"kinds": ["fp"]}))
    words = ("--format", "monai", "--no-images", "--run", run_id, "--split", "train")
    status, said = export(
        capsys, folder, *words, "--filter", "false alarms", "--fp-per-scan", "8", "--out", tmp_path / "a"
    )
    assert (status, said["cases"], said["candidates"]) == (0, 2, 2)
    status, said = export(capsys, folder, *words, "--filter", "no such", "--out", tmp_path / "b")
    assert (status, said["error"]["code"]) == (3, "unknown-filter")
    assert "'false alarms'" in said["error"]["hint"]
    status, said = export(capsys, folder, *words, "--fp-per-scan", "8", "--out", tmp_path / "b")
    assert (status, said["error"]["code"]) == (3, "option")
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--format", "coco"), "wrong-kind"),
        (("--format", "nifti", "--cases", "nobody"), "unknown-case"),
        (("--format", "nifti", "--run", "0" * 32), "unknown-run"),
        (("--format", "nifti", "--config", "x"), "option"),
        (("--format", "hard", "--cases", "ct-0"), "option"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing(
    made: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: str,
) -> None:
    status, said = export(capsys, made[0], *words, "--out", tmp_path / "out")
    assert (status, said["error"]["code"]) == (3, code)
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    with Project.open(made[0], read_only=True) as project:
        assert project.exports() == []
