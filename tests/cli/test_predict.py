from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.annotations.formats.luna16 import read_candidates
from napari_medlab.cli.main import main
from napari_medlab.cli.predict import table_bytes
from napari_medlab.durable import DiskError
from napari_medlab.images import open_image
from napari_medlab.models.bundles import Bundle, find_bundle, write_bundle
from napari_medlab.phantoms.chest_ct import ChestPhantom, Site, chest_phantom
from napari_medlab.project.sample import write_mha

if TYPE_CHECKING:
    from pathlib import Path

HELD_OUT_SEED = 20_005
"""Two nodules at this size, both of which the shipped detector sees."""


@pytest.fixture(scope="module")
def phantom() -> ChestPhantom:
    return chest_phantom(HELD_OUT_SEED, "ct", Site(shape=(32, 80, 88)))


def predict(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any], str]:
    status = main(["predict", "--model", "lung-nodules", *map(str, words), "--json"])
    said = capsys.readouterr()
    return status, json.loads(said.out), said.err


def test_candidates_of_every_image_and_a_broken_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], phantom: ChestPhantom
) -> None:
    good, broken, again = tmp_path / "good.mha", tmp_path / "broken.mha", tmp_path / "again.mha"
    write_mha(good, phantom)
    again.write_bytes(good.read_bytes())
    broken.write_bytes(b"nothing")
    status, said, progress = predict(
        capsys, good, broken, again, "--out", tmp_path / "out", "--device", "cpu"
    )
    assert status == 0
    assert (said["model"], said["hash"]) == ("lung-nodules", find_bundle("lung-nodules").hash)
    assert said["out"] == str(tmp_path / "out" / "candidates.csv")
    first, failed, last = said["cases"]
    assert [case["path"] for case in said["cases"]] == [str(good), str(broken), str(again)]
    assert (failed["candidates"], failed["seconds"]) == (0, None)
    assert failed["error"]
    assert first["error"] is last["error"] is None
    assert first["seconds"] > 0
    assert first["candidates"] == last["candidates"] > 0
    table = read_candidates(tmp_path / "out" / "candidates.csv")
    assert len(table) == 2 * first["candidates"]
    assert list(dict.fromkeys(table.case_ids.tolist())) == ["good", "again"]
    own = table.for_case("good")
    for finding in phantom.findings:
        distance = np.linalg.norm(own.centres - finding.centre, axis=1)
        assert own.scores[distance < finding.diameter / 2].max() > 0.5
    assert set(table.labels) == {"nodule"}
    assert (table.diameters > 0).all()
    assert said["backend"]["devices"] == ["cpu"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["candidates.csv"]
    assert [line.split(":")[0] for line in progress.splitlines()] == [
        "1/3 good.mha",
        "2/3 broken.mha",
        "3/3 again.mha",
    ]


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started for nothing")

    monkeypatch.setattr("napari_medlab.jobs.worker_process.WorkerProcess.__init__", refuse)


@pytest.mark.usefixtures("no_worker")
def test_an_existing_table_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "candidates.csv").write_text("mine")
    status, said, _ = predict(capsys, tmp_path / "a.mha", "--out", tmp_path)
    assert (status, said["error"]["code"]) == (3, "exists")
    assert (tmp_path / "candidates.csv").read_text() == "mine"


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["one/a.mha", "two/a.nii.gz", "--out", "out"], "same-name"),
        (["a.mha", "--out", "out", "--model", "nothing"], "unknown-model"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said, _ = predict(capsys, *words)
    assert (status, said["error"]["code"]) == (3, code)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--device", "cuda:99"], "device"), (["--device", "cpu", "--precision", "float16"], "precision")],
)
def test_what_is_not_to_be_had_here_is_refused_before_any_image(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: str,
) -> None:
    monkeypatch.setenv("MEDLAB_IN_THREAD", "1")
    status, said, _ = predict(capsys, tmp_path / "a.mha", "--out", tmp_path / "out", *words)
    assert (status, said["error"]["code"]) == (3, code)
    assert not (tmp_path / "out").exists()


