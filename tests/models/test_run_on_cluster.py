"""Running a bundle over a project on a cluster: as without one, whatever becomes of the workers."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from cluster_parts import cluster
from phantom_projects import make_phantom_project, shipped

from napari_medlab.errors import MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.cluster import connect
from napari_medlab.models.bundles import write_bundle
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.models.inference.worker import start_worker
from napari_medlab.models.inference.workers import OnCluster
from napari_medlab.models.workflows.predict import PredictOptions, mask_folder, run_bundle
from napari_medlab.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster_parts import Parts

    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.workers import Workers
    from napari_medlab.models.workflows.predict import RunEvent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills workers with signals")

PLAIN = PredictOptions("cpu", "float32")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as started:
        yield started


@pytest.fixture
def workers(parts: Parts) -> Iterator[OnCluster]:
    while len([one for one in parts.workers if one.poll() is None]) < 2:
        parts.add_worker()
    with connect(parts.address, certificates=parts.certificates) as connected:
        yield OnCluster(connected)


@pytest.fixture
def worker() -> Worker:
    return start_worker(in_thread=True)


@pytest.fixture
def new_project(template: Path, tmp_path: Path) -> Iterator[Callable[[], Project]]:
    opened: list[Project] = []

    def copied() -> Project:
        folder = shutil.copytree(template, tmp_path / f"project {len(opened)}")
        opened.append(Project.open(folder, reader="ann"))
        return opened[-1]

    yield copied
    for project in opened:
        project.close()


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that knows nothing, but is of two minds everywhere, and takes many tiles to say so."""
    import torch

    from napari_medlab.models.networks import build_network

    torch.manual_seed(0)
    arguments = {"spatial_dims": 3, "channels": [8, 16]}
    spec = {
        "name": "mask", "task": "segmentation", "network": {"name": "unet", "arguments": arguments},
        "preprocessing": {"spacing_mm": 2.0, "window": [-1000, 400]}, "tiling": {"core": [16] * 3, "halo": 8},
        "classes": ["lesion"], "postprocessing": {"threshold": 0.5, "least_voxels": 20},
    }  # fmt: skip
    return write_bundle(
        tmp_path_factory.mktemp("bundle"), spec, build_network("unet", arguments).state_dict()
    )


def ran(
    project: Project, bundle: Bundle, workers: Worker | Workers, cancel: CancelToken | None = None
) -> list[RunEvent]:
    cases = [case.case_id for case in project.cases()]
    return list(run_bundle(project, bundle, cases, workers, cancel or CancelToken(), options=PLAIN))


def assert_same(one: Project, run_id: str, other: Project, other_run: str) -> None:
    """Compare candidates; sums that are added up in another order may differ in their last digits."""
    for mine, theirs in zip(one.cases(), other.cases(), strict=True):
        here, there = one.candidates(run_id, mine.case_id), other.candidates(other_run, theirs.case_id)
        assert (mine.name, len(here)) == (theirs.name, len(there))
        order, other_order = (np.lexsort(np.round(table.centres, 2).T) for table in (here, there))
        np.testing.assert_allclose(here.centres[order], there.centres[other_order], atol=0.02)
        np.testing.assert_allclose(here.scores[order], there.scores[other_order], atol=1e-4)
        assert len(set(here.ids.tolist())) == len(here)


def test_a_run_on_a_cluster_is_that_of_one_worker_and_is_not_computed_again(
    new_project: Callable[[], Project], workers: OnCluster, worker: Worker
) -> None:
    there, here = new_project(), new_project()
    events = ran(there, shipped(), workers)
    alone = ran(here, shipped(), worker)
    assert_same(there, events[0].run_id, here, alone[0].run_id)
    assert len(there.candidates(events[0].run_id)) > 20
    done = [event for event in events if event.kind == "case done"]
    assert [event.done for event in done] == [1, 2, 3, 4]
    assert all(event.seconds > 0 for event in done)
    assert {event.workers for event in events if event.kind == "workers"} <= {1, 2}
    assert [run.configuration["backend"]["precision"] for run in there.runs()] == ["float32"]
    assert there.runs()[0].is_finished
    assert there.verify() == []
    assert [event.kind for event in ran(there, shipped(), workers)] == ["started"]


