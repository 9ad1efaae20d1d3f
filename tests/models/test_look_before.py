"""What is to be seen of hard examples before they are written."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "widgets"))

from mixed_project import RUN, make_project

from napari_medlab.annotations import Finding
from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.images.fingerprint import fingerprint
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles import Bundle, find_bundle
from napari_medlab.models.workflows.hard_examples import HardOptions, export_hard_examples
from napari_medlab.models.workflows.hard_thumbnails import picture_of, thumbnail
from napari_medlab.models.workflows.look_before import ALIKE, look_before
from napari_medlab.project import Project
from napari_medlab.project.edits import add_case, add_findings, finish_case, set_fields

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = HardOptions(fp_per_scan=8.0, rule=MiningRule(budget=20))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("mixed") / "project", scans=2, photos=4)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Iterator[Project]:
    with Project.open(shutil.copytree(template, tmp_path / "project"), reader="ann") as opened:
        yield opened


def photo_detector(longest_side: int) -> Bundle:
    """Return a detector with anchors from 32 pixels on that reads photos at a size."""
    arguments = {
        "spatial_dims": 2, "in_channels": 3, "classes": 2, "levels": [3, 4, 5], "channels": 8, "convs": 1,
        "backbone": {"name": "resnet10", "planes": [4, 4, 8, 8]}, "anchors": {"sizes": [32, 64, 128], "ratios": [1.0]},
    }  # fmt: skip
    spec = {
        "schema": 2, "name": "frames", "task": "detection", "network": {"name": "one-stage", "arguments": arguments},
        "preprocessing": {"kind": "photo", "longest_side": longest_side, "channels": 3},
        "postprocessing": {}, "classes": ["starfish", "scallop"], "weights_sha256": "0" * 64,
    }  # fmt: skip
    return Bundle(Path("nowhere"), spec, "f" * 64)


def test_it_is_what_is_written_then(project: Project) -> None:
    bundle = find_bundle("lung-nodules")
    look = look_before(project, RUN, bundle, ASKED)
    list(export_hard_examples(project, bundle, RUN, project.folder / "package", ASKED))
    manifest = json.loads((project.folder / "package" / "manifest.json").read_text())
    assert look.looked_at == len(look.chosen) == len(manifest["examples"])
    assert {one.object_id for one in look.chosen.errors} <= {one["object_id"] for one in manifest["examples"]}
    assert sum(sum(counts.values()) for counts in look.classes.values()) == len(look.chosen)
    assert json.loads(json.dumps(look.as_json()))["left_out"] == dict(look.chosen.left_out)


def test_the_numbers_alone_need_no_pixels(project: Project) -> None:
    for path in (project.folder / "images").iterdir():
        path.unlink()
    look = look_before(project, RUN, find_bundle("lung-nodules"), ASKED, most=0)
    assert (look.looked_at, look.intensity, look.pictures) == (0, {}, ())
    assert len(look.boxes.after)


@pytest.mark.parametrize(("longest_side", "share"), [(640, 0.0), (320, 1.0)])
def test_findings_below_the_smallest_anchor_are_told(
    project: Project, longest_side: int, share: float
) -> None:
    look = look_before(project, RUN, photo_detector(longest_side), ASKED, most=0)
    assert look.boxes.smallest_anchor is not None
    np.testing.assert_allclose(look.boxes.before, 40.0)
    np.testing.assert_allclose(look.boxes.after, 40.0 * longest_side / 640)
    assert look.boxes.share_below == share
    assert look.as_json()["boxes"]["share_below"] == share


def test_classes_are_counted_on_each_side(project: Project) -> None:
    asked = replace(ASKED, validation_share=0.5)
    look = look_before(project, RUN, photo_detector(640), asked, most=0)
    assert set(look.classes) == {"train", "validation"}
    named = {name for counts in look.classes.values() for name in counts}
    assert named <= {"starfish", "scallop", "none"}
    assert "none" in named
    assert len(named) > 1


def test_brightness_is_told_by_site(project: Project) -> None:
    scans = [case for case in project.cases() if case.kind == "volume"]
    for case, site in zip(scans, ("Bonn", "Ulm"), strict=True):
        project.commit(set_fields(case.case_id, case.fields, {"site": site}))
    look = look_before(project, RUN, find_bundle("lung-nodules"), ASKED)
    assert set(look.intensity) == {"Bonn", "Ulm"}
    for one in look.intensity.values():
        assert (np.diff(one.quantiles) >= 0).all()
        assert one.histogram.sum() == pytest.approx(1.0)
        assert one.crops > 0
    assert sum(one.crops for one in look.intensity.values()) == look.looked_at


def test_a_copy_on_the_other_side_is_found(project: Project) -> None:
    photos = [case for case in project.cases() if case.kind == "photo"]
    findings = project.findings(photos[0].case_id)
    asked = replace(ASKED, validation_share=0.5)
    bundle = photo_detector(640)
    assert look_before(project, RUN, find_bundle("lung-nodules"), asked).alike == ()
    first = project.case_path(photos[0].case_id)
    for number in range(3):  # so that one of them is on the other side
        case_id = f"{number:032x}"
        path = project.folder / "images" / f"copy{number}.png"
        shutil.copy(first, path)
        copy = replace(photos[0], case_id=case_id, path=f"images/{path.name}", name=f"copy {number}",
                       patient_key=f"another sea {number}", fingerprint=fingerprint(path))  # fmt: skip
        project.commit(add_case(copy))
        centres = findings.centres[:, :2].tolist()
        project.commit(add_findings([Finding(case_id, tuple(at), 40.0, "starfish") for at in centres]))
        project.commit(finish_case(RUN, case_id, 1.0))
    look = look_before(
        project, RUN, bundle, replace(asked, rule=replace(asked.rule, budget=200, replay_share=0.1))
    )
    pairs = {frozenset((pair.first.case_id, pair.second.case_id)) for pair in look.alike}
    assert pairs
    copies = {photos[0].case_id, *(f"{number:032x}" for number in range(3))}
    assert any(pair <= copies for pair in pairs)
    first_pair = look.alike[0]
    assert {first_pair.first.case_id, first_pair.second.case_id} <= copies
    assert first_pair.likeness == pytest.approx(1.0, abs=1e-4)
    assert all(pair.likeness > ALIKE for pair in look.alike)
    assert look.as_json()["alike"][0]["likeness"] > ALIKE


def test_it_is_followed_and_stopped(project: Project) -> None:
    cancel, steps = CancelToken(), []

    def follow(done: int, total: int) -> None:
        steps.append((done, total))
        cancel.cancel()

    with pytest.raises(CancelledError):
        look_before(project, RUN, find_bundle("lung-nodules"), ASKED, watch=(follow, cancel.check))
    assert len(steps) == 1
    assert 0 < steps[0][0] < steps[0][1]


def test_at_most_so_many_are_looked_at_of_all_cases_alike(project: Project) -> None:
    look = look_before(project, RUN, find_bundle("lung-nodules"), ASKED, most=6)
    assert look.looked_at == 6
    assert len(look.pictures) == 6
    assert len({one.case_id for one, _ in look.pictures}) == 2


def test_thumbnails_tell_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    image = rng.random((1, 33, 40, 48)).astype(np.float32).cumsum(axis=2)
    other = rng.random((1, 33, 40, 48)).astype(np.float32).cumsum(axis=3)
    mark = thumbnail(image)
    assert mark.shape == (512,)
    assert np.linalg.norm(mark) == pytest.approx(1.0, abs=1e-5)
    assert mark @ thumbnail(2 * image + 3) == pytest.approx(1.0, abs=1e-4)
    assert mark @ thumbnail(other) < 0.9
    assert not thumbnail(np.ones((3, 20, 20), np.float32)).any()
    assert thumbnail(np.ones((1, 5, 7), np.float32)).shape == (35,)


@pytest.mark.parametrize(
    ("shape", "seen"), [((1, 8, 9, 10), (9, 10)), ((3, 9, 10), (9, 10, 3)), ((1, 9, 10), (9, 10))]
)
def test_pictures_are_grey_or_coloured(shape: tuple[int, ...], seen: tuple[int, ...]) -> None:
    picture = picture_of(np.random.default_rng(0).random(shape).astype(np.float32))
    assert picture.shape == seen
    assert picture.dtype == np.uint8
    assert (int(picture.min()), int(picture.max())) == (0, 255)
