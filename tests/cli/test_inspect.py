from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pydicom import dcmread

from napari_medlab.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    *("kind", "modality", "shape", "dtype", "levels", "spacing"),
    *("unit", "affine", "frame", "estimated_bytes", "warnings"),
}


def inspected(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    status = main(["inspect", *arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_a_picture_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image as Pictures

    Pictures.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / "a.png")
    status, document = inspected(capsys, str(tmp_path / "a.png"))
    assert status == 0
    assert set(document) == KEYS
    assert (document["kind"], document["shape"], document["spacing"]) == ("photo", [4, 6, 3], None)


def test_a_refusal_is_status_three_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = inspected(capsys, str(tmp_path / "nowhere"))
    assert status == 3
    error = document["error"]
    assert isinstance(error, dict)
    assert set(error) == {"code", "message", "hint"}
    assert error["code"] == "not-found"


def test_no_path_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["inspect", "--json"])
    assert caught.value.code == 2
    assert "PATH" in capsys.readouterr().err


def test_a_real_series_maps_index_to_patient(test_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = test_data / "ct_body" / "example_ct_dicom"
    slices = [dcmread(path, stop_before_pixels=True) for path in folder.iterdir()]
    last = max(slices, key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    status, document = inspected(capsys, str(folder), "--series", str(last.SeriesInstanceUID))
    assert status == 0
    assert (document["kind"], document["modality"], document["frame"]) == ("volume", "CT", "LPS")
    world = np.asarray(document["affine"]) @ [19, 0, 0, 1]
    assert world[:3] == pytest.approx(np.asarray(last.ImagePositionPatient, dtype=float))
