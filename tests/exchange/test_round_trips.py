from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from exchange_samples import RUN, fill, predict, project_of, write_images

from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.exporting import Outgoing, export_objects
from napari_medlab.exchange.predictions import import_predictions
from napari_medlab.exchange.reference import import_reference

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project import Project

PLANAR = ["coco", "geojson", "nifti", "yolo", "hubmap"]
VOLUMES = ["nifti", "mha", "dicom-seg", "rtstruct"]
ENTRY = {"coco": "annotations.json"}
"""The file to import, where it is not the whole folder."""


def shapes_of(project: Project, case_id: str) -> list[tuple[str, list[list[list[float]]]]]:
    """Return class and rings of every outline of a case, in an order of their own."""
    regions = project.regions(case_id)
    return sorted((region.label, sorted(_turned(ring) for ring in region.rings)) for region in regions)


def _turned(ring: np.ndarray) -> list[list[float]]:
    """Return a ring from its least vertex on, whichever way it runs."""
    ways = [
        np.roll(way, -start, axis=0).tolist()
        for way in (ring, ring[::-1])
        for start in [min(range(len(way)), key=lambda k: tuple(way[k]))]
    ]
    return min(ways)


def kept(project: Project, case_id: str) -> list[tuple[str, bool]]:
    table = project.findings(case_id)
    return sorted(zip(table.labels.tolist(), table.is_excluded.tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "volumes"), [*((name, 0) for name in PLANAR), *((name, 1) for name in VOLUMES)]
)
def test_findings_and_outlines_come_back_as_they_were(tmp_path: Path, name: str, volumes: int) -> None:
    images = write_images(tmp_path / "images", photos=0 if volumes else 2, volumes=volumes)
    with project_of(tmp_path / "a", images) as project:
        fill(project, plain=name in ("dicom-seg", "rtstruct", "yolo"))
        done = export_objects(project, tmp_path / "out", Outgoing(name), Selection())
        assert (done.cases, done.findings + done.excluded) == (len(images), 4)
        with project_of(tmp_path / "b", images) as other:
            entry = tmp_path / "out" / ENTRY.get(name, "")
            taken = import_reference(other, Wanted(entry))
            assert (taken.added, taken.outlines, taken.unmatched) == (4, 4, ())
            for case in project.cases():
                assert shapes_of(other, case.case_id) == shapes_of(project, case.case_id)
                assert kept(other, case.case_id) == kept(project, case.case_id)
            assert other.verify() == []
            edits = len(other.journal())
            again = import_reference(other, Wanted(entry))
            assert (again.added, again.outlines, again.already) == (0, 0, 4)
            assert len(other.journal()) == edits


@pytest.mark.parametrize(("name", "volumes"), [("coco", 0), ("geojson", 0), ("nifti", 1)])
def test_candidates_come_back_with_their_scores(tmp_path: Path, name: str, volumes: int) -> None:
    images = write_images(tmp_path / "images", photos=0 if volumes else 2, volumes=volumes)
    with project_of(tmp_path / "a", images) as project:
        fill(project)
        predict(project)
        done = export_objects(project, tmp_path / "out", Outgoing(name), Selection(run_id=RUN))
        assert (done.candidates, done.cases) == (4, len(images))
        with project_of(tmp_path / "b", images) as other:
            entry = tmp_path / "out" / ("results_segm.json" if name == "coco" else "")
            beside = tmp_path / "out" / "annotations.json" if name == "coco" else None
            taken = import_predictions(other, Wanted(entry, images=beside, is_predicted=True), model="theirs")
            assert (taken.candidates, taken.outlines, taken.without_score) == (4, 4, 0)
            for case in project.cases():
                before, after = (
                    one.candidates(run, case.case_id) for one, run in ((project, RUN), (other, taken.run_id))
                )
                assert sorted(after.scores.tolist()) == sorted(before.scores.tolist())
                assert sorted(after.labels.tolist()) == sorted(before.labels.tolist())
            assert other.verify() == []


@pytest.mark.parametrize(("name", "entry", "objects"), [
    ("nnunet", "", [("cyst", False), ("cyst", False), ("ignore", True), ("mass", False), ("mass", False)]),
    ("nndetection", "Task000_Export", [("cyst", False), ("mass", False), ("mass", False)]),
    ("monai", "", [("cyst", False), ("mass", False), ("mass", False)]),
])  # fmt: skip
def test_data_sets_come_back_with_what_their_format_knows(
    tmp_path: Path, name: str, entry: str, objects: list[tuple[str, bool]]
) -> None:
    """Of classes each connected part is an object; what does not count is a class of nnU-Net, and of no other."""
    images = write_images(tmp_path / "images", photos=0, volumes=3)
    with project_of(tmp_path / "a", images) as project:
        fill(project)
        done = export_objects(project, tmp_path / "out", Outgoing(name), Selection())
        assert (done.cases, done.images) == (3, 3)
        with project_of(tmp_path / "b", images) as other:
            taken = import_reference(other, Wanted(tmp_path / "out" / entry))
            first, second, _ = project.cases()
            assert taken.format == name
            assert kept(other, first.case_id) == objects
            assert kept(other, second.case_id) == []
            again = import_reference(other, Wanted(tmp_path / "out" / entry))
            assert (again.added, again.outlines) == (0, 0)
            assert other.verify() == []


def test_a_number_means_one_class_in_all_coco_exports_of_a_project(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", volumes=0)
    with project_of(tmp_path / "p", images) as project:
        fill(project, plain=True)
        predict(project)
        only = Selection(labels=frozenset(["mass"]))
        for name, selection in (
            ("all", Selection()),
            ("some", only),
            ("run", Selection(run_id=RUN, labels=only.labels)),
        ):
            export_objects(project, tmp_path / name, Outgoing("coco"), selection)
    found = [
        json.loads((tmp_path / name / "annotations.json").read_text())["categories"]
        for name in ("all", "some", "run")
    ]
    assert found[0] == found[1] == found[2]
    assert [entry["name"] for entry in found[0]] == ["cyst", "mass"]
