"""The shipped detector on a chest CT of a patient, by way of the worker process."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.cli.main import main
from napari_medlab.images import open_image
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.inference.worker import MODULE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def series(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ct")
    with tarfile.open(next((test_data / "ct_lung").glob("*.tar.xz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_it_is_what_its_origin_says(series: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(series), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["shape"] == [99, 512, 512]
    assert document["spacing"] == pytest.approx([3.0, 0.564453125, 0.564453125])
    assert (document["kind"], document["modality"], document["unit"]) == ("volume", "CT", "mm")


@pytest.mark.slow
def test_candidates_lie_inside_and_the_run_ends(series: Path) -> None:
    request: dict[str, Any] = {
        "op": "predict", "bundle": str(find_bundle("lung-nodules").folder), "image": str(series), "case_id": "ct",
    }  # fmt: skip
    with WorkerProcess(MODULE) as worker:
        events = list(worker.events(request, CancelToken()))
    assert [event["event"] for event in events[-2:]] == ["seconds", "done"]
    assert events[-2]["seconds"] > 0
    rows = [row for event in events if event["event"] == "batch" for row in event["candidates"]]
    assert rows
    index = open_image(series).grid.to_index(np.asarray([row[1] for row in rows]))
    assert open_image(series).grid.contains(index).all()
    assert all(0 <= row[2] <= 1 and row[3] > 0 for row in rows)
