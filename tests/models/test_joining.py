"""Models joined to one, and the weights by which they are."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from phantom_projects import add_plain_cases

from napari_medlab.annotations import Candidate
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Image
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import Bundle, load_classifier, load_network, read_bundle, write_bundle
from napari_medlab.models.classification.fusion import fuse
from napari_medlab.models.networks import build_network
from napari_medlab.models.predicting import open_model
from napari_medlab.models.training.holding_out import HoldOut
from napari_medlab.models.training.sample_folders import find_samples
from napari_medlab.models.training.samples import Sample, write_sample
from napari_medlab.models.workflows.joining import Fusion, attach_classifier, join_bundles
from napari_medlab.models.workflows.tuning import tune_weights, validation_cases
from napari_medlab.project import Project
from napari_medlab.project.edits import add_candidates, add_run, finish_case, finish_run
from napari_medlab.protocols import Classifier, Detector

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEATMAP = {"name": "centre-heatmap", "arguments": {"spatial_dims": 3, "channels": [2, 2, 2]}}
UNET = {"name": "unet", "arguments": {"spatial_dims": 2, "in_channels": 1, "classes": 1, "channels": [2, 2]}}
CUBES = {
    "name": "cube-classifier",
    "arguments": {"spatial_dims": 3, "in_channels": 1, "sides": [8], "channels": [2, 2], "hidden": 2},
}
ONE_STAGE = {
    "name": "one-stage",
    "arguments": {
        "spatial_dims": 3, "in_channels": 1, "classes": 1, "channels": 4, "convs": 1, "levels": [2, 3, 4],
        "backbone": {"name": "resnet10", "planes": [2, 2, 2, 2], "stem_stride": 1, "stages": 3},
        "anchors": {"sizes": [[4.0], [8.0], [16.0]], "ratios": [1.0]},
    },
}  # fmt: skip
CT = {"spacing_mm": 1.5, "window": [-1000, 400]}


def bundle(
    folder: Path, network: dict[str, Any], task: str, seed: int = 0, **more: Any  # noqa: ANN401 - of the spec
) -> Bundle:  # fmt: skip
    torch.manual_seed(seed)
    weights = build_network(network["name"], network["arguments"]).state_dict()
    spec = {
        "name": f"{task}-{seed}", "task": task, "network": network, "preprocessing": CT, "postprocessing": {},
        "classes": ["nodule"], "training": {"data": [f"data {seed}"], "hold_out": f"fold:{seed + 1}/5"},
        "licence": "MIT", "limits": f"limit {seed}", **more,
    }  # fmt: skip
    return write_bundle(folder, spec, weights)


def test_probabilities_of_segmenters_are_averaged_by_weight(tmp_path: Path) -> None:
    members = [
        bundle(tmp_path, UNET, "segmentation", seed, postprocessing={"threshold": 0.4 + 0.2 * seed})
        for seed in range(2)
    ]
    joined = read_bundle(join_bundles(members, tmp_path / "out", weights=[3, 1], name="both").folder)
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode():
        wanted = [load_network(member)(image).sigmoid() for member in members]
        found = load_network(joined)(image).sigmoid()
    torch.testing.assert_close(found, 0.75 * wanted[0] + 0.25 * wanted[1], rtol=1e-3, atol=1e-5)
    assert joined.name == "both"
    assert joined.postprocessing["threshold"] == pytest.approx(0.45)
    assert joined.spec["network"]["arguments"]["join"] == "maps"


def test_an_ensemble_says_where_it_comes_from(tmp_path: Path) -> None:
    members = [bundle(tmp_path, HEATMAP, "detection", seed) for seed in range(2)]
    joined = join_bundles(members, tmp_path / "out", searched={"cases_sha256": "abc"})
    said = joined.spec["training"]["joined_from"]
    assert [one["hash"] for one in said["bundles"]] == [member.hash for member in members]
    assert [one["hold_out"] for one in said["bundles"]] == ["fold:1/5", "fold:2/5"]
    assert (said["weights"], said["searched"]) == ([0.5, 0.5], {"cases_sha256": "abc"})
    assert joined.spec["training"]["data"] == ["data 0", "data 1"]
    assert (joined.parent, joined.figures, joined.spec["licence"]) == (None, {}, "MIT")
    assert {"limit 0", "limit 1"} < {*joined.limits}
    card = (joined.folder / "CARD.md").read_text()
    assert members[0].title in card
    assert "has not been measured" in card


@pytest.mark.parametrize(("second", "join"), [(HEATMAP, "maps"), (ONE_STAGE, "boxes")])
def test_detectors_are_joined_by_maps_or_by_boxes(tmp_path: Path, second: dict[str, Any], join: str) -> None:
    members = [bundle(tmp_path, HEATMAP, "detection", 0), bundle(tmp_path, second, "detection", 1)]
    joined = join_bundles(members, tmp_path / "out")
    assert joined.spec["network"]["arguments"]["join"] == join
    small = {**joined.spec["tiling"], "core": [16, 16, 16], "halo": 0}
    spec = {key: value for key, value in joined.spec.items() if key != "weights_sha256"}
    small_tiles = write_bundle(
        tmp_path / "small", {**spec, "tiling": small}, load_network(joined).state_dict()
    )
    volume = np.full((16, 16, 16), -900, np.int16)
    image = Image.of_arrays([volume], Grid.axis_aligned(volume.shape, (1.5,) * 3))
    model = open_model(small_tiles, device="cpu", precision="float32")
    assert isinstance(model, Detector)
    found = [one for batch in model.detect(image, "case", CancelToken()) for one in batch]
    assert all(np.isfinite(one.score) for one in found)


def test_classifiers_are_joined_and_the_ensemble_is_attached(tmp_path: Path) -> None:
    detector = bundle(tmp_path, HEATMAP, "detection", 0)
    classifiers = [
        bundle(tmp_path, CUBES, "classification", seed, preprocessing={"spacing_mm": 1.0, "window": [-1000, 400]})
        for seed in (1, 2)
    ]  # fmt: skip
    both = join_bundles(classifiers, tmp_path / "out", name="both")
    fused = read_bundle(
        attach_classifier(detector, both, tmp_path / "out", fusion=Fusion(0.3), name="fused").folder
    )
    part = fused.classifier
    assert part is not None
    assert (part["spacing_mm"], part["shape"], part["window"]) == (1.0, [8, 8, 8], [-1000.0, 400.0])
    assert part["fusion"] == {"rule": "geometric mean", "weight": 0.3}
    cubes = torch.rand(2, 1, 8, 8, 8)
    judging = load_classifier(fused)
    assert judging is not None
    with torch.inference_mode():
        members = torch.stack([load_network(one)(cubes).sigmoid() for one in classifiers])
        torch.testing.assert_close(judging(cubes).sigmoid(), members.mean(dim=0), rtol=1e-3, atol=1e-5)
    own, after = load_network(detector).state_dict(), load_network(fused).state_dict()
    assert all(torch.equal(value, after[name]) for name, value in own.items())
    assert [one["hash"] for one in fused.spec["training"]["joined_from"]["bundles"]] == [
        detector.hash,
        both.hash,
    ]


def test_a_fused_bundle_gives_the_fused_scores(tmp_path: Path) -> None:
    tiling = {"core": [16, 16, 16], "halo": 0}
    loose = {"threshold": 0.0, "most": 3}
    detector = bundle(tmp_path, HEATMAP, "detection", 0, tiling=tiling, postprocessing=loose)
    classifier = bundle(tmp_path, CUBES, "classification", 1)
    fused = attach_classifier(detector, classifier, tmp_path / "out", fusion=Fusion(0.25))
    volume = np.random.default_rng(0).integers(-1000, 400, (16, 16, 16)).astype(np.int16)
    image = Image.of_arrays([volume], Grid.axis_aligned(volume.shape, (1.5,) * 3))
    found = []
    for each in (detector, fused):
        model = open_model(each, device="cpu", precision="float32")
        assert isinstance(model, Detector)
        found.append([one for batch in model.detect(image, "case", CancelToken()) for one in batch])
    judge = open_model(classifier, device="cpu", precision="float32")
    assert isinstance(judge, Classifier)
    alone, together = found
    assert alone
    assert [one.centre for one in alone] == [one.centre for one in together]
    judged = judge.judge(image, alone, CancelToken())
    wanted = fuse([one.score for one in alone], judged, "geometric mean", 0.25)
    np.testing.assert_allclose([one.score for one in together], wanted, rtol=1e-4)


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"preprocessing": {**CT, "spacing_mm": 1.0}}, "spacing_mm"),
        ({"classes": ["mass"]}, "classes"),
        ({"postprocessing": {"merge_mm": 4.0}}, "merge_mm"),
    ],
)
def test_models_that_do_not_see_alike_are_refused_with_what_differs(
    tmp_path: Path, more: dict[str, Any], what: str
) -> None:
    members = [bundle(tmp_path, HEATMAP, "detection", 0), bundle(tmp_path, HEATMAP, "detection", 1, **more)]
    with pytest.raises(InputRefusedError, match=what) as caught:
        join_bundles(members, tmp_path / "out")
    assert caught.value.code == "not-alike"
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_joined_is_refused(tmp_path: Path) -> None:
    detector, other = (bundle(tmp_path, HEATMAP, "detection", seed) for seed in range(2))
    classifier = bundle(tmp_path, CUBES, "classification", 2)
    fused = attach_classifier(detector, classifier, tmp_path / "out")
    planar = bundle(tmp_path, CUBES, "classification", 3, preprocessing={"kind": "photo", "window": [0, 255]})
    refused: list[tuple[str, Any]] = [
        ("members", lambda: join_bundles([detector], tmp_path)),
        ("weights", lambda: join_bundles([detector, other], tmp_path, weights=[1.0])),
        ("weights", lambda: join_bundles([detector, other], tmp_path, weights=[0.0, 0.0])),
        ("not-alike", lambda: join_bundles([detector, classifier], tmp_path)),
        ("ensemble-classifier", lambda: join_bundles([detector, fused], tmp_path)),
        ("ensemble-classifier", lambda: attach_classifier(fused, classifier, tmp_path)),
        ("task", lambda: attach_classifier(classifier, detector, tmp_path)),
        ("not-alike", lambda: attach_classifier(detector, planar, tmp_path)),
        ("fusion-weight", lambda: attach_classifier(detector, classifier, tmp_path, fusion=Fusion(2.0))),
    ]
    for code, work in refused:
        with pytest.raises(InputRefusedError) as caught:
            work()
        assert caught.value.code == code


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Six training cases and two frozen ones with a finding each; two detectors, of which the first is right."""
    with Project.create(tmp_path / "project", reader="ann") as opened:
        add_plain_cases(opened, 6, 2)
        add_detections(opened, "right", 0.9, 0.2)
        add_detections(opened, "wrong", 0.2, 0.9)
        add_detections(opened, "judge", 0.8, 0.1, candidates_of="wrong")
        yield opened


