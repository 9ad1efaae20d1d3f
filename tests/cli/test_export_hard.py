from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.cli.export_hard import HARD_FP_PER_SCAN, add_hard_arguments, hard_asked_for
from napari_medlab.cli.main import main
from napari_medlab.models.training.packages import read_manifest
from napari_medlab.models.workflows.hard_examples import HardOptions
from napari_medlab.project import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reviewed") / "project"
    make_reviewed_project(made)
    return made


def export(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["export", *map(str, words), "--format", "hard", "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out), said.err


def test_a_rule_is_spelt_out(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "mixture", "--errors", "fp", "fn", "low confidence", "--ratio", "2", "--random-share", "0.2",
             "--per-patient", "9", "--replay-share", "0.4", "--earlier-weight", "0.5", "--seed", "3", "--crop", "48",
             "--validation-share", "0.5", "--fp-per-scan", "8"]  # fmt: skip
    status, said, _ = export(capsys, folder, "--out", tmp_path / "hard", *words)
    assert status == 0
    about = read_manifest(tmp_path / "hard").about
    rule = about["rule"]
    assert (rule["strategy"], rule["kinds"], rule["ratio"]) == (
        "mixture",
        ["fp", "fn", "low confidence"],
        2.0,
    )
    assert (rule["random_share"], rule["per_patient"], rule["replay_share"]) == (0.2, 9, 0.4)
    assert (rule["earlier_weight"], rule["seed"], about["shape"]) == (0.5, 3, [48, 48, 48])
    assert {one["split"] for one in about["examples"]} == {"train", "validation"}
    assert said["examples"] == len(about["examples"])
    assert said["left_out"] == about["left_out"]


def test_a_look_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Project.open(folder, read_only=True) as project:
        before = project.exports()
    status, said, _ = export(capsys, folder, "--look", "--part", "classifier")
    assert status == 0
    assert said["by_reason"]["miss"] == 2
    assert said["classes"]["train"]["none"] >= 1
    assert said["looked_at"] == said["examples"]
    assert not list(folder.rglob("manifest.json"))
    with Project.open(folder, read_only=True) as project:
        assert project.exports() == before


def test_the_naive_way_is_warned_about(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said, told = export(capsys, folder, "--out", tmp_path / "hard", "--strategy", "hardest")
    assert "Warning: It can make a model worse" in told
    assert said["warnings"] == read_manifest(tmp_path / "hard").about["warnings"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--replay-share", "1"], "mining"),
        (["--validation-share", "2"], "option"),
        (["--for-model", "mammography", "--part", "classifier"], "part"),
        (["--for-model", "mammography"], "empty"),
    ],
)
def test_what_makes_no_sense_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    status, said, _ = export(capsys, folder, "--out", tmp_path / "hard", *words)
    assert (status, said["error"]["code"]) == (3, code)
    assert not (tmp_path / "hard").exists()


def test_what_was_asked_for_is_known_by_its_name() -> None:
    parser = argparse.ArgumentParser()
    add_hard_arguments(parser)
    assert hard_asked_for(parser.parse_args([])) == []
    words = ["--budget", "3", "--errors", "fp", "--for-model", "x", "--look"]
    assert hard_asked_for(parser.parse_args(words)) == ["--budget", "--errors", "--for-model", "--look"]


def test_help_says_the_operating_point_that_is_taken() -> None:
    assert HardOptions().fp_per_scan == HARD_FP_PER_SCAN
