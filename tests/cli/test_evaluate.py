from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_medlab.cli.main import main
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.images.writers import write_image

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
    expected = {
        "dice": 0.5,
        "iou": pytest.approx(1 / 3),
        "hd95_mm": pytest.approx(1.4, abs=1e-5),
        "volume_reference_ml": pytest.approx(64 * 0.7 * 0.8 * 2.5 / 1000),
        "volume_prediction_ml": pytest.approx(64 * 0.7 * 0.8 * 2.5 / 1000),
        "surface_dice": pytest.approx(40 / 56),
    }
    assert document(capsys) == {**expected, "classes": {"1": expected}}


def test_masks_in_different_places_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--reference", mask_file(tmp_path / "r.nii.gz", np.ones((4, 4, 4)))]
    words += ["--prediction", mask_file(tmp_path / "p.nii.gz", np.ones((4, 4, 4)), shift=5.0)]
    assert main(["evaluate", "overlap", *words, "--json"]) == 3
    assert document(capsys)["error"]["code"] == "grid"


def run(capsys: pytest.CaptureFixture[str], words: list[str], status: int = 0) -> dict[str, Any]:
    assert main([*words, "--json"]) == status
    return document(capsys)


FROC_KEYS = {
    "cpm", "sensitivity", "cases", "findings", "candidates", "tp", "fp", "fn", "ignored", "duplicates", "interval",
}  # fmt: skip


def test_the_sensitivity_at_any_rate_and_precision_and_recall(
    study: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*arguments(study, "reference", "cases", "candidates"), "--bootstrap", "20"]
    result = run(capsys, [*words, "--at", "0.3", "10", "--precision-recall", "--penalty", "0.1"])
    assert set(result) == FROC_KEYS | {"at", "precision_recall", "penalised_recall"}
    assert result["at"]["10"]["sensitivity"] == pytest.approx(2 / 3)
    assert len(result["at"]["mean"]["interval"]) == 2
    assert result["precision_recall"]["average_precision"] == pytest.approx(2 / 3)
    assert result["penalised_recall"]["best"] == pytest.approx(2 / 3)
    assert set(run(capsys, words)) == FROC_KEYS