def add_detections(
    project: Project, run_id: str, at_finding: float, elsewhere: float, candidates_of: str = ""
) -> None:
    said = {"candidates_of": candidates_of} if candidates_of else {}
    project.commit(add_run(run_id, hashlib.sha256(run_id.encode()).hexdigest(), said))
    for case in project.cases():
        found = [
            Candidate(case.case_id, (0.0, 0.0, 0.0), at_finding, 8.0),
            Candidate(case.case_id, (50.0, 0.0, 0.0), elsewhere, 8.0),
        ]
        project.commit(add_candidates(run_id, case.case_id, 0, found[:: -1 if candidates_of else 1]))
        project.commit(finish_case(run_id, case.case_id, 0.1))
    project.commit(finish_run(run_id))


def test_the_weights_of_an_ensemble_are_searched_on_a_fold(project: Project) -> None:
    cases = validation_cases(project, fold=(1, 3))
    found = tune_weights(project, ["right", "wrong"], cases, CancelToken())
    assert len(cases) == 2
    assert (found.kind, found.tried) == ("ensemble", 11)
    assert found.cpm == 1.0 > found.equal_cpm
    assert found.weights[0] > 0.5
    assert found.bundles == tuple(hashlib.sha256(run.encode()).hexdigest() for run in ("right", "wrong"))
    assert found.cases == tuple(case.case_id for case in cases)
    assert (
        tune_weights(project, ["right", "wrong"], cases[::-1], CancelToken()).cases_sha256
        == found.cases_sha256
    )
    assert json.loads(json.dumps(found.as_json()))["weights"] == list(found.weights)


