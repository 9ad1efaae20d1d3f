"""From a project to samples, and from these to a training."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_sizes import at_toy_size

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable, Region, RegionTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, mask_to_rings
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.training.process import train_configuration
from napari_medlab.models.training.samples import read_sample
from napari_medlab.models.workflows.sample_cubes import places_of
from napari_medlab.models.workflows.sample_objects import ClassRule, Lattices, known_objects, painted
from napari_medlab.models.workflows.sample_tiles import tile_shape, tile_starts
from napari_medlab.models.workflows.samples import MANIFEST, SampleOptions, export_samples
from napari_medlab.project import Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    finish_run,
    set_verdict,
)
from napari_medlab.project.records import CaseRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.models.training.configuration import Configuration

RUN = "a" * 32
SPACING = (2.0, 1.0, 1.0)
SHAPE = (20, 48, 48)
BALL, SPECK = (20.0, 24.0, 18.0), (36.0, 10.0, 30.0)
"""Where the finding is that counts, and the one that does not, (x, y, z) mm."""
FALSE, OTHER = (10.0, 38.0, 12.0), (27.0, 24.0, 18.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of five small CTs with a ball each, but for one without; one is frozen, one cannot be read."""
    root = tmp_path_factory.mktemp("samples") / "project"
    with Project.create(root, reader="ann") as project:
        (root / "images").mkdir(exist_ok=True)
        project.commit(add_run(RUN, "b" * 64, {}))
        for number, name in enumerate(("first", "second", "empty", "broken", "frozen")):
            add_ball(project, number, name)
        project.commit(finish_run(RUN))
    return root


def add_ball(project: Project, number: int, name: str) -> None:
    case_id = f"{number:032x}"
    grid = Grid.axis_aligned(SHAPE, SPACING)
    where = grid.to_world(np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1))
    inside = np.linalg.norm(where - BALL, axis=-1) < 5
    if name == "empty":
        inside[:] = False
    path = project.folder / "images" / f"{case_id}.mha"
    volume = np.where(inside, 50, -900) + np.random.default_rng(number).integers(-20, 20, SHAPE)
    write_volume(path, volume.astype("<i2"))
    if name == "broken":
        path.write_bytes(b"nothing")
    is_test = name == "frozen"
    record = CaseRecord(case_id, f"images/{path.name}", name, "volume", "CT", f"patient {number}",
                        "test" if is_test else "train", is_test, grid=grid.as_json())  # fmt: skip
    project.commit(add_case(record))
    if name != "empty":
        ball = Finding(case_id, BALL, 10.0, finding_id=f"ball{number:028x}")
        project.commit(
            add_findings(
                [ball, Finding(case_id, SPECK, -1.0, is_excluded=True, finding_id=f"speck{number:027x}")]
            )
        )
        planes = {
            z: [r for r in mask_to_rings(inside[z]) if len(r) > 3]
            for z in np.flatnonzero(inside.any(axis=(1, 2))).tolist()
        }
        outline = Region.on_slices(case_id, planes, ball.finding_id)
        project.commit(add_regions(case_id, "reference", RegionTable.from_regions(case_id, [outline])))
    proposed = [Candidate(case_id, at, 0.5, 6.0) for at in (BALL, FALSE, OTHER, SPECK)]
    project.commit(add_candidates(RUN, case_id, 0, proposed))
    project.commit(finish_case(RUN, case_id, 0.1))


def write_volume(path: Path, volume: np.ndarray[Any, Any]) -> None:
    sizes = " ".join(map(str, volume.shape[::-1]))
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 2\nDimSize = {sizes}\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + volume.tobytes())


@pytest.fixture
def project(folder: Path) -> Iterator[Project]:
    with Project.open(folder, reader="ann", read_only=True) as opened:
        yield opened


def exported(
    project: Project,
    name: str | Configuration,
    out: Path,
    **options: Any,  # noqa: ANN401 - passed on
) -> tuple[list[Any], dict[str, Any]]:
    configuration = read_configuration(name) if isinstance(name, str) else name
    events = list(export_samples(project, configuration, out, CancelToken(), SampleOptions(**options)))
    return events, json.loads((out / MANIFEST).read_text())


