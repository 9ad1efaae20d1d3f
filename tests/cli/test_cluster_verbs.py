"""Verbs with ``--cluster`` print and write what they do without it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cluster_parts import cluster
from reviewed_projects import make_reviewed_project
from spread_losses import hashes

from napari_medlab.cli.main import main
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.writers import write_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="ends workers with signals"),
]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as parts:
        yield ["--cluster", parts.address, "--certificates", str(parts.certificates)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("reviewed") / "project"
    make_reviewed_project(made)
    return made


def said(capsys: pytest.CaptureFixture[str], *words: object, status: int = 0) -> tuple[dict[str, Any], str]:
    """Return what a verb prints on standard output, and on standard error."""
    assert main([*map(str, words), "--json"]) == status
    told = capsys.readouterr()
    document: dict[str, Any] = json.loads(told.out)
    return document, told.err


def write_study(folder: Path) -> dict[str, str]:
    """Write findings and the candidates of two models."""
    rng = np.random.default_rng(1)
    cases = [f"case{number}" for number in range(30)]
    texts = {"reference": "seriesuid,coordX,coordY,coordZ,diameter_mm\n"}
    texts["reference"] += "".join(f"{case},0,0,0,8\n" for case in cases)
    for name in ("a", "b"):
        rows = [
            f"{case},{x:.2f},0,0,{p:.3f}" for case in cases for x, p in rng.uniform((-9, 0), (9, 1), (3, 2))
        ]
        texts[name] = "seriesuid,coordX,coordY,coordZ,probability\n" + "\n".join(rows)
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.csv") for name in texts}


def write_masks(folder: Path, seed: int) -> Path:
    folder.mkdir()
    rng, grid = np.random.default_rng(seed), Grid.axis_aligned((6, 10, 12), (2.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    for name in "abc":
        write_image(
            Image.of_arrays([rng.integers(0, 2, grid.shape).astype(np.uint8)], grid),
            folder / f"{name}.nii.gz",
        )
    return folder


def test_figures_are_the_same_and_progress_is_told(
    tmp_path: Path, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_study(tmp_path)
    masks = write_masks(tmp_path / "r", 1), write_masks(tmp_path / "p", 2)
    drawn = ["--bootstrap", "600", "--seed", "3"]
    froc = [
        "evaluate",
        "froc",
        "--reference",
        study["reference"],
        "--candidates",
        study["a"],
        "--precision-recall",
    ]
    compare = ["compare", "--reference", study["reference"], "--a", study["a"], "--b", study["b"]]
    overlap = ["evaluate", "overlap", "--reference", masks[0], "--prediction", masks[1]]
    for words, pieces in ((froc, 3), (compare, 3), (overlap, 3)):
        here, quiet = said(capsys, *words, *drawn)
        there, told = said(capsys, *words, *drawn, *where)
        assert there == here
        assert quiet == ""
        assert f"{pieces} of {pieces} pieces of work\n" in told


def test_exports_are_the_same(
    folder: Path, tmp_path: Path, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    formats = {
        "nifti": ["--format", "nifti", "--images"],
        "hard": ["--format", "hard"],
        "samples": ["--format", "samples", "--config", "nodule-unet"],
    }
    for name, words in formats.items():
        outs = tmp_path / f"{name}-here", tmp_path / f"{name}-there"
        said(capsys, "export", folder, *words, "--out", outs[0])
        document, told = said(capsys, "export", folder, *words, "--out", outs[1], *where)
        assert hashes(outs[0]) == hashes(outs[1])
        assert hashes(outs[0])
        assert document["out"] == str(outs[1])
        assert " of " in told
    assert len(list(tmp_path.iterdir())) == 2 * len(formats)


def test_a_pair_of_masks_that_is_refused_is_refused_alike(
    tmp_path: Path, where: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    masks = write_masks(tmp_path / "r", 1), write_masks(tmp_path / "p", 2)
    (masks[1] / "b.nii.gz").write_bytes(b"no mask")
    words = ["evaluate", "overlap", "--reference", masks[0], "--prediction", masks[1]]
    here, there = said(capsys, *words, status=3)[0], said(capsys, *words, *where, status=3)[0]
    assert here == there
    assert "b.nii.gz" in here["error"]["message"]
