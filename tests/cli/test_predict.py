from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.annotations.luna16 import read_candidates
from napari_medlab.cli.main import main
from napari_medlab.models.bundles import shipped_bundles
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
    status, said, progress = predict(capsys, good, broken, again, "--out", tmp_path / "out")
    assert status == 0
    assert (said["model"], said["hash"]) == ("lung-nodules", shipped_bundles()[0].hash)
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
        (["a.mha", "--out", "out", "--device", "cuda"], "no-cuda"),
        (["a.mha", "--out", "out", "--model", "nothing"], "unknown-model"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, said, _ = predict(capsys, *words)
    assert (status, said["error"]["code"]) == (3, code)
    assert list(tmp_path.iterdir()) == []