def test_a_detector_gets_images_with_exact_boxes(project: Project, tmp_path: Path) -> None:
    events, manifest = exported(project, "nodule-retinanet", tmp_path / "out")
    assert [(e.kind, e.name) for e in events if e.kind != "sample"] == [
        ("case done", "first"), ("case done", "second"), ("case done", "empty"), ("case failed", "broken"),
    ]  # fmt: skip
    assert events[-1].error
    assert (events[-1].done, events[-1].total, events[-1].samples) == (4, 4, 3)
    files = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert files == [*(f"{number:032x}-00000.npz" for number in range(3)), MANIFEST]
    first, _, empty = (read_sample(tmp_path / "out" / record["file"]) for record in manifest["samples"])
    assert first.image.dtype == np.float16
    assert first.group == f"{0:032x}"  # whoever typed in that key, it may be a name
    assert first.is_ignored.tolist() == [False, True]
    # a ball of 10 mm, as its voxels of 2 x 1 x 1 mm are outlined, at 1.5 mm
    np.testing.assert_allclose(first.centres[0] * 1.5, BALL[::-1], atol=0.6)
    np.testing.assert_allclose((first.boxes[0, 3:] - first.boxes[0, :3]) * 1.5, [10, 9, 9], atol=0.01)
    assert empty.boxes.shape == (0, 6)


def test_the_manifest_says_what_the_samples_are_and_not_whose(project: Project, tmp_path: Path) -> None:
    _, manifest = exported(project, "nodule-unet", tmp_path / "out")
    text = (tmp_path / "out" / MANIFEST).read_text()
    assert not any(word in text for word in ("first", "patient 0", "broken", ".mha"))
    assert manifest["split"] == "train"
    assert manifest["configuration"]["sha256"] == read_configuration("nodule-unet").hash
    assert list(manifest["failed"]) == [f"{3:032x}"]
    assert set(manifest["sources"]) == {f"{number:032x}" for number in range(3)}
    for record in manifest["samples"]:
        assert (
            hashlib.sha256((tmp_path / "out" / record["file"]).read_bytes()).hexdigest() == record["sha256"]
        )


def test_a_segmenter_gets_masks_of_what_is_outlined(project: Project, tmp_path: Path) -> None:
    _, manifest = exported(project, "nodule-unet", tmp_path / "out")
    first, _, empty = (read_sample(tmp_path / "out" / record["file"]) for record in manifest["samples"])
    assert first.mask is not None
    assert empty.mask is not None
    assert first.mask.shape == (1, *first.shape)
    assert not empty.mask.any()
    found = np.stack(np.nonzero(first.mask[0]), axis=1)
    np.testing.assert_allclose(found.mean(axis=0) * 1.5, BALL[::-1], atol=0.6)
    assert len(found) * 1.5**3 == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.15)
    bright = first.image[0] > 0.4
    assert (bright & (first.mask[0] > 0)).sum() > 0.8 * max(bright.sum(), len(found))


def test_a_classifier_gets_cubes_of_lesions_and_of_false_positives(project: Project, tmp_path: Path) -> None:
    _, manifest = exported(project, "lung-vgg-24", tmp_path / "out", run_id=RUN)
    of_first = [record for record in manifest["samples"] if record["case_id"] == f"{0:032x}"]
    # the finding, the candidate that hits it, and two false ones; the one at the speck teaches nothing
    assert [record["label"] for record in of_first] == [1, 1, 0, 0]
    assert manifest["counts"]["candidates that are ambiguous, left out"] == 2
    of_empty = [record["label"] for record in manifest["samples"] if record["case_id"] == f"{2:032x}"]
    assert of_empty == [0, 0, 0, 0]
    cube = read_sample(tmp_path / "out" / of_first[0]["file"])
    assert (cube.shape, cube.label) == ((30, 30, 30), 1)
    assert cube.image[0, 13:17, 13:17, 13:17].mean() > cube.image[0].mean() + 0.3
    assert (manifest["run_id"], manifest["bundle"]) == (RUN, "b" * 64)


