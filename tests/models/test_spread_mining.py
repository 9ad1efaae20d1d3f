"""Packages and samples whose cases are cut by the workers of a cluster are those that this process cuts."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from cluster_parts import cluster
from phantom_projects import made_up_run, make_phantom_project, shipped
from spread_losses import Backwards, hashes, losing_one, without_time

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.cluster import connect
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.workflows.hard_examples import HardOptions, export_hard_examples
from napari_medlab.models.workflows.samples import SampleOptions, export_samples
from napari_medlab.project import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_medlab.jobs.cluster import Cluster
    from napari_medlab.jobs.spreading import Spread

    Write = Callable[[Project, Path, Spread | None], list[Any]]

with_signals = pytest.mark.skipif(sys.platform == "win32", reason="holds and kills workers with signals")
ALL = HardOptions(fp_per_scan=8.0, rule=MiningRule("shown", budget=12))


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with (
        cluster(tmp_path_factory.mktemp("cluster"), 2) as parts,
        connect(parts.address, certificates=parts.certificates) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_phantom_project(tmp_path_factory.mktemp("phantoms") / "project")
    with Project.open(folder, reader="ann") as project:
        cases = [case.case_id for case in project.cases()]
        made_up_run(project, shipped().hash, set(cases[:1]), dict.fromkeys(cases, 0.8))
    return folder


@pytest.fixture
def project(folder: Path) -> Iterator[Project]:
    with Project.open(folder, reader="ann", read_only=True) as opened:
        yield opened


def write_package(
    project: Project, out: Path, spread: Spread | None, cancel: CancelToken | None = None
) -> list[Any]:
    run_id = project.runs()[0].run_id
    return list(export_hard_examples(project, shipped(), run_id, out, ALL, cancel, spread))


def write_samples(name: str, project: Project, out: Path, spread: Spread | None) -> list[Any]:
    configuration = read_configuration(name)
    run_id = project.runs()[0].run_id if configuration.task == "classification" else ""
    options = SampleOptions(run_id=run_id, other="ignore")
    return list(export_samples(project, configuration, out, CancelToken(), options, spread))


def contents(out: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the hashes of a folder's files, and its manifest without when it was made."""
    return hashes(out), without_time(json.loads((out / "manifest.json").read_text()))


@pytest.mark.parametrize(
    "write",
    [write_package, partial(write_samples, "nodule-unet"), partial(write_samples, "lung-vgg-24")],
    ids=["package", "samples", "cubes"],
)
def test_in_whatever_order_cases_are_cut_the_files_are_the_same(
    project: Project, tmp_path: Path, write: Write
) -> None:
    here, there = write(project, tmp_path / "here", None), write(project, tmp_path / "there", Backwards())
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert len(contents(tmp_path / "here")[0]) >= 2
    assert len(here) == len(there)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


@pytest.mark.slow
@with_signals
def test_a_worker_that_is_lost_leaves_no_trace_in_a_package(project: Project, tmp_path: Path) -> None:
    write_package(project, tmp_path / "here", None)
    with losing_one(tmp_path / "cluster") as spread:
        write_package(project, tmp_path / "there", spread)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert spread.attempts == [2, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cluster", "here", "there"]


@pytest.mark.slow
@with_signals
def test_an_image_that_was_changed_ends_a_package_and_fails_a_case_of_samples(
    folder: Path, tmp_path: Path, spread: Cluster
) -> None:
    with Project.open(folder, reader="ann", read_only=True) as project:
        image = project.case_path(next(case.case_id for case in project.cases() if case.split == "train"))
        kept = image.read_bytes()
        image.write_bytes(b"no image any more")
        try:
            for by in (None, spread):
                with pytest.raises(InputRefusedError) as caught:
                    write_package(project, tmp_path / "package", by)
                assert caught.value.code == "changed"
            told = []
            for name, by in (("here", None), ("there", spread)):
                events = write_samples("nodule-unet", project, tmp_path / name, by)
                told.append(sorted((event.kind, event.name, event.error) for event in events))
        finally:
            image.write_bytes(kept)
    assert told[0] == told[1]
    assert [kind for kind, _, _ in told[0]] == ["case done", "case failed"]
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


@pytest.mark.slow
@with_signals
def test_a_package_that_is_given_up_leaves_nothing(project: Project, tmp_path: Path, spread: Cluster) -> None:
    cancel = CancelToken()
    steps = export_hard_examples(
        project, shipped(), project.runs()[0].run_id, tmp_path / "out", ALL, cancel, spread
    )
    next(steps)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(steps)
    assert list(tmp_path.iterdir()) == []
