from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.cli.main import main
from napari_medlab.models.training.samples import read_sample
from napari_medlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    return tmp_path / "project", make_reviewed_project(tmp_path / "project")


def export(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["export", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_samples_are_written_and_recorded(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "samples"
    words = ("--format", "samples", "--config", "nodule-retinanet", "--out", out)
    status, said = export(capsys, made[0], *words)
    digest = hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()
    assert (status, said) == (
        0,
        {"format": "samples", "out": str(out), "config": "nodule-retinanet", "split": "train", "run_id": None,
         "samples": 2, "failed": {}, "manifest_sha256": digest},
    )  # fmt: skip
    assert len([read_sample(path) for path in out.glob("*.npz")]) == 2
    with Project.open(made[0], read_only=True) as project:
        (record,) = project.exports()
        frozen = {case.case_id for case in project.cases() if case.frozen}
    assert (record.format, record.manifest_digest) == ("samples", digest)
    assert not any(path.name[:32] in frozen for path in out.iterdir())
    assert export(capsys, made[0], *words)[1]["error"]["code"] == "exists"


def test_cubes_of_a_run_and_tiles_are_asked_for(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    words = ("--format", "samples", "--config", "lung-vgg-24", "--run", run_id, "--margin", "0")
    status, said = export(capsys, folder, *words, "--out", tmp_path / "cubes")
    assert (status, said["run_id"]) == (0, run_id)
    assert {read_sample(path).shape for path in (tmp_path / "cubes").glob("*.npz")} == {(24, 24, 24)}
    words = ("--format", "samples", "--config", "nodule-retinanet", "--tile", "16", "32", "32")
    options = ("--overlap", "0", "--shifted", "--split", "test")
    status, said = export(capsys, folder, *words, *options, "--out", tmp_path / "tiles")
    assert (status, said["split"]) == (0, "test")
    manifest = json.loads((tmp_path / "tiles" / "manifest.json").read_text())
    assert (manifest["options"]["is_shifted"], manifest["options"]["tile"]) == (True, [16, 32, 32])
    assert not list((tmp_path / "tiles").glob("*.npz"))


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--format", "samples"), "no-configuration"),
        (("--format", "samples", "--config", "nodule-unet", "--budget", "3"), "option"),
        (("--format", "luna16", "--tile", "16"), "option"),
        (("--format", "hard", "--other", "ignore"), "option"),
        (("--format", "samples", "--config", "lung-vgg-24"), "no-run"),
        (("--format", "samples", "--config", "no such"), "unknown-configuration"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    made: tuple[Path, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: str,
) -> None:
    status, said = export(capsys, made[0], *words, "--out", tmp_path / "out")
    assert (status, said["error"]["code"]) == (3, code)
    assert not (tmp_path / "out").exists()


def test_a_project_that_another_holds_gives_samples_without_a_record(
    made: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Project.open(made[0]) as holder:
        words = ("--format", "samples", "--config", "nodule-retinanet", "--out", tmp_path / "out")
        assert export(capsys, made[0], *words)[0] == 0
        assert holder.exports() == []