@pytest.mark.parametrize(
    ("name", "options"),
    [("nodule-retinanet", {}), ("nodule-unet", {"tile": (16,)}), ("lung-vgg-24", {"run_id": RUN})],
)
def test_what_is_exported_is_trained_on(
    project: Project, tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    configuration = at_toy_size(read_configuration(name))
    exported(project, configuration, tmp_path / "samples", **options)
    request = {
        "configuration": configuration.as_json(), "samples": [str(tmp_path / "samples")], "hold_out": "fold:1/2",
        "out": str(tmp_path), "checkpoint": str(tmp_path / "state.checkpoint"), "device": "cpu",
    }  # fmt: skip
    events = list(train_configuration(request, CancelToken()))
    assert [event["event"] for event in events] == ["data", "step", "step", "bundle"]
    assert events[0]["held_out"] > 0
    assert all(np.isfinite(event["losses"]["total"]) for event in events if event["event"] == "step")


def test_test_cases_are_written_only_by_name_and_training_refuses_them(
    project: Project, tmp_path: Path
) -> None:
    _, manifest = exported(project, "nodule-retinanet", tmp_path / "out", split="test")
    assert manifest["split"] == "test"
    assert [record["case_id"] for record in manifest["samples"]] == [f"{4:032x}"]
    configuration = at_toy_size(read_configuration("nodule-retinanet"))
    request = {
        "configuration": configuration.as_json(), "samples": [str(tmp_path / "out")], "out": str(tmp_path),
        "checkpoint": str(tmp_path / "state.checkpoint"),
    }  # fmt: skip
    with pytest.raises(InputRefusedError):
        list(train_configuration(request, CancelToken()))
    assert read_sample(tmp_path / "out" / manifest["samples"][0]["file"]).boxes.shape == (2, 6)


def test_other_classes_are_refused_by_name_or_ignored(project: Project, tmp_path: Path) -> None:
    named = replace(read_configuration("nodule-retinanet"), classes=("mass",))
    with pytest.raises(InputRefusedError, match="'nodule'") as caught:
        exported(project, named, tmp_path / "out")
    assert caught.value.code == "classes"
    assert not (tmp_path / "out").exists()
    _, manifest = exported(project, named, tmp_path / "out", other="ignore")
    sample = read_sample(tmp_path / "out" / manifest["samples"][0]["file"])
    assert sample.is_ignored.tolist() == [True, True]


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("lung-vgg-24", {}, "no-run"),
        ("nodule-unet", {"run_id": RUN}, "option"),
        ("lung-vgg-24", {"run_id": "c" * 32}, "unknown-run"),
        ("kidney-small", {}, "no-cases"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    project: Project, tmp_path: Path, name: str, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(Exception, match=r".") as caught:
        exported(project, name, tmp_path / "out", **options)
    assert getattr(caught.value, "code", None) == code
    assert list(tmp_path.iterdir()) == []


def test_a_cancelled_export_leaves_nothing(project: Project, tmp_path: Path) -> None:
    cancel = CancelToken()
    events = export_samples(project, read_configuration("nodule-unet"), tmp_path / "out", cancel)
    next(events)
    cancel.cancel()
    with pytest.raises(CancelledError):
        list(events)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(InputRefusedError) as caught:
        exported(project, "nodule-unet", tmp_path / "out")
    assert caught.value.code == "exists"


def test_what_readers_doubt_is_ignored_and_the_export_is_recorded(folder: Path, tmp_path: Path) -> None:
    case_id, finding_id = f"{1:032x}", f"ball{1:028x}"
    with Project.open(folder, reader="ann") as project:
        project.commit(set_verdict(case_id, RUN, finding_id, before=None, after="ambiguous"))
        try:
            _, manifest = exported(project, "nodule-retinanet", tmp_path / "out")
            (record,) = [one for one in project.exports() if one.path == str(tmp_path / "out")]
        finally:
            project.undo()
    record_of = {one["case_id"]: one for one in manifest["samples"]}
    assert record_of[case_id]["objects"] == 0
    assert record_of[f"{0:032x}"]["objects"] == 1
    assert record.manifest_digest == hashlib.sha256((tmp_path / "out" / MANIFEST).read_bytes()).hexdigest()
    assert (record.format, list(record.edit_ids)) == ("samples", manifest["edit_ids"])
    assert manifest["edit_ids"]


@given(side=st.integers(1, 60), size=st.integers(1, 60), overlap=st.floats(0, 0.9), is_shifted=st.booleans())
def test_tiles_cover_every_voxel_and_stay_inside(
    side: int, size: int, overlap: float, is_shifted: bool
) -> None:
    tile = min(size, side)
    starts = tile_starts((side,), (tile,), overlap, is_shifted=is_shifted)
    covered = np.zeros(side, np.bool_)
    for (start,) in starts:
        assert 0 <= start <= side - tile
        covered[start : start + tile] = True
    assert covered.all()
    assert len(starts) == len(set(starts))


def test_large_images_are_cut_into_tiles_unasked() -> None:
    assert tile_shape((900, 800), 3, (), ()) == (900, 800)
    assert tile_shape((9000, 8000), 3, (), ()) == (1024, 1024)
    assert tile_shape((9000, 8000), 3, (), (2048, 2048)) == (2048, 2048)
    assert tile_shape((100, 800), 3, (256,), ()) == (100, 256)
    with pytest.raises(InputRefusedError):
        tile_shape((100, 800), 3, (1, 2, 3), ())


def test_an_object_that_a_tile_cuts_off_is_ignored_there(project: Project, tmp_path: Path) -> None:
    _, manifest = exported(project, "nodule-retinanet", tmp_path / "out", tile=(32, 16, 16), overlap=0.5)
    of_first = [record for record in manifest["samples"] if record["case_id"] == f"{0:032x}"]
    assert {record["objects"] for record in of_first} == {0, 1}
    assert any(record["ignored"] and not record["objects"] for record in of_first)
    sample = read_sample(tmp_path / "out" / of_first[0]["file"])
    assert sample.shape == tuple(of_first[0]["shape"])


def test_regions_of_one_class_are_united_and_rings_within_are_holes() -> None:
    square = np.asarray([[2.0, 2.0], [2.0, 8.0], [8.0, 8.0], [8.0, 2.0]])
    hole = np.asarray([[4.0, 4.0], [4.0, 6.0], [6.0, 6.0], [6.0, 4.0]])
    grid = Grid.axis_aligned((12, 12), (1.0, 1.0), unit="px")
    regions = [Region("c", (square, hole), label="a"), Region("c", (square + 3,), label="a"),
               Region("c", (square + 1,), label="b")]  # fmt: skip
    rule = ClassRule(("a",), other="ignore")
    objects, _ = known_objects(FindingTable.from_objects([], 2), regions, Lattices(grid, grid), rule)
    assert [one.is_ignored for one in objects] == [False, False, True]
    mask = painted(objects, (1, 1), (10, 10), 1)
    assert mask.sum() == 6 * 6 - 4 + 6 * 6 - (3 * 3 - 1)
    with pytest.raises(InputRefusedError, match="'b'"):
        known_objects(FindingTable.from_objects([], 2), regions, Lattices(grid, grid), ClassRule(("a",)))


def test_a_finding_that_nobody_measured_is_ignored() -> None:
    grid = Grid.axis_aligned((10, 20, 20), (2.0, 1.0, 1.0))
    table = FindingTable.from_objects([Finding("c", (5.0, 5.0, 6.0), -1.0)])
    (one,), unmeasured = known_objects(table, [], Lattices(grid, grid), ClassRule(("nodule",)))
    assert (one.is_ignored, unmeasured) == (True, 1)
    np.testing.assert_allclose(one.box, [0.5, 0, 0, 5.5, 10, 10])


def test_between_radius_and_five_millimetres_nothing_is_learnt() -> None:
    findings = FindingTable.from_objects([Finding("c", (0.0, 0.0, 0.0), 4.0, "b")])
    centres = [(1.9, 0.0, 0.0), (2.1, 0.0, 0.0), (4.9, 0.0, 0.0), (5.1, 0.0, 0.0)]
    candidates = CandidateTable.from_objects([Candidate("c", at, 0.5) for at in centres])
    places, left_out = places_of(findings, candidates, (), ClassRule(("none", "a", "b")))
    assert [place.label for place in places] == [2, 2, 0]
    assert left_out == 2
    doubted, left_out = places_of(findings, candidates, set(candidates.ids[:1]), ClassRule(("b",), first=1))
    assert [place.label for place in doubted] == [1, 0]
    assert left_out == 3
