"""Running models over the cases of a project: with a real worker on four small phantoms, and with scripted ones."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from phantom_projects import cases_of, made_up_run, make_phantom_project, shipped

from napari_medlab.annotations import new_id
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.in_thread import InThread
from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles import Bundle
from napari_medlab.models.inference.worker import HANDLERS, IN_THREAD, start_worker
from napari_medlab.models.workflows.predict import PredictOptions, RunEvent, mask_folder, run_bundle
from napari_medlab.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.jobs.worker_process import Worker


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_project(tmp_path_factory.mktemp("template") / "project")


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    started = start_worker(in_thread=False)
    yield started
    started.close()


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Project]:
    folder = shutil.copytree(template, tmp_path / "project")
    with Project.open(folder, reader="ann") as opened:
        yield opened


def run(
    project: Project, worker: Worker, cases: list[str], cancel: CancelToken | None = None,
    options: PredictOptions | None = None,
) -> list[RunEvent]:  # fmt: skip
    return list(run_bundle(project, shipped(), cases, worker, cancel or CancelToken(), options=options))


def kinds(events: list[RunEvent]) -> list[str]:
    return [event.kind for event in events if event.kind not in ("batch", "progress")]


def test_a_run_commits_what_it_finds_and_is_not_computed_again(project: Project, worker: Worker) -> None:
    cases = [case.case_id for case in project.cases()]
    events = run(project, worker, cases)
    assert kinds(events) == ["started", *["case done"] * 4]
    assert [event.done for event in events if event.kind == "case done"] == [1, 2, 3, 4]
    (record,) = project.runs()
    assert record.is_finished
    assert record.bundle_hash == shipped().hash
    assert {event.run_id for event in events} == {record.run_id}
    stored = project.candidates(record.run_id)
    told = [candidate.candidate_id for event in events for candidate in event.candidates]
    assert sorted(stored.ids.tolist()) == sorted(told)
    assert len(told) > 20
    assert project.cases_done(record.run_id) == set(cases)
    newest = project.journal(limit=1)[0].id

    again = run(project, worker, cases)
    assert kinds(again) == ["started"]
    assert (again[0].done, again[0].total, again[0].run_id) == (4, 4, record.run_id)
    assert project.journal(limit=1)[0].id == newest
    assert project.verify() == []


def test_progress_is_told_and_the_run_records_how_it_was_computed(project: Project, worker: Worker) -> None:
    case = cases_of(project, "train")[0]
    events = run(project, worker, [case], options=PredictOptions("cpu", "float32"))
    last = [event for event in events if event.kind == "progress"][-1]
    assert (last.case_id, last.tiles_done) == (case, last.tiles_total)
    said = project.runs()[0].configuration
    assert said["asked"] == {"device": "cpu", "precision": "float32"}
    assert (said["backend"]["precision"], said["backend"]["devices"]) == ("float32", ["cpu"])
    assert said["tiling"]["core"] == [64, 128, 128]


def test_a_batch_is_on_disk_before_it_is_told(project: Project, worker: Worker) -> None:
    case = cases_of(project, "train")[1]
    for event in run_bundle(project, shipped(), [case], worker, CancelToken()):
        if event.kind == "batch":
            stored = set(project.candidates(event.run_id, case).ids.tolist())
            assert {candidate.candidate_id for candidate in event.candidates} <= stored


def test_a_run_that_was_stopped_keeps_what_it_has_and_is_taken_up(project: Project, worker: Worker) -> None:
    cases, cancel = [case.case_id for case in project.cases()], CancelToken()
    events = run_bundle(project, shipped(), cases, worker, cancel)
    for event in events:
        if event.kind == "case done":
            break
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(events)
    (record,) = project.runs()
    assert not record.is_finished
    assert project.cases_done(record.run_id) == {cases[0]}
    assert len(project.candidates(record.run_id, cases[0])) > 0

    rest = run(project, worker, cases)
    assert kinds(rest) == ["started", *["case done"] * 3]
    assert rest[0].done == 1
    assert [r.run_id for r in project.runs()] == [record.run_id]


def test_a_broken_image_fails_alone(project: Project, worker: Worker) -> None:
    cases = [case.case_id for case in project.cases()]
    project.case_path(cases[1]).write_bytes(b"nothing")
    events = run(project, worker, cases)
    assert kinds(events) == ["started", "case done", "case failed", "case done", "case done"]
    (failed,) = [event for event in events if event.kind == "case failed"]
    assert failed.case_id == cases[1]
    assert failed.error
    assert project.cases_done(failed.run_id) == set(cases) - {cases[1]}


def test_the_thread_that_asks_finds_what_the_process_finds(
    project: Project, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IN_THREAD, "1")
    here = start_worker()
    assert isinstance(here, InThread)
    assert isinstance(worker, WorkerProcess)
    case, options = cases_of(project, "train")[0], PredictOptions("cpu", "float32")
    request = {
        "op": "predict", "bundle": str(shipped().folder), "image": str(project.case_path(case)), "case_id": case,
        "device": "cpu", "precision": "float32",
    }  # fmt: skip
    told = [
        [e for e in each.events(request, CancelToken()) if e["event"] == "batch"] for each in (here, worker)
    ]
    one, other = ([row[1:] for event in events for row in event["candidates"]] for events in told)
    assert len(one) > 5
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(mine[0], theirs[0], atol=1e-3)
    assert kinds(run(project, here, [case], options=options)) == ["started", "case done"]


def test_a_device_that_is_not_there_ends_the_run_before_it_begins(project: Project, worker: Worker) -> None:
    with pytest.raises(InputRefusedError) as caught:
        run(project, worker, cases_of(project, "train"), options=PredictOptions("cuda:99"))
    assert caught.value.code == "device"
    assert project.runs() == []


@pytest.mark.parametrize("threshold", [-0.1, 2.0, float("nan")])
def test_a_threshold_is_a_score(threshold: float) -> None:
    with pytest.raises(InputRefusedError) as caught:
        PredictOptions(threshold=threshold)
    assert caught.value.code == "threshold"


# -- with workers that follow a script ------------------------------------------------------------------------------


@dataclass
class Scripted:
    """Answers ``warm_up`` as the real one does, and ``predict`` by a script; notes what it is asked."""

    script: Any
    refuses: set[str] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    is_alive: bool = True

    def events(self, request: dict[str, Any], _cancel: CancelToken) -> Iterator[dict[str, Any]]:
        self.asked.append(request)
        if request["precision"] in self.refuses:
            raise InputRefusedError("Not here.", code="precision")
        if request["op"] == "warm_up":
            precision = {"auto": "bfloat16"}.get(request["precision"], request["precision"])
            yield {"event": "backend", "devices": ["cpu"], "precision": precision}
            yield {"event": "ready", "tiling": None}
        else:
            yield from self.script(request, sum(each["op"] == "predict" for each in self.asked))
            yield {"event": "seconds", "seconds": 1.0}

    def close(self) -> None:
        pass


def rows(*places: float, rings: bool = False) -> dict[str, Any]:
    outline = [[[1.0, 1.0, 1.0], [1.0, 1.0, 5.0], [1.0, 5.0, 5.0]]] if rings else []
    return {
        "event": "batch",
        "candidates": [[new_id(), [place, 0.0, 0.0], 0.5, 6.0, "nodule", outline] for place in places],
    }


def cut_short(_request: dict[str, Any], attempt: int) -> Iterator[dict[str, Any]]:
    """Give candidates new ids each time and, the second time, in another order; stop early the first time."""
    yield rows(0.0, 10.0, rings=True)
    if attempt == 1:
        raise CancelledError("stopped")
    yield rows(30.0, 10.01)
    yield rows(40.0, 20.0, rings=True)


def test_a_case_that_was_cut_short_is_told_with_the_ids_on_disk(project: Project) -> None:
    case = cases_of(project, "train")[0]
    worker = Scripted(cut_short)
    with pytest.raises(CancelledError):
        run(project, worker, [case])
    run_id = project.runs()[0].run_id
    first = project.candidates(run_id, case).ids.tolist()
    assert len(first) == 2
    told = [c for event in run(project, worker, [case]) for c in event.candidates]
    stored = project.candidates(run_id, case)
    assert stored.ids.tolist()[:2] == first
    # each on disk stands for one that is told: another one near it is another one
    assert sorted(stored.centres[:, 0]) == [0.0, 10.0, 10.01, 20.0, 30.0, 40.0]
    assert {c.candidate_id for c in told} == set(stored.ids.tolist())
    outlines = project.region_table(case, run_id=run_id)
    by_place = dict(zip(stored.ids.tolist(), stored.centres[:, 0], strict=True))
    assert sorted(by_place[owner.decode()] for owner in outlines.owner_ids) == [0.0, 10.0, 20.0, 40.0]
    assert project.verify() == []


def test_tiles_in_another_order_lose_nothing_and_double_nothing(project: Project) -> None:
    case, order = cases_of(project, "train")[0], [[0.0, 50.0], [100.0], [150.0]]

    def script(_request: dict[str, Any], attempt: int) -> Iterator[dict[str, Any]]:
        for number, places in enumerate(order if attempt == 1 else order[::-1]):
            if attempt == 1 and number == 2:
                raise CancelledError("stopped")
            yield rows(*places)

    worker = Scripted(script)
    with pytest.raises(CancelledError):
        run(project, worker, [case])
    run(project, worker, [case])
    stored = project.candidates(project.runs()[0].run_id, case)
    assert sorted(stored.centres[:, 0]) == [0.0, 50.0, 100.0, 150.0]


def test_a_case_that_was_cut_short_twice_loses_nothing_of_what_comes_first_then(project: Project) -> None:
    case = cases_of(project, "train")[0]
    orders = [[*range(5)], [*range(8)], [*range(8, 13), *range(8)]]

    def script(_request: dict[str, Any], attempt: int) -> Iterator[dict[str, Any]]:
        for place in orders[attempt - 1]:
            yield rows(20.0 * place, rings=True)
        if attempt < len(orders):
            raise CancelledError("stopped")

    worker = Scripted(script)
    for _ in orders[1:]:
        with pytest.raises(CancelledError):
            run(project, worker, [case])
    run(project, worker, [case])
    run_id = project.runs()[0].run_id
    stored = project.candidates(run_id, case)
    assert sorted(stored.centres[:, 0]) == [20.0 * place for place in range(13)]
    owners = project.region_table(case, run_id=run_id).owner_ids
    assert sorted(owner.decode() for owner in owners) == sorted(stored.ids.tolist())


def segmenter(tmp_path: Path) -> Bundle:
    spec = {
        **shipped().spec, "task": "segmentation", "name": "seg", "postprocessing": {"threshold": 0.5},
    }  # fmt: skip
    return Bundle(tmp_path, spec, "5" * 64)


def test_a_mask_that_was_cut_short_is_told_as_partial_and_begun_anew(
    project: Project, tmp_path: Path
) -> None:
    from pathlib import Path

    def script(request: dict[str, Any], attempt: int) -> Iterator[dict[str, Any]]:
        folder = Path(request["mask"])
        folder.mkdir()
        (folder / f"attempt {attempt}").touch()
        yield {"event": "mask", "start": [0, 0, 0], "stop": [4, 4, 4]}
        if attempt == 1:
            raise CancelledError("stopped")

    bundle, case, worker = segmenter(tmp_path), cases_of(project, "train")[0], Scripted(script)
    told: list[RunEvent] = []
    with pytest.raises(CancelledError):
        told.extend(run_bundle(project, bundle, [case], worker, CancelToken()))
    mask = mask_folder(project, told[0].run_id, case)
    assert mask == project.folder / "masks" / told[0].run_id / f"{case}.zarr"
    assert [(event.kind, event.is_partial) for event in told[1:]] == [("mask", True), ("mask", True)]
    assert told[1].box == ((0, 0, 0), (4, 4, 4))
    assert {event.mask for event in told[1:]} == {mask}

    again = list(run_bundle(project, bundle, [case], worker, CancelToken()))
    assert [(event.kind, event.is_partial) for event in again] == [
        ("started", False), ("mask", True), ("case done", False),
    ]  # fmt: skip
    assert again[-1].mask == mask
    assert [path.name for path in mask.iterdir()] == ["attempt 2"]
    assert [path.name for path in mask.parent.iterdir()] == [mask.name]


def test_a_model_that_raises_fails_its_case_and_says_that_the_mask_is_partial(
    project: Project, tmp_path: Path
) -> None:
    def script(_request: dict[str, Any], attempt: int) -> Iterator[dict[str, Any]]:
        if attempt == 1:
            yield {"event": "mask", "start": [0, 0, 0], "stop": [4, 4, 4]}
            raise MedlabError("ZeroDivisionError: by zero", code="model-failed")

    cases = cases_of(project, "train")
    events = list(run_bundle(project, segmenter(tmp_path), cases, Scripted(script), CancelToken()))
    assert [event.kind for event in events] == ["started", "mask", "case failed", "case done"]
    assert (events[2].is_partial, events[2].error) == (True, "ZeroDivisionError: by zero")
    assert project.cases_done(events[0].run_id) == {cases[1]}


def test_a_run_goes_on_in_its_precision_unless_another_is_asked_for(project: Project) -> None:
    one, two = cases_of(project, "train")
    worker = Scripted(lambda _request, _attempt: iter(()))
    run(project, worker, [one])
    run(project, worker, [two])
    assert [each["precision"] for each in worker.asked] == ["auto", "auto", "bfloat16", "bfloat16"]
    assert len(project.runs()) == 1
    run(project, worker, [two], options=PredictOptions(precision="float32"))
    assert [each["precision"] for each in worker.asked[4:]] == ["float32", "float32"]
    assert len(project.runs()) == 2


def test_a_run_whose_precision_is_not_to_be_had_here_is_not_mixed_with_another(project: Project) -> None:
    one, two = cases_of(project, "train")
    nothing = Scripted(lambda _request, _attempt: iter(()))
    run(project, nothing, [one])
    elsewhere = Scripted(lambda _request, _attempt: iter(()), refuses={"bfloat16"})
    assert kinds(run(project, elsewhere, [two])) == ["started", "case done"]
    assert [project.cases_done(record.run_id) for record in project.runs()] == [{one}, {two}]


def test_runs_at_different_thresholds_are_different_runs_and_say_so(project: Project) -> None:
    (one, _), worker = cases_of(project, "train"), Scripted(lambda _request, _attempt: iter(()))
    run(project, worker, [one])
    for _ in range(2):
        run(project, worker, [one], options=PredictOptions(threshold=0.005))
    plain, loose = project.runs()
    assert [each["threshold"] for each in worker.asked] == [None, None, 0.005, 0.005]
    assert "threshold" not in plain.configuration["asked"]
    assert loose.configuration["asked"]["threshold"] == 0.005
    assert loose.configuration["postprocessing"] == {**shipped().postprocessing, "threshold": 0.005}


def test_the_case_that_somebody_looks_at_has_its_focus(project: Project) -> None:
    one, two = cases_of(project, "train")
    worker = Scripted(lambda _request, _attempt: iter(()))
    run(project, worker, [one, two], options=PredictOptions(focus={two: (1.0, 2.0, 3.0)}))
    assert [each.get("focus") for each in worker.asked[1:]] == [None, [1.0, 2.0, 3.0]]


def test_a_classifier_is_given_the_candidates_of_another_run(project: Project, tmp_path: Path) -> None:
    spec = {**shipped().spec, "task": "classification", "name": "judge"}
    bundle, cases = Bundle(tmp_path, spec, "6" * 64), cases_of(project, "train")
    asked_of = made_up_run(project, shipped().hash, set(cases))
    worker = Scripted(lambda _request, _attempt: iter(()))
    with pytest.raises(InputRefusedError, match="proposes none"):
        list(run_bundle(project, bundle, cases, worker, CancelToken()))
    options = PredictOptions(candidates_of=asked_of)
    list(run_bundle(project, bundle, cases, worker, CancelToken(), options=options))
    stored = project.candidates(asked_of, cases[0])
    assert worker.asked[1]["candidates"] == [
        [stored.centres[row].tolist(), 8.0, "nodule"] for row in range(len(stored))
    ]


def test_the_worker_answers_to_these() -> None:
    assert set(HANDLERS) == {"predict", "warm_up", "embed", "devices"}