def test_patients_are_drawn_and_not_series(
    study: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "patients.csv"
    table.write_text("seriesuid,patient\na,p\nb,p\nc,p\n", encoding="utf-8")
    words = [
        *arguments(study, "reference", "cases", "candidates"),
        "--bootstrap",
        "20",
        "--patients",
        str(table),
    ]
    assert run(capsys, words)["interval"]["cpm"] == pytest.approx([2 / 3, 2 / 3])
    table.write_text("seriesuid,patient\na,p\na,q\n", encoding="utf-8")
    assert run(capsys, words, 3)["error"]["message"] == "patients:3: a has 'q', and 'p' before"


def test_figures_by_stratum(
    study: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = tmp_path / "fields.csv"
    fields.write_text("seriesuid,site,age\na,north,50\nb,south,60\n", encoding="utf-8")
    words = arguments(study, "reference", "cases", "candidates")
    result = run(capsys, [*words, "--by", "site", "--fields", str(fields)])["strata"]
    assert result["field"] == "site"
    assert {name: each["findings"] for name, each in result["values"].items()} == {
        "north": 1,
        "south": 2,
        "unknown": 0,
    }
    assert set(result["values"]["north"]) == FROC_KEYS
    sizes = run(capsys, [*words, "--by", "size", "--size-edges", "5", "8"])["strata"]["values"]
    assert list(sizes) == ["8 and above"]
    assert list(run(capsys, [*words, "--by", "class"])["strata"]["values"]) == ["nodule"]
    assert run(capsys, [*words, "--by", "site"], 3)["error"]["code"] == "strata"
    assert run(capsys, [*words, "--by", "height", "--fields", str(fields)], 3)["error"]["code"] == "csv"


def test_other_rules(study: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = arguments(study, "reference", "cases", "candidates")
    assert run(capsys, [*words, "--rule", "camelyon"])["camelyon_score"]["sensitivity"] == pytest.approx(
        2 / 3
    )
    refusal = run(capsys, [*words, "--rule", "iou"], 3)["error"]
    assert refusal["code"] == "no-extent"
    assert run(capsys, [*words, "--iou", "0.3"], 3)["error"]["code"] == "rule"


@pytest.fixture
def coco(tmp_path: Path) -> list[str]:
    images = [{"id": n, "file_name": f"{n}.png", "height": 64, "width": 64} for n in (1, 2)]
    categories = [{"id": 1, "name": "mass"}, {"id": 2, "name": "cyst"}]
    boxes = [(1, 1, [8, 8, 20, 20]), (1, 2, [40, 40, 10, 10]), (2, 1, [4, 4, 40, 40])]
    annotations = [
        {"id": n, "image_id": image, "category_id": label, "bbox": box, "iscrowd": 0, "area": box[2] * box[3]}
        for n, (image, label, box) in enumerate(boxes, start=1)
    ]
    results = [
        {"image_id": 1, "category_id": 1, "bbox": [8, 8, 20, 20], "score": 0.9},
        {"image_id": 1, "category_id": 1, "bbox": [40, 8, 9, 9], "score": 0.8},
        {"image_id": 2, "category_id": 1, "bbox": [4, 4, 30, 40], "score": 0.7},
    ]
    whole = {"images": images, "categories": categories, "annotations": annotations}
    for name, value in (("reference", whole), ("results", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return [str(tmp_path / "reference.json"), str(tmp_path / "results.json")]


def test_the_twelve_figures_of_coco(coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "coco", "--reference", coco[0], "--predictions", coco[1]]
    result = run(capsys, words)
    assert list(result) == [
        "AP",
        "AP50",
        "AP75",
        "APs",
        "APm",
        "APl",
        "AR1",
        "AR10",
        "AR100",
        "ARs",
        "ARm",
        "ARl",
    ]
    # one class is never found; the other at precision 1 up to half the recall and at 2/3 from there
    assert result["AP50"] == pytest.approx((0.5 * 1 + 0.5 * 2 / 3) / 2, abs=0.01)
    assert result["APl"] is None
    assert run(capsys, [*words, "--type", "segm"])["AR1"] == pytest.approx(result["AR1"])
    more = run(capsys, [*words, "--classes", "--bootstrap", "10"])
    assert set(more) == {*result, "classes", "interval"}
    assert more["classes"]["cyst"]["AP"] == 0.0
    assert more["classes"]["mass"]["AP75"] == pytest.approx(result["AP75"] * 2)
    assert len(more["interval"]["AP"]) == 2


def test_results_may_number_images_and_categories_in_a_way_of_their_own(
    coco: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "coco", "--reference", coco[0], "--predictions"]
    expected = run(capsys, [*words, coco[1]])
    renumbered = json.loads(Path(coco[0]).read_text(encoding="utf-8")) | {"annotations": []}
    for entry in (*renumbered["images"], *renumbered["categories"]):
        entry["id"] += 10
    results = json.loads(Path(coco[1]).read_text(encoding="utf-8"))
    for entry in results:
        entry.update(image_id=entry["image_id"] + 10, category_id=entry["category_id"] + 10)
    images, other = tmp_path / "images.json", tmp_path / "other.json"
    images.write_text(json.dumps(renumbered), encoding="utf-8")
    other.write_text(json.dumps(results), encoding="utf-8")
    assert run(capsys, [*words, str(other)], 3)["error"]["code"] == "coco"
    assert run(capsys, [*words, str(other), "--images", str(images)]) == expected
    froc = ["evaluate", "froc", "--reference", coco[0], "--candidates", str(other), "--images", str(images)]
    assert run(capsys, froc)["tp"] == 2
    table = tmp_path / "table.csv"
    table.write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\na,0,0,0,8\n", encoding="utf-8")
    froc[froc.index(coco[0])] = str(table)
    assert run(capsys, froc, 3)["error"]["code"] == "option"


def test_outlines_are_matched_by_overlap(coco: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "froc", "--reference", coco[0], "--candidates", coco[1], "--rule", "iou"]
    result = run(capsys, [*words, "--iou", "0.7"])
    assert {name: result[name] for name in ("tp", "fp", "fn", "cases")} == {
        "tp": 2,
        "fp": 1,
        "fn": 1,
        "cases": 2,
    }
    assert run(capsys, [*words, "--iou", "0.8"])["tp"] == 1
    assert run(capsys, [*words, "--iou", "0.7", "--same-label"])["tp"] == 2
    assert run(capsys, [*words[:-1], "luna16", "--same-label"], 3)["error"]["code"] == "rule"
    models = ["--reference", coco[0], "--a", coco[1], "--b", coco[1]]
    compared = run(capsys, ["compare", *models, "--rule", "iou", "--pairing-distance", "2"])
    assert compared["counts"]["still_found"] == 2
    assert run(capsys, [*words, "--ignore", coco[0]], 3)["error"]["code"] == "coco"


def test_folders_of_masks_have_means_over_patients(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = np.zeros((12, 10, 8))
    reference[2:6, 3:7, 1:5] = 1
    for folder in ("r", "p"):
        (tmp_path / folder).mkdir()
    for name, shift in (("a", 0), ("b", 2)):
        mask_file(tmp_path / "r" / f"{name}.nii.gz", reference)
        mask_file(tmp_path / "p" / f"{name}.nii.gz", np.roll(reference, shift, axis=0))
    words = ["evaluate", "overlap", "--reference", str(tmp_path / "r"), "--prediction", str(tmp_path / "p")]
    result = run(capsys, [*words, "--bootstrap", "50", "--tolerance", "1.5"])
    assert list(result["cases"]) == ["a", "b"]
    assert result["cases"]["b"]["surface_dice"] == 1.0
    dice = result["mean"]["whole"]["dice"]
    assert (dice["mean"], dice["n"], dice["interval"]) == (0.75, 2, [0.5, 1.0])
    mask_file(tmp_path / "r" / "c.nii.gz", reference)
    refusal = run(capsys, words, 3)["error"]
    assert refusal["code"] == "mask"
    assert "'c'" in refusal["message"]


def test_detection_maps_are_matched_with_masks_as_pi_cai_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("reference", "maps"):
        (tmp_path / name).mkdir()
    grid = Grid.axis_aligned((4, 20, 20), (3.0, 0.5, 0.5))
    for number in range(3):
        mask, found = np.zeros(grid.shape, np.uint8), np.zeros(grid.shape, np.float32)
        if number:
            mask[1:3, 4:10, 4:10] = 1
            found[1:3, 4:10, 6 * number : 6 * number + 5] = 0.3 * number  # the second lies beside its lesion
        found[0, 16:19, 16:19] = 0.2
        write_image(Image.of_arrays([mask], grid), tmp_path / "reference" / f"case-{number}.nii.gz")
        write_image(Image.of_arrays([found], grid), tmp_path / "maps" / f"case-{number}.nii.gz")
    asked = ["--reference", str(tmp_path / "reference"), "--candidates", str(tmp_path / "maps")]
    assert main(["evaluate", "froc", *asked, "--rule", "picai", "--precision-recall", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in ("cases", "findings", "candidates", "tp", "fp", "fn")} == {
        "cases": 3, "findings": 2, "candidates": 5, "tp": 1, "fp": 4, "fn": 1
    }  # fmt: skip
    assert told["sensitivity"]["2"] == 0.5
    (tmp_path / "maps" / "case-2.nii.gz").unlink()
    assert main(["evaluate", "froc", *asked, "--rule", "picai", "--json"]) == 3
    assert "'case-2'" in json.loads(capsys.readouterr().out)["error"]["message"]


@pytest.mark.parametrize("wrong", [["--at", "-1"], ["--penalty", "nan"], ["--at", "inf"]])
def test_a_rate_that_is_none_is_wrong_usage(study: dict[str, str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([*arguments(study, "reference", "candidates"), *wrong])
    assert left.value.code == 2
