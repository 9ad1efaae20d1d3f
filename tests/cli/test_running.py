"""Running models on a project from the command line: on two small scans, in the thread that asks."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.annotations import new_id
from napari_medlab.cli.main import main
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.inference.worker import IN_THREAD
from napari_medlab.phantoms.chest_ct import SECOND_SITE
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_case
from napari_medlab.project.sample import SampleSize, fill_with_phantoms

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project.records import Split

SMALL = replace(SECOND_SITE, shape=(24, 80, 80))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "project"
    with Project.create(folder) as project:
        list(fill_with_phantoms(project, SampleSize(train=1, test=1), SMALL))
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(IN_THREAD, "1")
    return shutil.copytree(template, tmp_path / "project")


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["project", "run", *map(str, words), "--json"])
    printed = capsys.readouterr()
    return status, json.loads(printed.out), printed.err


def test_the_model_that_ships_for_the_images_looks_at_a_split_and_then_at_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, first, told = run(capsys, folder, "--split", "train")
    assert (status, first["model"], first["cases"], first["failed"]) == (0, "lung-nodules", 1, {})
    assert told == "1 of 1 cases\n"
    with Project.open(folder, read_only=True) as project:
        train, test = project.cases()
        assert project.cases_done(first["run_id"]) == {train.case_id}
        assert len(project.candidates(first["run_id"])) == first["candidates"] > 0

    _, second, told = run(capsys, folder, "--model", first["hash"][:12], "--device", "cpu")
    assert (second["run_id"], second["cases"]) == (first["run_id"], 2)
    assert told == "2 of 2 cases\n"
    with Project.open(folder, read_only=True) as project:
        assert project.cases_done(first["run_id"]) == {train.case_id, test.case_id}


def test_an_image_that_cannot_be_read_fails_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Project.open(folder) as project:
        broken, sound = project.cases()
        project.case_path(broken.case_id).write_bytes(b"nothing")
    status, said, told = run(capsys, folder)
    assert (status, said["cases"], list(said["failed"])) == (0, 2, [broken.case_id])
    assert said["failed"][broken.case_id] in told
    with Project.open(folder, read_only=True) as project:
        assert project.cases_done(said["run_id"]) == {sound.case_id}


def test_cases_of_other_kinds_are_left_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, folder, "--model", "mammography")
    assert (status, said["error"]["code"]) == (3, "no-cases")
    assert said["error"]["message"] == "Your 2 cases are volumes."
    assert said["error"]["hint"] == "lung-nodules reads volumes: --model lung-nodules."


def test_it_is_said_which_models_read_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Project.create(tmp_path / "p") as project:
        for number, kind in enumerate(("photo", "photo", "slide")):
            split: Split = "test" if kind == "slide" else "train"
            project.commit(
                add_case(CaseRecord(new_id(), f"{number}.png", str(number), kind=kind, split=split))
            )
    for words, message, hint in (
        (
            (),
            "Your 3 cases are 2 photos and 1 slide.",
            "glomeruli reads slides and photos: --model glomeruli.",
        ),
        (
            ("--split", "train"),
            "Your 2 train cases are photos.",
            "glomeruli reads photos: --model glomeruli.",
        ),
        (
            ("--split", "test"),
            "Your only test case is a slide.",
            "glomeruli reads slides: --model glomeruli.",
        ),
    ):
        status, said, _ = run(capsys, tmp_path / "p", "--model", "lung-nodules", *words)
        assert (status, said["error"]["code"]) == (3, "no-cases")
        assert (said["error"]["message"], said["error"]["hint"]) == (message, hint)


def test_where_no_model_reads_any_case_all_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    only = find_bundle("mammography")
    for module in ("napari_medlab.models.bundles", "napari_medlab.models.workflows.publishing"):
        monkeypatch.setattr(f"{module}.shipped_bundles", lambda: [only])
    _, said, _ = run(capsys, folder)
    assert said["error"]["message"] == "Your 2 cases are volumes."
    assert said["error"]["hint"].startswith("mammography reads mammograms. Import a model")
    assert said["error"]["hint"].endswith("or name one with --model.")


def test_without_cases_there_is_nothing_to_run_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Project.create(tmp_path / "p").close()
    for words, said in (((), "no cases"), (("--split", "test"), "no test cases")):
        status, refused, _ = run(capsys, tmp_path / "p", *words)
        assert (status, refused["error"]["code"]) == (3, "no-cases")
        assert said in refused["error"]["message"]


def test_a_threshold_is_a_score(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said, _ = run(capsys, folder, "--threshold", "2")
    assert (status, said["error"]["code"]) == (3, "threshold")


def test_a_project_that_is_held_is_not_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Project.open(folder):
        status, said, _ = run(capsys, folder)
    assert (status, said["error"]["code"]) == (1, "read-only")