def test_a_classifier_of_the_candidates_is_weighed_as_one(project: Project) -> None:
    found = tune_weights(project, ["wrong", "judge"], validation_cases(project, fold=(1, 3)), CancelToken())
    assert found.kind == "fusion"
    assert found.cpm == 1.0
    assert found.weights[1] > 0.4


def test_folds_are_of_training_cases_and_by_patient(project: Project) -> None:
    folds = [validation_cases(project, fold=(number, 3)) for number in (1, 2, 3)]
    ids = [case.case_id for fold in folds for case in fold]
    assert sorted(ids) == sorted(case.case_id for case in project.cases() if case.split == "train")
    names = [case.name for case in folds[0]]
    assert validation_cases(project, named=names) == folds[0]


def test_a_fold_of_samples_is_what_a_training_holds_out(project: Project, tmp_path: Path) -> None:
    cases = [case for case in project.cases() if case.split == "train"]
    for number, case in enumerate(cases):
        sample = Sample.without_boxes(
            np.full((1, 4, 4), number, np.float16), label=number % 2, group=case.case_id
        )
        write_sample(tmp_path / f"{case.case_id}-00000.npz", sample)
    files = find_samples([tmp_path])
    held_out = {files.paths[row].name[:32] for row in HoldOut.parse("fold:2/3").split(files.paths).held_out}
    chosen = validation_cases(project, fold=(2, 3), samples=[tmp_path])
    assert {case.case_id for case in chosen} == held_out
    assert len(chosen) == 2


