from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from phantom_projects import cases_of, made_up_run, make_phantom_project, shipped

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.failures.similarity import Neighbours
from napari_medlab.images import Image
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.detection.features import ObjectFeatures, embed
from napari_medlab.models.workflows import embed as workflow
from napari_medlab.models.workflows.embed import embed_run
from napari_medlab.phantoms.chest_ct import chest_phantom
from napari_medlab.project import Project, open_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def phantom_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_project(tmp_path_factory.mktemp("projects") / "phantoms")


@pytest.fixture
def project(phantom_project: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(phantom_project, tmp_path / "project")
    with Project.open(tmp_path / "project") as opened:
        yield opened


@pytest.fixture(scope="module")
def reader() -> ObjectFeatures:
    return ObjectFeatures(shipped())


def some_run(project: Project, bundle_hash: str = "") -> str:
    everywhere = {case.case_id for case in project.cases()}
    return made_up_run(project, bundle_hash, everywhere, dict.fromkeys(everywhere, 0.7))


def phantom_image() -> tuple[Image, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    phantom = chest_phantom(20_001, "case")
    image = Image.of_arrays([phantom.volume], phantom.grid, modality="CT")
    centres = np.asarray([f.centre for f in phantom.findings])
    return image, centres, np.asarray([f.diameter for f in phantom.findings])


def test_features_of_nodules_are_alike_and_unlike_those_of_empty_lung(reader: ObjectFeatures) -> None:
    image, nodules, diameters = phantom_image()
    rng = np.random.default_rng(0)
    index = rng.uniform(0.2, 0.8, (12, 3)) * (np.asarray(image.grid.shape) - 1)
    elsewhere = image.grid.to_world(index)
    features = reader.embed(
        image, np.concatenate([nodules, elsewhere]), np.concatenate([diameters, np.full(12, -1.0)])
    )
    assert features.shape == (len(nodules) + 12, 32)
    assert np.isfinite(features).all()
    standard = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-6)
    nearest, _ = Neighbours(standard).of_row(0, 2)
    assert (nearest < len(nodules)).any()


def test_an_object_has_the_same_features_in_any_company(reader: ObjectFeatures) -> None:
    image, centres, diameters = phantom_image()
    together = reader.embed(image, centres, diameters)
    alone = [reader.embed(image, centres[[k]], diameters[[k]])[0] for k in range(len(centres))]
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_places_outside_the_image_and_none_at_all_do_no_harm(reader: ObjectFeatures) -> None:
    image, _, _ = phantom_image()
    assert np.isfinite(reader.embed(image, np.asarray([[1e6, 0.0, 0.0]]), np.asarray([5.0]))).all()
    assert len(reader.embed(image, np.zeros((0, 3)), np.zeros(0))) == 0


def test_a_planar_image_is_refused(reader: ObjectFeatures) -> None:
    image = Image.of_arrays(
        [np.zeros((8, 8), np.uint8)], Grid.axis_aligned((8, 8), (1.0, 1.0)), kind="mammogram"
    )
    with pytest.raises(InputRefusedError, match="reads volumes"):
        reader.embed(image, np.zeros((1, 2)), np.ones(1))


def test_a_run_is_embedded_by_its_model_and_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = shipped()
    run_id = some_run(project, bundle.hash)
    told: list[tuple[int, int]] = []
    first = embed_run(project, run_id, bundle, on_progress=lambda done, total: told.append((done, total)))
    assert first.source == f"features of {bundle.title}"
    assert first.vectors.shape == (len(first.objects.ids()), 32)
    assert {case.case_id for case in first.objects.cases} == set(cases_of(project, "train"))
    assert told[-1] == (len(first.vectors), len(first.vectors))
    np.testing.assert_allclose(first.vectors.mean(axis=0), 0, atol=1e-4)
    monkeypatch.setattr(workflow, "open_case", None)
    np.testing.assert_array_equal(embed_run(project, run_id, bundle).vectors, first.vectors)


def test_a_mark_on_a_finding_is_most_like_that_finding(project: Project) -> None:
    bundle = shipped()
    embedded = embed_run(project, some_run(project, bundle.hash), bundle)
    neighbours = Neighbours(embedded.vectors)
    points = embedded.objects.points()
    for row in range(len(embedded.objects.findings)):
        (nearest,), _ = neighbours.of_row(row, 1)
        np.testing.assert_allclose(points[nearest], points[row])


def test_without_a_model_looks_stand_in_and_say_so(project: Project) -> None:
    embedded = embed_run(project, some_run(project), None)
    assert embedded.source == "descriptors and brightness"
    assert len(embedded.vectors) == len(embedded.objects.ids()) > 0
    assert np.isfinite(embedded.vectors).all()


def test_a_network_of_another_kind_has_no_features(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise InputRefusedError("It has none.", code="no-features")

    run_id = some_run(project)
    monkeypatch.setattr(workflow, "_reader", refuse)
    embedded = embed_run(project, run_id, shipped())
    assert embedded.source == "descriptors and brightness"


def test_a_stop_is_obeyed(project: Project) -> None:
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        embed_run(project, some_run(project), shipped(), stop=token.check)


class Worker:
    """Answers as a worker process would, in this one."""

    def events(self, request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
        assert request["op"] == "embed"
        yield from embed(request, cancel)
        yield {"event": "done"}


def test_a_worker_gives_the_same_features(project: Project, reader: ObjectFeatures) -> None:
    case = project.case(cases_of(project, "train")[0])
    image, findings = open_case(project, case.case_id), project.findings(case.case_id)
    request = {
        "bundle": str(shipped().folder), "image": str(project.case_path(case.case_id)),
        "centres": findings.centres.tolist(), "diameters": findings.diameters.tolist(), "op": "embed",
    }  # fmt: skip
    answered = workflow._answer(Worker(), request, lambda *_: None, None)  # type: ignore[arg-type]
    np.testing.assert_allclose(answered, reader.embed(image, findings.centres, findings.diameters), atol=1e-5)
