from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from exchange_samples import PHOTO, VOLUME, VOLUME_GRID, fill, project_of, region_of, write_images

from napari_medlab.annotations.formats.voxel_outlines import image_regions, patch_of_region
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.exporting import Outgoing, export_objects
from napari_medlab.exchange.formats import FORMATS, detected
from napari_medlab.exchange.isolated import ask_parser
from napari_medlab.exchange.label_maps import aligned
from napari_medlab.exchange.lidc_consensus import agreed
from napari_medlab.exchange.matched import matched
from napari_medlab.exchange.predictions import import_predictions
from napari_medlab.exchange.reference import import_reference
from napari_medlab.images.isolation import Limits
from napari_medlab.project import Project
from napari_medlab.project.case_names import cases_by_name
from napari_medlab.project.edits import add_case, set_fields, set_finding, set_region
from napari_medlab.project.unread import reading_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def photos(tmp_path: Path) -> Iterator[Project]:
    with project_of(tmp_path / "p", write_images(tmp_path / "images", photos=3, volumes=0)) as project:
        yield project


def write_coco(path: Path, names: list[str], *, size: tuple[int, int] = PHOTO, **more: Any) -> Path:  # noqa: ANN401
    """Write a box on each image but the last."""
    images = [
        {"id": n, "file_name": name, "width": size[1], "height": size[0]} for n, name in enumerate(names)
    ]
    boxes = [
        {"id": n + 1, "image_id": n, "category_id": 1, "bbox": [4, 6, 10, 8], **more}
        for n in range(len(names) - 1)
    ]
    path.write_text(
        json.dumps({"images": images, "categories": [{"id": 1, "name": "mass"}], "annotations": boxes})
    )
    return path


def test_names_are_matched_by_case_file_folder_and_key(photos: Project) -> None:
    first, second, third = photos.cases()
    names = ["frame-0", "images/frame-1.png", f"elsewhere/{third.case_id}.jpg", "frame-9"]
    assert cases_by_name(photos, names) == {
        "frame-0": first.case_id, "images/frame-1.png": second.case_id, names[2]: third.case_id,
    }  # fmt: skip