@pytest.mark.slow
def test_masks_of_a_worker_that_is_killed_are_written_once_and_nothing_is_left_of_it(
    new_project: Callable[[], Project], parts: Parts, workers: OnCluster, worker: Worker, segmenter: Bundle
) -> None:
    there, here = new_project(), new_project()
    cases = [case.case_id for case in there.cases()]
    events: list[RunEvent] = []
    begun: set[str] = set()
    victim = parts.workers[-1]
    for event in run_bundle(there, segmenter, cases, workers, CancelToken(), options=PLAIN):
        events.append(event)
        if event.kind == "progress":
            folder = mask_folder(there, event.run_id, event.case_id).parent
            begun |= {path.name for path in folder.iterdir() if ".attempt-" in path.name}
            if len(begun) == 2 and victim.poll() is None:
                parts.kill(victim.pid)
    run_id = events[0].run_id
    done = [event.case_id for event in events if event.kind == "case done"]
    assert sorted(done) == sorted(cases)
    assert victim.poll() is not None
    # the control: more masks were begun than there are cases, which a naive count would take for results
    assert len(begun) == len(cases) + 1
    assert sorted(path.name for path in mask_folder(there, run_id, "").parent.iterdir()) == sorted(
        f"{c}.zarr" for c in cases
    )

    alone = ran(here, segmenter, worker)
    for mine, other in zip(there.cases(), here.cases(), strict=True):
        assert mine.name == other.name
        masks = [MaskStore.open(mask_folder(p, r, case.case_id))
                 for p, r, case in ((there, run_id, mine), (here, alone[0].run_id, other))]  # fmt: skip
        assert all(mask.is_complete for mask in masks)
        ours, others = (mask.read((0, 0, 0), mask.grid.shape).astype(int) for mask in masks)
        assert np.ptp(ours) > 10
        assert abs(ours - others).max() <= 1  # of 255, where rounding went another way
        table = there.candidates(run_id, mine.case_id)
        assert len(set(table.ids.tolist())) == len(table) > 0
    assert there.verify() == []


@pytest.mark.slow
def test_a_run_that_was_stopped_is_taken_up(
    new_project: Callable[[], Project], workers: OnCluster, segmenter: Bundle
) -> None:
    project, cancel = new_project(), CancelToken()
    cases = [case.case_id for case in project.cases()]
    events = run_bundle(project, segmenter, cases, workers, cancel, options=PLAIN)
    for event in events:
        if event.kind == "case done":
            cancel.cancel()
            break
    with pytest.raises(CancelledError):
        list(events)
    (record,) = project.runs()
    before = project.cases_done(record.run_id)
    assert set() < before < set(cases)  # what another worker had finished by then is kept, too
    rest = ran(project, segmenter, workers)
    assert sorted(event.case_id for event in rest if event.kind == "case done") == sorted(set(cases) - before)
    assert len(project.runs()) == 1


def test_a_broken_image_and_one_that_workers_do_not_see_fail_alone(
    new_project: Callable[[], Project], workers: OnCluster, segmenter: Bundle
) -> None:
    project = new_project()
    broken, unseen, *sound = [case.case_id for case in project.cases()]
    project.case_path(broken).write_bytes(b"nothing")
    project.case_path(unseen).unlink()
    events = ran(project, segmenter, workers)
    failed = {event.case_id: event.error for event in events if event.kind == "case failed"}
    assert failed.keys() == {broken, unseen}
    assert "does not see" in failed[unseen]
    assert "same path" in failed[unseen]
    assert project.cases_done(events[0].run_id) == set(sound)


@pytest.mark.slow
def test_a_scheduler_that_goes_away_leaves_what_was_committed_and_the_run_is_taken_up_without_it(
    new_project: Callable[[], Project], worker: Worker, segmenter: Bundle, tmp_path: Path
) -> None:
    project = new_project()
    cases = [case.case_id for case in project.cases()]
    with cluster(tmp_path, 1) as parts, connect(parts.address, certificates=parts.certificates) as connected:
        events = run_bundle(project, segmenter, cases, OnCluster(connected), CancelToken(), options=PLAIN)
        while next(events).kind != "case done":
            pass
        parts.scheduler.kill()
        with pytest.raises(MedlabError, match="What was committed stays") as caught:
            list(events)
    assert caught.value.code == "cluster-lost"
    (record,) = project.runs()
    before = project.cases_done(record.run_id)
    assert 0 < len(before) < len(cases)
    rest = ran(project, segmenter, worker)
    assert rest[0].run_id == record.run_id
    assert sorted(event.case_id for event in rest if event.kind == "case done") == sorted(set(cases) - before)
    assert project.verify() == []
