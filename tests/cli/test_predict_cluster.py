"""Predicting on a cluster from the command line: what is printed and written is as without one."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cluster_parts import cluster
from PIL import Image as Picture

from napari_medlab.annotations.formats.luna16 import read_candidates
from napari_medlab.cli.cluster_arguments import CERTIFICATES
from napari_medlab.cli.main import main
from napari_medlab.images import open_image
from napari_medlab.models.bundles import write_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster_parts import Parts

    from napari_medlab.models.bundles import Bundle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends processes with signals")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with cluster(tmp_path_factory.mktemp("cluster"), 1) as started:
        yield started


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    import torch

    from napari_medlab.models.networks import build_network

    torch.manual_seed(4)
    arguments = {"spatial_dims": 2, "channels": [8, 16]}
    spec = {
        "name": "mask", "task": "segmentation", "network": {"name": "unet", "arguments": arguments},
        "preprocessing": {"kind": "photo"}, "tiling": {"core": [32, 32], "halo": 8}, "classes": ["lesion"],
        "postprocessing": {"threshold": 0.5, "least_voxels": 10},
    }  # fmt: skip
    return write_bundle(
        tmp_path_factory.mktemp("bundle"), spec, build_network("unet", arguments).state_dict()
    )


def predict(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["predict", "--device", "cpu", "--precision", "float32", *map(str, words), "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out), said.err


def test_images_are_predicted_as_without_a_cluster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    parts: Parts,
    segmenter: Bundle,
) -> None:
    monkeypatch.setenv("MEDLAB_IN_THREAD", "1")
    monkeypatch.chdir(tmp_path)  # paths that are told from here are of no use in the folder of a worker
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (80, 96), dtype=np.uint8)
        Picture.fromarray(pixels).save(f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"nothing")
    words = ["0.png", "1.png", "2.png", "--model", segmenter.folder]
    monkeypatch.setenv(CERTIFICATES, str(parts.certificates))
    status, there, told = predict(capsys, *words, "--out", "there", "--cluster", parts.address)
    assert status == 0
    status, here, _ = predict(capsys, *words, "--out", "here")
    assert status == 0

    def comparable(said: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
        cases = [
            {**case, "seconds": None, "mask": str(case.get("mask")).split("/")[-1]} for case in said["cases"]
        ]
        return {**said, "cases": cases, "out": "", "backend": sorted(said["backend"])}

    assert comparable(there) == comparable(here)
    assert [case["error"] is None for case in there["cases"]] == [True, False, True]
    assert there["cases"][0]["candidates"] > 0
    lines = told.splitlines()
    assert "1 worker" in lines
    assert sorted(line.split(": ")[0].split()[-1] for line in lines if "/3 " in line) == [
        "0.png",
        "1.png",
        "2.png",
    ]
    tables = [read_candidates(tmp_path / name / "candidates.csv") for name in ("there", "here")]
    assert len(tables[0]) == len(tables[1])
    np.testing.assert_allclose(tables[0].centres, tables[1].centres, atol=0.1)
    for name in ("0.zarr", "2.zarr"):
        masks = [
            np.asarray(open_image(tmp_path / out / "masks" / name).arrays[0]) for out in ("there", "here")
        ]
        assert (masks[0] != masks[1]).mean() < 0.01
    assert sorted(path.name for path in (tmp_path / "there" / "masks").iterdir()) == ["0.zarr", "2.zarr"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--cluster", "tcp://10.0.0.1:8786"], "not-encrypted"),
        (["--cluster", "tls://127.0.0.1:8786"], "certificates"),
        (["--cluster", "here"], "address"),
        (["--certificates", "somewhere"], "no-cluster"),
    ],
)
def test_a_cluster_that_is_not_to_be_used_is_refused_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], segmenter: Bundle,
    words: list[str], code: str,
) -> None:  # fmt: skip
    monkeypatch.delenv(CERTIFICATES, raising=False)
    status, said, _ = predict(
        capsys, tmp_path / "a.png", "--model", segmenter.folder, "--out", tmp_path / "out", *words
    )
    assert (status, said["error"]["code"]) == (3, code)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_that_is_not_there_is_no_fault_of_the_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parts: Parts, segmenter: Bundle
) -> None:
    status, said, _ = predict(
        capsys, tmp_path / "a.png", "--model", segmenter.folder, "--out", tmp_path / "out",
        "--cluster", "tls://127.0.0.1:1", "--certificates", parts.certificates,
    )  # fmt: skip
    assert (status, said["error"]["code"]) == (1, "no-scheduler")
