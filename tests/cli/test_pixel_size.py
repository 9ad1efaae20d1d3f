"""``--pixel-size``: from a folder of pictures to a model that needs one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.cli.main import main
from napari_medlab.models.inference.worker import IN_THREAD
from napari_medlab.project import Project, open_case

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from PIL import Image as Pictures

    monkeypatch.setenv(IN_THREAD, "1")
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(150, 255, (64, 72, 3), np.uint8)
        Pictures.fromarray(pixels).save(folder / f"{number}.png")
    Project.create(tmp_path / "p").close()
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main([*map(str, words), "--json"])
    printed = capsys.readouterr()
    return status, json.loads(printed.out), printed.err


def test_a_folder_of_pictures_is_added_with_its_size_and_a_model_runs(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, document, _ = said(capsys, "project", "add", tmp_path / "p", tiles, "--pixel-size", 8)
    assert status == 0
    assert [row["decisions"] for row in document["added"]] == [{"pixel_size_um": 8.0}] * 2
    with Project.open(tmp_path / "p", read_only=True) as project:
        for case in project.cases():
            assert case.kind == "photo"
            assert case.grid is not None
            assert case.grid["unit"] == "um"
            assert open_case(project, case.case_id).grid.spacing == pytest.approx((8.0, 8.0))
    status, document, _ = said(
        capsys, "project", "run", tmp_path / "p", "--model", "glomeruli", "--device", "cpu"
    )
    assert (status, document["cases"], document["failed"]) == (0, 2, {})


def test_without_a_size_every_case_fails_for_one_reason(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "project", "add", tmp_path / "p", tiles)
    status, document, told = said(
        capsys, "project", "run", tmp_path / "p", "--model", "glomeruli", "--device", "cpu"
    )
    assert (status, document["error"]["code"], len(document["failed"])) == (3, "every-case-failed", 2)
    assert document["error"]["message"].startswith("2 of 2 cases: This image has no known pixel size")
    assert told.count("napari-medlab: 2 of 2 cases") == 1
    assert "--pixel-size" in told


def test_one_image_is_not_two_cases_for_its_size(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tiles / "0.png"
    said(capsys, "project", "add", tmp_path / "p", one)
    status, document, _ = said(capsys, "project", "add", tmp_path / "p", one, "--pixel-size", 8)
    assert (status, document["error"]["code"]) == (3, "exists")
    assert "project remove" in document["error"]["hint"]


def test_a_size_that_no_pixel_has_adds_nothing(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, document, _ = said(capsys, "project", "add", tmp_path / "p", tiles, "--pixel-size", 0.001)
    assert (status, document["error"]["code"]) == (3, "pixel-size")
    with Project.open(tmp_path / "p", read_only=True) as project:
        assert project.cases() == []


def test_inspect_shows_it(tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document, _ = said(capsys, "inspect", tiles / "0.png", "--pixel-size", 0.5)
    assert (status, document["spacing"], document["unit"]) == (0, [0.5, 0.5], "um")


def test_predict_takes_it_and_fails_as_a_whole_without(
    tiles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("predict", tiles / "0.png", tiles / "1.png", "--model", "glomeruli", "--device", "cpu", "--out")
    status, document, _ = said(capsys, *words, tmp_path / "without")
    assert (status, document["error"]["code"]) == (3, "every-case-failed")
    assert document["error"]["message"].startswith("2 of 2 cases: ")
    assert "--pixel-size" in document["error"]["message"]
    assert len(document["cases"]) == 2
    status, document, _ = said(capsys, *words, tmp_path / "with", "--pixel-size", 8)
    assert status == 0
    assert [case["error"] for case in document["cases"]] == [None, None]