def test_boxes_of_coco_become_findings_and_crowds_do_not_count(photos: Project, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", ["frame-0.png", "frame-1.png", "frame-7.png"], iscrowd=1)
    done = import_reference(photos, Wanted(path))
    assert (done.added, done.excluded, done.outlines, done.cases) == (2, 2, 2, 2)
    assert (done.unmatched, done.normal) == (("frame-7.png",), 0)
    finding = photos.findings(photos.cases()[0].case_id).finding(0)
    assert finding.centre == (8.5, 9.5)
    assert (finding.diameter, finding.label, finding.is_excluded) == (9.0, "mass", True)


def test_images_that_a_file_lists_without_anything_count_as_read(photos: Project, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", ["frame-0.png", "frame-1.png"])
    done = import_reference(photos, Wanted(path))
    first, second, third = photos.cases()
    assert (done.normal, first.fields, second.fields, third.fields) == (1, {}, {"read": "yes"}, {})
    assert reading_of(photos).unread == {third.case_id}
    edits = len(photos.journal())
    import_reference(photos, Wanted(path))
    assert len(photos.journal()) == edits


def test_cases_that_nobody_read_are_named_in_what_goes_out(photos: Project, tmp_path: Path) -> None:
    import_reference(photos, Wanted(write_coco(tmp_path / "a.json", ["frame-0.png", "frame-1.png"])))
    third = photos.cases()[2]
    done = export_objects(photos, tmp_path / "out", Outgoing("coco", with_images=False), Selection())
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (done.unread, manifest["unread"]) == (1, [third.case_id])
    photos.commit(set_fields(third.case_id, {}, {"read": "yes"}))
    assert (
        export_objects(photos, tmp_path / "o", Outgoing("coco", with_images=False), Selection()).unread == 0
    )


def test_what_a_reader_removed_stays_removed(photos: Project, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", ["frame-0.png", "frame-1.png"])
    import_reference(photos, Wanted(path))
    finding = photos.findings().finding(0)
    photos.commit(set_finding(finding, None))
    done = import_reference(photos, Wanted(path))
    assert (done.added, len(photos.findings())) == (0, 0)


def test_an_import_that_is_stopped_is_taken_up(photos: Project, tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", ["frame-0.png", "frame-1.png", "frame-2.png"], score=0.5)
    found = matched(photos, Wanted(path, is_predicted=True))

    def stop(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_predictions(photos, found, on_progress=stop)
    assert [run.is_finished for run in photos.runs()] == [False]
    done = import_predictions(photos, found)
    assert (done.cases, done.already, done.candidates, done.outlines) == (1, 2, 0, 0)
    assert len(photos.candidates(done.run_id)) == 2
    assert photos.cases_done(done.run_id) == {case.case_id for case in photos.cases()}
    assert photos.verify() == []


@pytest.mark.parametrize(
    ("names", "size", "code"),
    [
        (["other-0.png", "other-1.png"], PHOTO, "no-series"),
        (["frame-0.png", "frame-1.png"], (96, 128), "size"),
        (["frame-0.png", "deeper/frame-0.png"], PHOTO, "ambiguous-series"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(
    photos: Project, tmp_path: Path, names: list[str], size: tuple[int, int], code: str
) -> None:
    edits = len(photos.journal())
    with pytest.raises(InputRefusedError) as caught:
        import_reference(photos, Wanted(write_coco(tmp_path / "a.json", names, size=size)))
    assert caught.value.code == code
    assert len(photos.journal()) == edits


def test_a_table_about_volumes_is_not_imported_onto_a_photo(photos: Project, tmp_path: Path) -> None:
    table = tmp_path / "annotations.csv"
    table.write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\nframe-0,1,2,3,5\n")
    with pytest.raises(InputRefusedError, match="is a photo of 2 axes") as caught:
        import_reference(photos, Wanted(table))
    assert caught.value.code == "wrong-kind"


def test_results_without_the_file_of_their_images_ask_for_it(photos: Project, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    with pytest.raises(InputRefusedError) as caught:
        matched(photos, Wanted(results, is_predicted=True))
    assert caught.value.code == "needs-images"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [("notes.json", '{"a": 1}', "a file of 8 bytes with .json"), ("empty.csv", "", "an empty file")],
)
def test_what_no_format_recognises_is_described(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputRefusedError, match=told) as caught:
        detected(tmp_path / name)
    assert caught.value.code == "unknown-format"
    with pytest.raises(InputRefusedError, match=r"a folder with 1 files \(1 "):
        detected(tmp_path)


def test_the_names_of_formats_are_their_own() -> None:
    names = [one.name for one in FORMATS]
    assert len(set(names)) == len(names)
    for one in FORMATS:
        assert callable(getattr(one.code(), one.sniff))


def test_a_file_that_keeps_its_reader_busy_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "slow.json"
    path.write_text("{}")
    request = {"op": "read", "path": str(path), "format": "auto", "options": {}}
    with pytest.raises(InputRefusedError) as caught:
        ask_parser(request, path, limits=Limits(seconds=0.0))
    assert caught.value.code == "reader-hung"


@pytest.mark.parametrize("flips", [(1, 1, 1), (1, -1, -1), (-1, 1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_a_map_is_turned_to_the_voxels_of_its_image(order: tuple[int, ...], flips: tuple[int, ...]) -> None:
    labels = np.random.default_rng(1).integers(0, 9, VOLUME)
    turned = labels.transpose(order)[tuple(slice(None, None, flip) for flip in flips)]
    grid = VOLUME_GRID.reordered(order, flips)
    assert np.array_equal(aligned(turned, grid, VOLUME_GRID, "map"), labels)
    assert np.array_equal(aligned(labels, VOLUME_GRID, grid, "map"), turned)


def test_a_map_on_other_voxels_is_refused() -> None:
    with pytest.raises(InputRefusedError, match="voxels beside") as caught:
        aligned(np.zeros(VOLUME), VOLUME_GRID.cropped((1, 0, 0), VOLUME), VOLUME_GRID, "map")
    assert caught.value.code == "grid"


def test_what_readers_of_lidc_agree_on_is_one_finding() -> None:
    masks = [np.zeros(VOLUME, dtype=bool) for _ in range(4)]
    for shift, mask in enumerate(masks[:3]):
        mask[2, 5 : 10 + shift, 5:10] = True
    lonely = np.zeros(VOLUME, dtype=bool)
    lonely[4, 15:18, 15:18] = True
    readings = []
    for reader, mask in enumerate(masks):
        drawn = [region_of("s", "block", mask)] if mask.any() else [region_of("s", "dot", lonely)]
        readings.append(image_regions(f"s{reader}", drawn, VOLUME))
    (image,) = agreed(readings)
    assert image.is_excluded.tolist() == [False, True]
    patch = patch_of_region(image.regions.region(0), VOLUME)
    assert patch is not None
    assert np.array_equal(np.argwhere(patch.mask) + patch.corner, np.argwhere(masks[1]))


def test_what_the_project_cannot_remember_does_not_appear(
    photos: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(photos)

    def full(_edit: object) -> int:
        raise ProjectError("The disk is full.", code="disk")

    with monkeypatch.context() as patched:
        patched.setattr(photos, "commit", full)
        with pytest.raises(ProjectError):
            export_objects(photos, tmp_path / "out", Outgoing("geojson"), Selection())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p"]
    assert export_objects(photos, tmp_path / "out", Outgoing("geojson"), Selection()).is_recorded


def test_what_is_stopped_or_fails_leaves_no_folder(photos: Project, tmp_path: Path) -> None:
    fill(photos)

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_objects(photos, tmp_path / "out", Outgoing("geojson"), Selection(), on_progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "p"]
    assert photos.exports() == []


def test_an_outline_that_is_nobodys_goes_out_as_an_object(photos: Project, tmp_path: Path) -> None:
    case_id = photos.cases()[0].case_id
    mask = np.zeros(PHOTO, dtype=bool)
    mask[3:9, 5:20] = True
    photos.commit(set_region(None, replace(region_of(case_id, "block", mask), owner_id="")))
    done = export_objects(photos, tmp_path / "out", Outgoing("coco"), Selection())
    assert (done.cases, done.findings) == (3, 1)
    written = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert [entry["bbox"] for entry in written["annotations"]] == [[5.0, 3.0, 15.0, 6.0]]


def test_findings_that_do_not_count_are_left_out_where_a_format_cannot_say_so(tmp_path: Path) -> None:
    with project_of(tmp_path / "p", write_images(tmp_path / "images", photos=0)) as project:
        fill(project)
        done = export_objects(project, tmp_path / "out", Outgoing("dicom-seg"), Selection())
        assert (done.findings, done.excluded, done.excluded_left_out) == (3, 0, 1)
        assert matched(project, Wanted(tmp_path / "out")).count == 3


def test_images_that_may_carry_a_name_are_held_until_somebody_looked(tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", photos=0)
    with project_of(tmp_path / "q", images) as other:
        scan = replace(other.cases()[0], modality="US")
    with Project.create(tmp_path / "p", reader="ann") as project:
        project.commit(add_case(scan))
        with pytest.raises(InputRefusedError) as caught:
            export_objects(project, tmp_path / "out", Outgoing("nifti", with_images=True), Selection())
        assert caught.value.code == "text-in-pixels"
        assert not (tmp_path / "out").exists()
        looked = Outgoing("nifti", with_images=True, has_no_text=True)
        assert export_objects(project, tmp_path / "out", looked, Selection()).images == 1


def test_objects_of_chosen_cases_and_classes_go_out_alone(photos: Project, tmp_path: Path) -> None:
    fill(photos)
    chosen = Selection(cases=("frame-2",), labels=frozenset({"cyst"}))
    done = export_objects(photos, tmp_path / "out", Outgoing("coco"), chosen)
    assert (done.cases, done.findings, done.excluded) == (1, 1, 1)
    written = json.loads((tmp_path / "out" / "annotations.json").read_text())
    # all classes keep their numbers, whatever is chosen
    numbers = {entry["name"]: entry["id"] for entry in written["categories"]}
    assert sorted(numbers) == ["cyst", "mass"]
    assert {entry["category_id"] for entry in written["annotations"]} == {numbers["cyst"]}


def test_results_among_a_reference_are_predictions(photos: Project, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text('[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]')
    with pytest.raises(InputRefusedError) as caught:
        import_reference(photos, Wanted(results))
    assert "project import-predictions DIR FILE --images COCO" in caught.value.hint


@pytest.mark.parametrize(("is_predicted", "column"), [(False, "diameter_mm"), (True, "probability")])
def test_a_table_of_no_format_is_told_the_columns_that_are_read(
    photos: Project, tmp_path: Path, is_predicted: bool, column: str
) -> None:
    table = tmp_path / "findings.csv"
    table.write_text("patient,x,y\nA,1,2\n")
    with pytest.raises(InputRefusedError) as caught:
        matched(photos, Wanted(table, is_predicted=is_predicted))
    assert caught.value.code == "csv"
    assert "seriesuid" in caught.value.message
    assert is_predicted or column in caught.value.hint


def test_a_class_given_on_the_way_in_is_given_to_what_is_there_already(
    photos: Project, tmp_path: Path
) -> None:
    table = write_coco(tmp_path / "coco.json", ["frame-0.png", "frame-1.png", "frame-2.png"])
    assert import_reference(photos, Wanted(table)).added == 2
    first, second = photos.findings().ids.tolist()
    before = photos.finding(first)
    assert before is not None
    photos.commit(set_finding(before, replace(before, label="scar")))

    done = import_reference(photos, Wanted(table, only_class="cyst"))
    assert (done.added, done.already, done.relabelled, done.kept_class) == (0, 2, 1, 1)
    labels = dict(zip(photos.findings().ids.tolist(), photos.findings().labels.tolist(), strict=True))
    assert labels == {first: "scar", second: "cyst"}
    again = import_reference(photos, Wanted(table, only_class="cyst"))
    assert (again.added, again.relabelled) == (0, 0)
    assert import_reference(photos, Wanted(table)).added == 0


def test_classes_of_a_file_are_renamed(photos: Project, tmp_path: Path) -> None:
    table = write_coco(tmp_path / "coco.json", ["frame-0.png", "frame-1.png"])
    with pytest.raises(InputRefusedError, match="'lump'") as caught:
        import_reference(photos, Wanted(table, names={"lump": "cyst"}))
    assert (caught.value.code, caught.value.hint) == ("names", "Its classes: 'mass'.")
    import_reference(photos, Wanted(table, names={"mass": "cyst"}))
    assert photos.findings().labels.tolist() == ["cyst"]
    assert [region.label for region in photos.regions()] == ["cyst"]
    theirs = import_predictions(photos, Wanted(table, only_class="a"))
    assert photos.candidates(theirs.run_id).labels.tolist() == ["a"]
    assert import_predictions(photos, Wanted(table), model="other").run_id != theirs.run_id
