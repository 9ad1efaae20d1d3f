"""An export whose cases are written by the workers of a cluster is the one that this process writes."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from cluster_parts import cluster
from exchange_samples import fill, project_of, write_images
from spread_losses import hashes, losing_one, without_time

from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.exporting import Outgoing, export_objects
from napari_medlab.exchange.parts import attempt_in, parts_of
from napari_medlab.jobs import CancelledError
from napari_medlab.jobs.cluster import connect
from napari_medlab.jobs.spreading import Here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.jobs.cluster import Cluster
    from napari_medlab.jobs.spreading import Spread
    from napari_medlab.project import Project

DICOM = ("dicom-seg", "rtstruct")
on_clusters = pytest.mark.skipif(sys.platform == "win32", reason="holds and kills workers with signals")


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with (
        cluster(tmp_path_factory.mktemp("cluster"), 2) as parts,
        connect(parts.address, certificates=parts.certificates) as connected,
    ):
        yield connected


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    images = write_images(tmp_path / "images", photos=2, volumes=4)
    with project_of(tmp_path / "p", images) as made:
        fill(made)
        yield made


def exported(project: Project, out: Path, name: str, spread: Spread | None = None) -> dict[str, str]:
    """Write an export with images where they are not of DICOM, and return the hashes of its files."""
    outgoing = Outgoing(name, with_images=name not in DICOM, spread=spread or Here())
    done = export_objects(project, out, outgoing, Selection())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["files"] == hashes(out)
    assert done.files == len(manifest["files"])
    return hashes(out)


@on_clusters
@pytest.mark.parametrize("name", ["nifti", "nnunet", "nndetection", "coco", "luna16"])
def test_the_files_are_those_of_this_process(
    project: Project, tmp_path: Path, spread: Cluster, name: str
) -> None:
    here = exported(project, tmp_path / "here", name)
    there = exported(project, tmp_path / "there", name, spread)
    assert here == there
    manifests = [json.loads((tmp_path / out / "manifest.json").read_text()) for out in ("here", "there")]
    assert without_time(manifests[0]) == without_time(manifests[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "images", "p", "there"]


@on_clusters
def test_objects_of_dicom_are_written_by_workers_too(
    project: Project, tmp_path: Path, spread: Cluster
) -> None:
    names = [
        set(exported(project, tmp_path / f"{name}-{k}", name, by))
        for name in DICOM
        for k, by in enumerate((None, spread))
    ]
    assert names[0] == names[1]
    assert names[2] == names[3]
    assert len(names[0]) == 4


@pytest.mark.slow
@on_clusters
def test_a_worker_that_is_lost_leaves_no_trace_in_the_export(project: Project, tmp_path: Path) -> None:
    here = exported(project, tmp_path / "here", "nifti")
    with losing_one(tmp_path / "cluster") as spread:
        there = exported(project, tmp_path / "there", "nifti", spread)
    assert here == there
    assert spread.attempts == [2, *[1] * 5]
    assert len({one.key for one in spread.outcomes}) == 6
    assert not list(tmp_path.glob("*.parts")) + list(tmp_path.glob("*.partial*"))
    assert [one.path for one in project.exports()] == [str(tmp_path / "here"), str(tmp_path / "there")]


@on_clusters
def test_a_case_that_fails_gives_the_error_of_this_process_and_no_folder(
    project: Project, tmp_path: Path, spread: Cluster
) -> None:
    (tmp_path / "images" / "1.2.840.1.mha").write_bytes(b"no image")
    told = []
    for by in (None, spread):
        with pytest.raises(InputRefusedError) as caught:
            exported(project, tmp_path / "out", "nifti", by)
        told.append(caught.value.as_json())
        assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p"]
    assert told[0] == told[1]
    assert project.exports() == []


def test_an_export_that_is_stopped_between_cases_leaves_nothing(project: Project, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []

    def stop() -> None:
        if done:
            raise CancelledError("enough")

    with pytest.raises(CancelledError, match="enough"):
        export_objects(
            project, tmp_path / "out", Outgoing("nifti"), Selection(),
            on_progress=lambda *now: done.append(now), stop=stop,
        )  # fmt: skip
    assert done == [(1, 6)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p"]


def test_an_attempt_that_nobody_waits_for_any_more_writes_nothing(tmp_path: Path) -> None:
    with parts_of(tmp_path / "out") as parts:
        with attempt_in(parts) as own:
            (own / "late").write_bytes(b"")
        with pytest.raises(OSError, match="full"), attempt_in(parts) as own:
            raise OSError(28, "full", str(own / "file"))
        assert [len(list(parts.iterdir())), own.exists()] == [1, False]
    with pytest.raises(InputRefusedError) as caught, attempt_in(parts):
        pass
    assert caught.value.code == "not-shared"
    assert list(tmp_path.iterdir()) == []
