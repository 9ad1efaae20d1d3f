"""What the scripts that make the shipped models rest on, and what they ship."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.annotations import Finding
from napari_medlab.geometry import Grid
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles import find_bundle, load_classifier, load_network, shipped_bundles
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.predicting import open_model
from napari_medlab.models.predicting.detector import BundleDetector
from napari_medlab.models.predicting.segmenter import BundleSegmenter
from napari_medlab.models.zoo import train_glomeruli, train_lung_nodules, train_mammography
from napari_medlab.models.zoo.raw_cases import NO_SPECKS, RawCase, raw_cases
from napari_medlab.phantoms.mammogram import mammogram_exam
from napari_medlab.phantoms.slide import slide_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.geometry.frames import Unit
    from napari_medlab.images.image import Kind

MOST_BYTES = 8 << 20
SHIPPED = ("glomeruli", "lung-nodules", "mammography")


def case_of(labels: NDArray[Any], spacing: float, *findings: Finding, unit: Unit = "mm") -> RawCase:
    kind: Kind = "slide" if unit == "um" else "volume"
    grid = Grid.axis_aligned(labels.shape, (spacing,) * labels.ndim, unit=unit)
    pixels = np.zeros((*labels.shape, 3) if unit == "um" else labels.shape, np.uint8)
    return RawCase(kind, pixels, grid, labels, findings, NO_SPECKS, "patient")


def test_cases_are_made_once_and_come_back_as_they_were(tmp_path: Path) -> None:
    first = raw_cases(tmp_path, "mammogram-reference", [7])
    made = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = raw_cases(tmp_path, "mammogram-reference", [7])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == made
    assert [case.group for case in first] == ["mammogram-reference-7"] * 4
    exam = mammogram_exam(7, "mammogram-reference-7")
    for case, view in zip(again, exam.views, strict=True):
        np.testing.assert_array_equal(case.pixels, view.pixels)
        np.testing.assert_array_equal(case.specks, view.specks)
        assert case.findings == tuple(view.findings)
        assert case.image.kind == "mammogram"


def test_a_candidate_near_a_nodule_yet_outside_teaches_nothing() -> None:
    nodule = Finding("c", (20.0, 20.0, 20.0), 10.0)
    speck = Finding("c", (60.0, 20.0, 20.0), 2.0, is_excluded=True)
    case = case_of(np.zeros((8, 8, 8), np.uint8), 1.0, nodule, speck)
    centres = np.array(
        [(20, 20, 24.9), (20, 20, 25.1), (20, 20, 29.9), (20, 20, 30.1), (60, 20, 20.9)], np.float64
    )
    assert train_lung_nodules.labels_of(case, centres).tolist() == [1, -1, -1, 0, -1]


def test_the_truth_of_a_slide_is_read_at_the_same_places_on_a_coarser_lattice() -> None:
    labels = np.zeros((64, 48), np.uint16)
    labels[16:32, 8:24] = 3
    sample = train_glomeruli.sample_of(case_of(labels, 2.0, unit="um"))
    assert sample.mask is not None
    assert sample.mask.shape == (1, 32, 24)
    np.testing.assert_array_equal(sample.mask[0], labels[::2, ::2] > 0)
    np.testing.assert_allclose(sample.boxes, [(7.5, 3.5, 15.5, 11.5)])


def test_the_boxes_of_a_mammogram_lie_around_what_is_seen() -> None:
    view = next(v for seed in range(20) for v in mammogram_exam(seed).views if len(v.specks) and v.findings)
    case = RawCase("mammogram", view.pixels, view.grid, view.labels, tuple(view.findings), view.specks, "p")
    specks = train_mammography.specks_of(case)
    middles = np.rint(specks.centres).astype(int)
    around = specks.image[0].astype(np.float32)
    assert len(middles) == len(view.specks)
    assert around[tuple(middles.T)].mean() > 1.1 * around[around > 0.05].mean()
    masses = [f for f in view.findings if f.label == "mass"]
    boxes = train_mammography.masses_of(case).boxes
    assert len(boxes) == len(masses)
    sides = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_allclose(sides.mean(axis=1) * 0.8, [f.diameter for f in masses], rtol=0.02)


def test_three_models_ship_and_each_is_small_and_says_what_it_is() -> None:
    bundles = {bundle.name: bundle for bundle in shipped_bundles()}
    assert sorted(bundles) == sorted(SHIPPED)
    for bundle in bundles.values():
        assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= MOST_BYTES
        card = (bundle.folder / "CARD.md").read_text(encoding="utf-8")
        assert str(bundle.spec["limits"]) in card
        assert bundle.folder.name == f"{bundle.name}-{bundle.hash[:12]}"
        assert bundle.spec["licence"] == "BSD-3-Clause"
        assert load_network(bundle) is not None
        for figures in bundle.figures.values():
            measure = "Dice" if "Dice" in figures else "cpm"
            low, high = figures[f"{measure}_interval"]
            assert low <= figures[measure] <= high
            assert f"| {measure} | {figures[measure]:.4g} | {low:.4g} to {high:.4g} |" in card


def test_the_nodule_model_has_a_classifier_fused_in() -> None:
    bundle = find_bundle("lung-nodules")
    assert load_classifier(bundle) is not None
    assert {name.partition(", ")[2] for name in bundle.figures} == {
        "detector alone",
        "detector and classifier",
    }


@pytest.fixture(scope="module")
def mammography() -> BundleDetector:
    model = open_model(find_bundle("mammography"))
    assert isinstance(model, BundleDetector)
    return model


def test_the_mammography_model_finds_clusters_and_most_masses(mammography: BundleDetector) -> None:
    found = {"mass": 0, "calcification": 0}
    known = {"mass": 0, "calcification": 0}
    views = [
        view for seed in (30_001, 30_002, 30_004) for view in mammogram_exam(seed).views if view.findings
    ][:5]
    for view in views:
        case = RawCase(
            "mammogram", view.pixels, view.grid, view.labels, tuple(view.findings), view.specks, "p"
        )
        candidates = [c for batch in mammography.detect(case.image, "case", CancelToken()) for c in batch]
        for finding in view.findings:
            known[finding.label] += 1
            near = [c for c in candidates if c.label == finding.label
                    and np.hypot(*np.subtract(c.centre, finding.centre)) <= finding.diameter / 2]  # fmt: skip
            found[finding.label] += bool(near)
    assert known["calcification"] >= 1
    assert known["mass"] >= 1
    assert found["calcification"] == known["calcification"]
    assert found["mass"] >= 0.5 * known["mass"]


def test_the_glomerulus_model_outlines_a_slide(tmp_path: Path) -> None:
    bundle = find_bundle("glomeruli")
    slide = slide_phantom(30_007, "slide", shape=(2048, 2048))
    case = RawCase("slide", slide.pixels, slide.grid, slide.labels, tuple(slide.findings), NO_SPECKS, "p")
    model = open_model(bundle)
    assert isinstance(model, BundleSegmenter)
    list(model.segment(case.image, "slide", tmp_path / "mask.zarr", CancelToken()))
    mask = MaskStore.open(tmp_path / "mask.zarr")
    inside = mask.read((0, 0), mask.grid.shape)[0] >= 255 * bundle.postprocessing["threshold"]
    truth = train_glomeruli.labels_on(case, mask.grid) > 0
    assert 2 * (inside & truth).sum() / (inside.sum() + truth.sum()) > 0.7


def test_bundles_are_told_by_their_tasks() -> None:
    tasks = {bundle.name: bundle.task for bundle in shipped_bundles()}
    assert tasks == {"glomeruli": "segmentation", "lung-nodules": "detection", "mammography": "detection"}
