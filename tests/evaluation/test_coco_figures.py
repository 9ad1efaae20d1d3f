from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from napari_medlab.annotations.formats import coco as coco_format
from napari_medlab.annotations.formats import coco_rle
from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, image_regions
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import OverlapRule, Resampling
from napari_medlab.evaluation.coco import FIGURES, CocoReport, Kind, evaluate_coco
from napari_medlab.evaluation.outlined_study import outlined_study
from napari_medlab.geometry import ring_area, rings_to_mask

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions

LABELS = ["mass", "calcification", "cyst"]
SIZE = 160
KEYS: dict[Kind, str] = {"bbox": "bbox", "segm": "segmentation"}


def blob(rng: np.random.Generator, centre: tuple[float, float], radius: float) -> np.ndarray[Any, Any]:
    y, x = np.indices((SIZE, SIZE))
    wobble = radius * (1 + 0.3 * np.sin(3 * np.arctan2(y - centre[0], x - centre[1]) + rng.uniform(0, 6)))
    return np.asarray(np.hypot(y - centre[0], x - centre[1]) < wobble)


def random_study(seed: int, kind: Kind, n_images: int = 12) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a reference and results as COCO has them: three classes, crowds, all sizes, equal scores, empty images."""
    rng = np.random.default_rng(seed)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, n_images + 1):
        for _ in range(int(rng.integers(0, 6))):
            centre, radius = (
                tuple(rng.uniform(20, SIZE - 20, 2)),
                float(rng.choice([6, 25, 70]) * rng.uniform(0.7, 1.2)),
            )
            category, crowd = int(rng.integers(1, 4)), int(rng.random() < 0.15)
            shape = as_entry(rng, centre, radius, kind)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": category,
                    "iscrowd": crowd,
                    **shape,
                }
            )
            for _ in range(int(rng.integers(0, 3))):
                moved = (centre[0] + rng.normal(0, radius / 6), centre[1] + rng.normal(0, radius / 6))
                near = as_result(rng, moved, radius * rng.uniform(0.8, 1.2), kind)
                score = round(float(rng.random()), 1)
                results.append({"image_id": image, "category_id": category, "score": score, **near})
        for _ in range(int(rng.integers(0, 3))):
            wrong = as_result(rng, tuple(rng.uniform(20, SIZE - 20, 2)), 20.0, kind)
            results.append(
                {
                    "image_id": image,
                    "category_id": int(rng.integers(1, 4)),
                    "score": round(float(rng.random()), 1),
                    **wrong,
                }
            )
    images = [
        {"id": n, "file_name": f"{n}.png", "height": SIZE, "width": SIZE} for n in range(1, n_images + 1)
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(LABELS, start=1)]
    return {"images": images, "categories": categories, "annotations": annotations}, results


def as_entry(
    rng: np.random.Generator, centre: tuple[float, ...], radius: float, kind: Kind
) -> dict[str, Any]:
    mask = blob(rng, (centre[0], centre[1]), radius)
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    if kind == "bbox":
        x, y, width, height = (float(each) for each in rle.toBbox(code))
        return {"bbox": [x, y, width, height], "area": width * height}
    return {
        "segmentation": {"size": [SIZE, SIZE], "counts": code["counts"].decode()},
        "bbox": rle.toBbox(code).tolist(),
        "area": int(mask.sum()),
    }


def as_result(
    rng: np.random.Generator, centre: tuple[float, ...], radius: float, kind: Kind
) -> dict[str, Any]:
    """Return an outline as results hold it: beside a mask, a box would decide about its area."""
    return {key: value for key, value in as_entry(rng, centre, radius, kind).items() if key == KEYS[kind]}


def expected_figures(reference: dict[str, Any], results: list[dict[str, Any]], kind: Kind) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = reference
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes([dict(each) for each in results]), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(each) for each in run.stats]


def as_regions(reference: dict[str, Any], entries: list[dict[str, Any]]) -> list[ImageRegions]:
    images = []
    for image in reference["images"]:
        outlines = []
        for number, entry in enumerate(entries):
            if entry["image_id"] != image["id"]:
                continue
            if "segmentation" in entry:
                counts = coco_rle.decompress(entry["segmentation"]["counts"])
                rings = coco_rle.rings_of_runs(coco_rle.runs_of_counts(counts, (SIZE, SIZE)), SIZE)
            else:
                x, y, width, height = entry["bbox"]
                rings = [box_ring(x - 0.5, y - 0.5, x + width - 0.5, y + height - 0.5)]
            outlines.append(
                Outline(
                    rings, LABELS[entry["category_id"] - 1], str(number), entry.get("score", math.nan),
                    bool(entry.get("iscrowd", 0)),
                )
            )  # fmt: skip
        shape = (image["height"], image["width"])
        images.append(image_regions(image["file_name"], outlines, shape=shape))
    return images


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_twelve_figures_are_those_of_pycocotools(kind: Kind, seed: int) -> None:
    reference, results = random_study(seed, kind)
    report = evaluate_coco(
        as_regions(reference, reference["annotations"]), as_regions(reference, results), kind
    )
    assert list(report.figures) == list(FIGURES)
    found = [-1.0 if math.isnan(value) else value for value in report.figures.values()]
    assert found == pytest.approx(expected_figures(reference, results, kind), abs=1e-9)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_files_give_the_same_figures(tmp_path: Path, kind: Kind) -> None:
    reference, results = random_study(7, kind)
    paths = tmp_path / "reference.json", tmp_path / "results.json"
    for path, value in zip(paths, (reference, results), strict=True):
        path.write_text(json.dumps(value), encoding="utf-8")
    report = evaluate_coco(coco_format.read(paths[0]), coco_format.read_results(paths[1], paths[0]), kind)
    found = [-1.0 if math.isnan(value) else value for value in report.figures.values()]
    assert found == pytest.approx(expected_figures(reference, results, kind), abs=1e-9)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_objects_are_as_large_as_their_file_says(tmp_path: Path, kind: Kind) -> None:
    reference, results = random_study(3, kind)
    rng = np.random.default_rng(4)
    for annotation in reference["annotations"]:  # as where a box states the area of what it surrounds
        annotation["area"] *= float(rng.choice([0.05, 0.4, 1.0]))
    (tmp_path / "reference.json").write_text(json.dumps(reference))
    (tmp_path / "results.json").write_text(json.dumps(results))
    read = coco_format.read(tmp_path / "reference.json")
    found = coco_format.read_results(tmp_path / "results.json", tmp_path / "reference.json")
    report = evaluate_coco(read, found, kind)
    ours = [-1.0 if math.isnan(value) else value for value in report.figures.values()]
    assert ours == pytest.approx(expected_figures(reference, results, kind), abs=1e-9)


Rings = list[np.ndarray[Any, Any]]


def random_rings(rng: np.random.Generator) -> Rings:
    """Return an outline on halves of pixels: a box, boxes that touch, a star, one with a hole, or two parts."""
    y, x = rng.integers(-10, 2 * SIZE, 2) / 2
    height, width = rng.integers(1, 2 * SIZE // 3, 2) / 2
    box = box_ring(y, x, y + height, x + width)
    turn = np.linspace(0, 2 * np.pi, int(rng.integers(5, 31)), endpoint=False)
    reach = rng.uniform(0.5, 1, len(turn)) * rng.choice([8, 30, 60])
    star = np.rint(2 * np.stack([y + reach * np.sin(turn), x + reach * np.cos(turn)], axis=1)) / 2
    touching = box_ring(y + height, x, y + 2 * height, x + width)
    several: list[Rings] = [
        [box], [box, touching], [star], [star, (star - (y, x)) / 2 + (y, x)], [star, box + 2 * reach.max()],
    ]  # fmt: skip
    return several[int(rng.integers(len(several)))]


def painted(rings: Rings) -> dict[str, Any]:
    """Return the mask and the box of an outline as pycocotools has them."""
    mask = rings_to_mask(rings, (SIZE, SIZE))
    vertices = np.concatenate(rings)
    low, sides = vertices.min(axis=0) + 0.5, np.ptp(vertices, axis=0)
    is_box = len(rings) == 1 and abs(ring_area(rings[0])) == sides.prod()
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "segmentation": {"size": [SIZE, SIZE], "counts": code["counts"].decode()},
        "bbox": [low[1], low[0], sides[1], sides[0]],
        "area": float(sides.prod()) if is_box else float(mask.sum()),
    }


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(["bbox", "segm"]))
def test_any_outlines_have_the_figures_of_their_painted_masks(seed: int, kind: Kind) -> None:
    rng = np.random.default_rng(seed)
    names = [f"{n}.png" for n in range(1, 5)]
    sets: tuple[list[ImageRegions], list[ImageRegions]] = [], []
    entries: tuple[list[dict[str, Any]], list[dict[str, Any]]] = [], []
    for number, name in enumerate(names, start=1):
        objects = [random_rings(rng) for _ in range(int(rng.integers(0, 5)))]
        moved = [[ring + rng.integers(-4, 5, 2) / 2 for ring in rings] for rings in objects]
        kinds = [int(each) for each in rng.integers(0, 3, len(objects))]
        crowds, scores = rng.random(len(objects)) < 0.2, rng.random(len(objects)).tolist()
        rows = list(zip(objects, moved, kinds, crowds.tolist(), scores, strict=True))
        sets[0].append(image_regions(
            name, [Outline(rings, LABELS[k], str(n), math.nan, crowd) for n, (rings, _, k, crowd, _) in enumerate(rows)],
            shape=(SIZE, SIZE),
        ))  # fmt: skip
        sets[1].append(image_regions(
            name, [Outline(rings, LABELS[k], str(n), score) for n, (_, rings, k, _, score) in enumerate(rows)],
        ))  # fmt: skip
        for rings, found, k, crowd, score in rows:
            about = {"image_id": number, "category_id": k + 1}
            entries[0].append({**painted(rings), **about, "id": len(entries[0]) + 1, "iscrowd": int(crowd)})
            entries[1].append({**about, "score": score, KEYS[kind]: painted(found)[KEYS[kind]]})
    if not entries[1]:
        return
    images = [
        {"id": n, "file_name": name, "height": SIZE, "width": SIZE} for n, name in enumerate(names, start=1)
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(LABELS, start=1)]
    expected = expected_figures(
        {"images": images, "categories": categories, "annotations": entries[0]}, entries[1], kind
    )
    figures = evaluate_coco(*sets, kind).figures.values()
    assert [-1.0 if math.isnan(value) else value for value in figures] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_predictions_agree_with_themselves(kind: Kind) -> None:
    _, predictions = small_study()
    figures = evaluate_coco(predictions, predictions, kind).figures
    assert [figures[name] for name in ("AP", "AP50", "AP75", "AR100")] == pytest.approx([1.0] * 4)


def small_study() -> tuple[list[ImageRegions], list[ImageRegions]]:
    reference, results = random_study(3, "bbox")
    return as_regions(reference, reference["annotations"]), as_regions(reference, results)


def test_the_figures_of_a_class_are_those_of_its_outlines_alone() -> None:
    reference, results = random_study(4, "bbox")
    whole = evaluate_coco(as_regions(reference, reference["annotations"]), as_regions(reference, results))
    for number, label in enumerate(LABELS, start=1):
        only = {
            **reference,
            "annotations": [a for a in reference["annotations"] if a["category_id"] == number],
        }
        few = [each for each in results if each["category_id"] == number]
        alone = evaluate_coco(as_regions(reference, only["annotations"]), as_regions(reference, few))
        assert whole.by_class[label] == pytest.approx(alone.figures, nan_ok=True)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        evaluate_coco(*small_study())
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_intervals_repeat_and_patients_are_drawn_whole() -> None:
    reference, predictions = small_study()
    first, second = (
        evaluate_coco(reference, predictions, resampling=Resampling(60, seed=2)) for _ in range(2)
    )
    assert first.intervals == second.intervals
    low, high = first.intervals["AP"]
    assert low < first.figures["AP"] < high
    one = dict.fromkeys([image.image for image in reference], "the only patient")
    together = evaluate_coco(reference, predictions, resampling=Resampling(3), groups=one)
    assert together.intervals["AP"] == pytest.approx((first.figures["AP"],) * 2)


def test_figures_that_do_not_exist_are_none() -> None:
    box = Outline([box_ring(0, 0, 4, 4)], "mass", "1")
    reference = [image_regions("a", [box], shape=(50, 50)), image_regions("b", [], shape=(50, 50))]
    report = evaluate_coco(reference, [])
    document = report.as_json(classes=True)
    assert set(document) == {*FIGURES, "classes"}
    assert (document["AP"], document["APs"], document["APl"]) == (0.0, 0.0, None)
    assert document["classes"]["mass"]["AP"] == 0.0
    assert "interval" in CocoReport(report.figures, {}, {"AP": (0.0, 1.0)}).as_json()


def scored(image: str, score: float = 0.5, shape: tuple[int, int] | None = (50, 50)) -> ImageRegions:
    return image_regions(image, [Outline([box_ring(0, 0, 4, 4)], "mass", "1", score)], shape=shape)


@pytest.mark.parametrize(
    ("reference", "predictions", "kind", "what"),
    [
        ([scored("a"), scored("a")], [], "bbox", "twice"),
        ([scored("a")], [scored("b")], "bbox", "'b' among them"),
        ([scored("a")], [scored("a", math.nan)], "bbox", "no score"),
        ([scored("a", shape=None)], [scored("a")], "segm", "unknown"),
        ([], [], "bbox", "no image"),
    ],
)
def test_sets_that_do_not_belong_together_are_refused(
    reference: list[ImageRegions], predictions: list[ImageRegions], kind: Kind, what: str
) -> None:
    with pytest.raises(InputRefusedError, match=what) as refusal:
        evaluate_coco(reference, predictions, kind)
    assert refusal.value.code == "coco"


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_the_rule_by_overlap_pairs_as_pycocotools_does(kind: Kind, iou: float) -> None:
    reference, results = random_study(11, kind, n_images=20)
    study = outlined_study(as_regions(reference, reference["annotations"]), [as_regions(reference, results)])
    rule = OverlapRule(study.shapes, iou, same_label=True, max_marks=100)
    counts = rule.match(study.findings, study.candidates[0], study.cases).counts
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = reference
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes([dict(each) for each in results]), kind)
        run.params.iouThrs = np.array([iou])
        run.params.areaRng = run.params.areaRng[:1]
        run.evaluate()
    images = [each for each in run.evalImgs if each is not None]
    hit = np.concatenate([each["dtMatches"][0] > 0 for each in images])
    ignored = np.concatenate([each["dtIgnore"][0].astype(bool) for each in images])
    assert counts["tp"] == (hit & ~ignored).sum()
    assert counts["ignored"] == ignored.sum()
    assert counts["fp"] == (~hit & ~ignored).sum()