def test_weights_are_searched_on_no_other_cases(project: Project) -> None:
    frozen = [case for case in project.cases() if case.frozen]
    fold = validation_cases(project, fold=(1, 3))
    refused: list[tuple[str, Any]] = [
        ("test-cases", lambda: validation_cases(project, named=[frozen[0].name])),
        ("test-cases", lambda: tune_weights(project, ["right", "wrong"], [*fold, *frozen], CancelToken())),
        ("no-cases", lambda: validation_cases(project)),
        ("unknown-case", lambda: validation_cases(project, named=["nobody"])),
        ("folds", lambda: validation_cases(project, fold=(4, 3))),
        ("members", lambda: tune_weights(project, ["right", "right"], fold, CancelToken())),
    ]
    for code, work in refused:
        with pytest.raises(InputRefusedError) as caught:
            work()
        assert caught.value.code == code


def test_a_run_that_was_not_there_is_refused_and_a_search_can_be_stopped(project: Project) -> None:
    fold = validation_cases(project, fold=(1, 3))
    project.commit(add_run("late", "", {}))
    with pytest.raises(InputRefusedError) as caught:
        tune_weights(project, ["right", "late"], fold, CancelToken())
    assert caught.value.code == "not-done"
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(CancelledError):
        tune_weights(project, ["right", "wrong"], fold, cancel)
