"""Tasks on a scheduler and workers that are processes of their own, over TLS on the loopback; some are killed at work."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from cluster_parts import (
    begun,
    cluster,
    deadly,
    environment,
    full,
    particular,
    shaky,
    slow,
    square,
    wait_until,
)

from napari_medlab import __version__
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.cluster import Advance, Cluster, Strength, connect
from napari_medlab.jobs.cluster import spread as spread_module
from napari_medlab.jobs.cluster.carrying import Attempt
from napari_medlab.jobs.spreading import Here, Outcome, Task

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster_parts import Parts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills workers with signals")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with cluster(tmp_path_factory.mktemp("cluster"), 2) as started:
        yield started


@pytest.fixture
def spread(parts: Parts) -> Iterator[Cluster]:
    with connect(parts.address, certificates=parts.certificates) as connected:
        yield connected


def task(folder: Path, name: str, **request: Any) -> Task:  # noqa: ANN401 - as requests are
    return Task(name, {"name": name, "folder": str(folder), **request})


def test_outcomes_are_those_of_this_process(spread: Cluster, tmp_path: Path) -> None:
    odd = {3: {"odd": True}, 4: {"bug": True}}
    tasks = [
        task(tmp_path, str(n), array=np.arange(5, dtype=np.float32) + n / 3, **odd.get(n, {}))
        for n in range(8)
    ]
    there = {one.key: one for one in spread.run(square, tasks, CancelToken())}
    here = {one.key: one for one in Here().run(square, tasks, CancelToken())}
    assert there.keys() == here.keys()
    for key, one in here.items():
        other = there[key]
        if one.error is None:
            assert other.value["square"].dtype == np.float32
            assert other.value["square"].tobytes() == one.value["square"].tobytes()
        else:
            assert other.error is not None
            assert (type(other.error), other.error.as_json()) == (type(one.error), one.error.as_json())
        assert other.attempts == 1
    assert list(spread.run(square, [], CancelToken())) == []


def test_progress_within_a_task_is_told(spread: Cluster, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    (outcome,) = spread.run(
        slow, [task(tmp_path, "a", seconds=0.6)], CancelToken(), on_progress=lambda *now: told.append(now)
    )
    assert outcome.value == "a"
    assert len(told) >= 2
    assert {(key, total) for key, _, total in told} == {("a", 12)}
    assert told == sorted(told)


def test_a_system_that_fails_is_tried_again_and_then_believed(spread: Cluster, tmp_path: Path) -> None:
    tasks = [task(tmp_path, "once", fails=1), task(tmp_path, "always", fails=99)]
    outcomes = {one.key: one for one in spread.run(shaky, tasks, CancelToken())}
    assert (outcomes["once"].value, outcomes["once"].attempts) == (2, 2)
    always = outcomes["always"]
    assert always.error is not None
    assert "Input/output error" in always.error.message
    assert always.attempts == len(begun(tmp_path, "always")) == 3


def test_a_disk_that_was_full_is_tried_again(spread: Cluster, tmp_path: Path) -> None:
    (outcome,) = spread.run(full, [task(tmp_path, "a")], CancelToken())
    assert (outcome.value, outcome.attempts) == (2, 2)


def test_a_worker_that_lacks_something_costs_no_task_while_another_has_it(
    spread: Cluster, tmp_path: Path
) -> None:
    tasks = [task(tmp_path, str(n)) for n in range(6)] + [task(tmp_path, "lost", nowhere=True)]
    outcomes = {one.key: one for one in spread.run(particular, tasks, CancelToken())}
    lost = outcomes.pop("lost")
    assert lost.error is not None
    assert lost.error.code == "not-shared"
    assert [one.error for one in outcomes.values()] == [None] * 6
    assert len({one.value for one in outcomes.values()}) == 1
    # the control: the other worker was asked, and refused
    assert len(begun(tmp_path)) > len(tasks) + 1


def test_what_was_refused_is_never_tried_again(spread: Cluster, tmp_path: Path) -> None:
    (outcome,) = spread.run(square, [task(tmp_path, "a", odd=True)], CancelToken())
    assert isinstance(outcome.error, InputRefusedError)
    assert len(begun(tmp_path)) == outcome.attempts == 1


def test_cancelling_stops_what_the_workers_are_at_and_leaves_them_free(
    spread: Cluster, tmp_path: Path
) -> None:
    cancel, names = CancelToken(), ("a", "b")
    outcomes = spread.follow(slow, [task(tmp_path, name, seconds=120) for name in names], cancel)
    while len(begun(tmp_path)) < 2:
        next(outcomes)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(outcomes)
    wait_until(lambda: all((tmp_path / f"{name}.stopped").exists() for name in names), 20)
    (outcome,) = spread.run(square, [task(tmp_path, "c", array=[2])], CancelToken())
    assert outcome.value["square"].tolist() == [4]


def test_a_client_that_goes_away_leaves_no_work_behind(parts: Parts, tmp_path: Path) -> None:
    with connect(parts.address, certificates=parts.certificates) as spread:
        outcomes = spread.follow(slow, [task(tmp_path, "a", seconds=120)], CancelToken())
        while not begun(tmp_path):
            next(outcomes)
        del outcomes
    wait_until((tmp_path / "a.stopped").exists, 20)


def test_two_tasks_of_one_key_are_refused(spread: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="several tasks are called a"):
        next(spread.run(square, [task(tmp_path, "a"), task(tmp_path, "a")], CancelToken()))


def test_a_function_that_no_worker_could_find_is_refused(spread: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a function of a module"):
        next(spread.run(lambda *_: None, [task(tmp_path, "a")], CancelToken()))


def test_a_worker_of_another_version_is_named(
    spread: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread_module, "Attempt", partial(Attempt, version="0.0.1"))
    monkeypatch.setattr(spread_module, "__version__", "0.0.1")
    with pytest.raises(InputRefusedError, match=f"napari-medlab {__version__}, and this is 0.0.1") as caught:
        list(spread.run(square, [task(tmp_path, "a", array=[1])], CancelToken()))
    assert caught.value.code == "other-version"
    assert begun(tmp_path) == []


@contextmanager
def own_cluster(folder: Path, workers: int) -> Iterator[tuple[Parts, Cluster]]:
    with (
        cluster(folder, workers) as parts,
        connect(parts.address, certificates=parts.certificates, worker_seconds=30) as spread,
    ):
        yield parts, spread


def test_a_worker_that_is_killed_costs_its_own_task_one_more_attempt(tmp_path: Path) -> None:
    names = [f"case {number}" for number in range(6)]
    traces = tmp_path / "traces"
    traces.mkdir()
    with own_cluster(tmp_path, 2) as (parts, spread):
        victim, told, strengths = "", [], []
        for event in spread.follow(slow, [task(traces, name, seconds=0.5) for name in names], CancelToken()):
            if isinstance(event, Outcome):
                told.append(event)
            elif isinstance(event, Strength):
                strengths.append(event.workers)
            elif not victim and strengths[-1] == 2:
                victim = event.key
                parts.kill(begun(traces, victim)[0])
        assert sorted(one.key for one in told) == names
        assert all(one.error is None and one.value == one.key for one in told)
        # the control: how often cases were begun, which a naive count would take for results
        assert Counter({one.key: one.attempts for one in told}) == Counter(dict.fromkeys(names, 1)) + Counter(
            [victim]
        )
        assert len(begun(traces)) == len(names) + 1
        assert len(begun(traces, victim)) == 2
        assert len(set(begun(traces, victim))) == 2
        assert strengths[-1] == 1


def test_a_task_that_ends_its_workers_fails_alone(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    with own_cluster(tmp_path, 3) as (parts, spread):
        tasks = [task(traces, "deadly", deadly=True), *(task(traces, str(number)) for number in range(4))]
        outcomes = []
        for event in spread.follow(deadly, tasks, CancelToken()):
            if isinstance(event, Strength) and event.workers < 2:
                parts.add_worker()
            if isinstance(event, Outcome):
                outcomes.append(event)
        found = {one.key: one for one in outcomes}
        assert len(outcomes) == len(found) == 5
        failed = found.pop("deadly")
        assert failed.error is not None
        assert failed.error.code == "worker-lost"
        assert failed.attempts == len(set(begun(traces, "deadly"))) == 3
        assert {one.attempts for one in found.values()} == {1}


def test_a_scheduler_that_goes_away_is_told(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    traces.mkdir()
    with own_cluster(tmp_path, 1) as (parts, spread):
        events = spread.follow(slow, [task(traces, "a", seconds=120)], CancelToken())
        while not isinstance(next(events), Advance):
            pass
        parts.scheduler.kill()
        with pytest.raises(MedlabError, match="is gone") as caught:
            list(events)
        assert caught.value.code == "cluster-lost"
        parts.workers[0].wait(60)
        assert (traces / "a.stopped").exists()


def test_a_cluster_without_workers_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with (
        cluster(tmp_path, 0) as parts,
        connect(parts.address, certificates=parts.certificates, worker_seconds=0.5) as spread,
        pytest.raises(MedlabError, match="has had no worker") as caught,
    ):
        list(spread.run(environment, [Task("a", {"names": []})], CancelToken()))
    assert caught.value.code == "no-workers"
