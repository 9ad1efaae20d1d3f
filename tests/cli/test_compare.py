from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

REFERENCE = "seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,8\nb,0,0,0,8\nb,50,0,0,8\nb,99,0,0,8\n"
HEADER = "seriesuid,coordX,coordY,coordZ,probability\n"
A = HEADER + "a,0,0,0,0.9\nb,0,0,0,0.8\na,0,90,0,0.7\n"
B = HEADER + "a,1,0,0,5\nb,50,0,0,4\na,0,94,0,3\nb,0,80,0,2\n"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    for name, text in (("reference", REFERENCE), ("a", A), ("b", B)):
        (tmp_path / f"{name}.csv").write_text(text, encoding="utf-8")
    files = [
        word for name in ("reference", "a", "b") for word in (f"--{name}", str(tmp_path / f"{name}.csv"))
    ]
    return ["compare", *files, "--json"]


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_both_figures_and_every_lesion(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    result = document(capsys)
    assert (result["a"]["tp"], result["b"]["tp"]) == (2, 2)
    assert result["difference"] == {"cpm": 0.0, "interval": None, "p_value": None}
    assert result["operating_point"] == {"fp_per_scan": 1.0, "threshold_a": 0.7, "threshold_b": 2.0}
    assert result["counts"] == {
        "fixed": 1,
        "regressed": 1,
        "still_missed": 1,
        "still_found": 1,
        "new_false_positive": 1,
        "removed_false_positive": 0,
        "still_false_positive": 1,
        "tp_a": 2,
        "fp_a": 1,
        "tp_b": 2,
        "fp_b": 2,
    }
    assert result["fixed"] == [
        {"case": "b", "finding": "reference:4", "centre": [50.0, 0.0, 0.0], "score_a": None, "score_b": 4.0}
    ]
    assert [each["finding"] for each in result["regressed"]] == ["reference:3"]
    assert [each["finding"] for each in result["still_missed"]] == ["reference:5"]
    assert result["new_false_positive"] == [
        {"case": "b", "candidate": "b:5", "centre": [0.0, 80.0, 0.0], "score": 2.0}
    ]
    assert result["removed_false_positive"] == []


def test_the_operating_point_can_be_chosen(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--fp-per-scan", "0.5"]) == 0
    assert document(capsys)["counts"]["new_false_positive"] == 0


def test_the_difference_is_resampled_on_request(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--bootstrap", "30", "--seed", "1"]) == 0
    result = document(capsys)
    low, high = result["difference"]["interval"]
    assert low <= result["difference"]["cpm"] <= high
    assert 0 < result["difference"]["p_value"] <= 1
    assert set(result["a"]["interval"]) == set(result["b"]["interval"]) >= {"cpm", "0.125"}
    main([*words, "--bootstrap", "30", "--seed", "1"])
    assert document(capsys) == result


def test_a_case_of_one_model_alone_is_a_case_for_both(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.csv").write_text(f"{B}only,0,0,0,1\n", encoding="utf-8")
    assert main(words) == 0
    result = document(capsys)
    assert result["a"]["cases"] == result["b"]["cases"] == 3


def test_a_bad_table_is_refused(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.csv").write_text(B.replace("0,94", "nan,94"), encoding="utf-8")
    assert main(words) == 3
    assert document(capsys)["error"]["message"] == "b.csv line 4: coordX is 'nan', expected a finite number"


@pytest.mark.parametrize("wrong", ["0", "-1", "nan", "inf", "x"])
def test_an_operating_point_that_is_no_rate_is_wrong_usage(words: list[str], wrong: str) -> None:
    with pytest.raises(SystemExit) as left:
        main([*words, f"--fp-per-scan={wrong}"])
    assert left.value.code == 2
