from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medlab.cli.main import main

ANNOTATIONS = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,8\nb,0,0,0,8\nb,50,0,0,8\n"
EXCLUDED = "seriesuid,coordX,coordY,coordZ,diameter_mm\nc,0,0,0,-1\n"
CANDIDATES = """seriesuid,coordX,coordY,coordZ,probability
a,1,0,0,0.9
a,2,0,0,0.8
b,1,0,0,0.7
b,90,0,0,0.6
c,1,0,0,0.5
d,9,0,0,0.4
"""


@pytest.fixture
def study(tmp_path: Path) -> dict[str, str]:
    texts = {"reference": ANNOTATIONS, "ignore": EXCLUDED, "candidates": CANDIDATES, "cases": "a\nb\nc\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    return {name: str(tmp_path / f"{name}.csv") for name in texts}


def arguments(study: dict[str, str], *names: str) -> list[str]:
    return ["evaluate", "froc", *(word for name in names for word in (f"--{name}", study[name]))]


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_the_figures_of_a_small_study(study: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments(study, "reference", "ignore", "cases", "candidates"), "--json"]) == 0
    assert document(capsys) == {
        "cpm": pytest.approx(2 / 3),
        "sensitivity": dict.fromkeys(["0.125", "0.25", "0.5", "1", "2", "4", "8"], pytest.approx(2 / 3)),
        "cases": 3,
        "findings": 3,
        "candidates": 5,
        "tp": 2,
        "fp": 1,
        "fn": 1,
        "ignored": 1,
        "duplicates": 1,
        "interval": {},
    }


def test_without_a_list_every_series_that_occurs_is_a_case(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments(study, "reference", "ignore", "candidates"), "--json"]) == 0
    result = document(capsys)
    assert (result["cases"], result["fp"], result["candidates"]) == (4, 2, 6)


def test_excluded_findings_are_false_positives_where_they_are_not_given(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*arguments(study, "reference", "cases", "candidates"), "--json"])
    result = document(capsys)
    assert (result["ignored"], result["fp"]) == (0, 2)


def test_intervals_are_asked_for_and_repeat(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        *arguments(study, "reference", "cases", "candidates"),
        "--bootstrap",
        "50",
        "--seed",
        "3",
        "--json",
    ]
    main(words)
    first = document(capsys)
    main(words)
    assert document(capsys) == first
    assert set(first["interval"]) == {"cpm", "0.125", "0.25", "0.5", "1", "2", "4", "8"}
    low, high = first["interval"]["cpm"]
    assert low <= first["cpm"] <= high


def test_json_may_be_asked_for_before_the_figure(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = arguments(study, "reference", "candidates")
    assert main([words[0], "--json", *words[1:]]) == 0
    assert "cpm" in document(capsys)


def test_people_get_text(study: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(study, "reference", "candidates")) == 0
    assert "cpm: 0.66" in capsys.readouterr().out


def test_a_reference_without_findings_has_no_sensitivity(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(study["reference"]).write_text(ANNOTATIONS.splitlines()[0] + "\n", encoding="utf-8")
    assert main([*arguments(study, "reference", "candidates"), "--bootstrap", "5", "--json"]) == 0
    result = document(capsys)
    assert result["cpm"] is None
    assert result["sensitivity"]["1"] is None
    assert result["interval"]["cpm"] is None


def test_a_bad_cell_is_refused_with_its_line(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(study["candidates"]).write_text(CANDIDATES.replace("0.7", "high"), encoding="utf-8")
    assert main([*arguments(study, "reference", "candidates"), "--json"]) == 3
    error = document(capsys)["error"]
    assert error["code"] == "csv"
    assert error["message"] == "candidates.csv line 4: probability is 'high', expected a number"
    assert error["hint"]


def test_a_missing_file_is_refused(study: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(study["ignore"]).unlink()
    assert main([*arguments(study, "reference", "ignore", "candidates"), "--json"]) == 3
    assert document(capsys)["error"]["code"] == "file"


def test_no_case_at_all_is_refused(study: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (("reference", ANNOTATIONS), ("candidates", CANDIDATES)):
        Path(study[name]).write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    assert main([*arguments(study, "reference", "candidates"), "--json"]) == 3
    assert document(capsys)["error"]["code"] == "no-cases"


@pytest.mark.parametrize("wrong", [["--bootstrap", "-1"], ["--seed", "x"], ["--rule", "none"]])
def test_wrong_usage_exits_with_2(study: dict[str, str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*arguments(study, "reference", "candidates"), *wrong])
    assert left.value.code == 2


def test_the_command_line_as_a_program(study: dict[str, str]) -> None:
    code = "import sys; from napari_medlab.cli.main import main; sys.exit(main())"
    words = [*arguments(study, "reference", "cases", "candidates"), "--json"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["tp"] == 2
    Path(study["reference"]).unlink()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "file"


def mask_file(path: Path, mask: np.ndarray, shift: float = 0.0) -> str:
    import nibabel as nib

    affine = np.diag([0.7, 0.8, 2.5, 1.0])
    affine[0, 3] = shift
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    nib.save(image, path)
    return str(path)


def test_overlap_of_two_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = np.zeros((12, 10, 8))
    reference[2:6, 3:7, 1:5] = 1
    prediction = np.roll(reference, 2, axis=0)
    words = ["--reference", mask_file(tmp_path / "r.nii.gz", reference)]
    words += ["--prediction", mask_file(tmp_path / "p.nii.gz", prediction)]
    assert main(["evaluate", "overlap", *words, "--json"]) == 0
    assert document(capsys) == {
        "dice": 0.5,
        "iou": pytest.approx(1 / 3),
        "hd95_mm": pytest.approx(1.4, abs=1e-5),
        "volume_reference_ml": pytest.approx(64 * 0.7 * 0.8 * 2.5 / 1000),
        "volume_prediction_ml": pytest.approx(64 * 0.7 * 0.8 * 2.5 / 1000),
    }


def test_masks_in_different_places_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--reference", mask_file(tmp_path / "r.nii.gz", np.ones((4, 4, 4)))]
    words += ["--prediction", mask_file(tmp_path / "p.nii.gz", np.ones((4, 4, 4)), shift=5.0)]
    assert main(["evaluate", "overlap", *words, "--json"]) == 3
    assert document(capsys)["error"]["code"] == "grid"