def test_a_threshold_is_asked_for_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], phantom: ChestPhantom
) -> None:
    monkeypatch.setenv("MEDLAB_IN_THREAD", "1")
    write_mha(tmp_path / "ct.mha", phantom)
    found = {}
    for threshold in ("0.5", "0.02"):
        words = [
            tmp_path / "ct.mha",
            "--out",
            tmp_path / threshold,
            "--device",
            "cpu",
            "--threshold",
            threshold,
        ]
        status, said, _ = predict(capsys, *words)
        assert (status, said["threshold"]) == (0, float(threshold))
        found[threshold] = read_candidates(tmp_path / threshold / "candidates.csv").scores
    assert 0 < len(found["0.5"]) < len(found["0.02"])
    # the threshold is the detector's; the classifier that is fused in may think less of a candidate
    assert found["0.5"].min() > 0.25 > found["0.02"].min() > 0


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize("threshold", ["-0.1", "1.01", "nan"])
def test_a_threshold_is_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str], threshold: str) -> None:
    status, said, _ = predict(
        capsys, tmp_path / "a.mha", "--out", tmp_path / "out", f"--threshold={threshold}"
    )
    assert (status, said["error"]["code"]) == (3, "threshold")
    assert "from 0 to 1" in said["error"]["message"]
    assert not (tmp_path / "out").exists()


def segmenter(folder: Path, dims: int, preprocessing: dict[str, Any]) -> Bundle:
    """Write a bundle of a U-Net that knows nothing, but is of two minds everywhere."""
    import torch

    from napari_medlab.models.networks import build_network

    torch.manual_seed(0)
    arguments = {"spatial_dims": dims, "channels": [8, 16]}
    spec = {
        "name": "mask", "task": "segmentation", "network": {"name": "unet", "arguments": arguments},
        "preprocessing": preprocessing, "tiling": {"core": [32] * dims, "halo": 8}, "classes": ["lesion"],
        "postprocessing": {"threshold": 0.5, "least_voxels": 20},
    }  # fmt: skip
    return write_bundle(folder, spec, build_network("unet", arguments).state_dict())


def test_masks_of_volumes_are_written_as_nifti_and_never_over_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], phantom: ChestPhantom
) -> None:
    monkeypatch.setenv("MEDLAB_IN_THREAD", "1")
    write_mha(tmp_path / "ct.mha", phantom)
    bundle = segmenter(tmp_path, 3, {"spacing_mm": 2.0, "window": [-1000, 400]})
    words = [tmp_path / "ct.mha", "--out", tmp_path / "out", "--model", bundle.folder, "--device", "cpu"]
    status, said, _ = predict(capsys, *words)
    assert status == 0
    (case,) = said["cases"]
    assert case["mask"] == str(tmp_path / "out" / "masks" / "ct.nii.gz")
    labels = open_image(tmp_path / "out" / "masks" / "ct.nii.gz")
    assert labels.grid.spacing == pytest.approx((2, 2, 2))
    assert set(np.unique(np.asarray(labels.arrays[0]))) <= {0, 1}
    table = read_candidates(tmp_path / "out" / "candidates.csv")
    assert len(table) == case["candidates"] > 0
    assert phantom.grid.contains(phantom.grid.to_index(table.centres)).all()
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["ct.nii.gz"]
    (tmp_path / "out" / "candidates.csv").unlink()
    assert predict(capsys, *words)[1]["error"]["code"] == "exists"


def test_masks_of_planes_are_written_as_ome_zarr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image as Picture

    monkeypatch.setenv("MEDLAB_IN_THREAD", "1")
    pixels = np.random.default_rng(0).integers(0, 255, (80, 96), dtype=np.uint8)
    Picture.fromarray(pixels).save(tmp_path / "photo.png")
    bundle = segmenter(tmp_path, 2, {"kind": "photo"})
    status, said, _ = predict(
        capsys, tmp_path / "photo.png", "--out", tmp_path / "out", "--model", bundle.folder, "--device", "cpu"
    )
    assert status == 0
    assert said["cases"][0]["mask"] == str(tmp_path / "out" / "masks" / "photo.zarr")
    assert open_image(tmp_path / "out" / "masks" / "photo.zarr").shape == (80, 96)
    table = read_candidates(tmp_path / "out" / "candidates.csv")
    assert (table.centres[:, 2] == 0).all()


def test_a_classifier_by_itself_has_nothing_to_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {**find_bundle("lung-nodules").spec, "task": "classification"}
    monkeypatch.setattr(
        "napari_medlab.models.bundles.find_bundle", lambda _: Bundle(tmp_path, spec, "7" * 64)
    )
    status, said, _ = predict(capsys, tmp_path / "a.mha", "--out", tmp_path / "out")
    assert (status, said["error"]["code"]) == (3, "no-candidates")


def test_a_full_disk_is_the_disks_fault(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    with pytest.raises(DiskError, match="No space left on device") as caught:
        table_bytes(write)
    assert caught.value.code == "disk"
    assert list(tmp_path.iterdir()) == []
