from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_samples import grids, straight_grid

from napari_medlab.annotations.formats import monai_datalist
from napari_medlab.annotations.formats.datasets import Dataset, DatasetCase
from napari_medlab.annotations.formats.label_map import instance_map, regions_of_labels
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.formats.datasets import Split
    from napari_medlab.geometry import Grid

SPLITS: st.SearchStrategy[Split] = st.sampled_from(["training", "validation", "test"])
NUMBERS = st.floats(-1e6, 1e6)
SIZES = st.floats(1e-3, 1e3)
BOXES = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, SIZES, SIZES, SIZES), max_size=3)


@st.composite
def datasets(draw: st.DrawFn, folder: Path, *, has_boxes: bool) -> Dataset:
    """Draw a list of up to five cases, of boxes or of label maps, whose files lie in a folder."""
    splits = sorted(
        draw(st.lists(SPLITS, min_size=1, max_size=5)), key=["training", "validation", "test"].index
    )
    cases = []
    for number, split in enumerate(splits):
        boxes = tuple(draw(BOXES)) if has_boxes else ()
        cases.append(
            DatasetCase(
                f"case{number}",
                (folder / f"images/case{number}.nii.gz",),
                None if has_boxes else folder / f"labels/case{number}.nii.gz",
                split,
                draw(st.none() | st.integers(0, 4)),
                None,
                boxes,
                tuple(draw(st.integers(0, 1)) for _ in boxes),
            )
        )
    # a list without any box is one of images alone, whose classes are those of label maps
    return Dataset(
        "list", tuple(cases), {0: "nodule", 1: "mass"} if any(c.boxes for c in cases) else {1: "nodule"}
    )


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_lists_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, has_boxes: bool
) -> None:
    folder = tmp_path_factory.mktemp("monai")
    dataset = data.draw(datasets(folder, has_boxes=has_boxes))
    path = folder / "dataset.json"
    monai_datalist.write(path, dataset)
    assert monai_datalist.sniff(path)
    assert monai_datalist.sniff(folder)
    assert monai_datalist.read(path) == dataset


def test_monai_reads_the_same(tmp_path: Path) -> None:
    from monai.data.decathlon_datalist import load_decathlon_datalist

    case = DatasetCase("a", (tmp_path / "images/a.nii.gz",), tmp_path / "labels/a.nii.gz", fold=2)
    boxes = DatasetCase(
        "b", (tmp_path / "b.nii.gz",), boxes=((1.5, 2.0, 3.0, 4.0, 5.0, 6.0),), box_classes=(0,)
    )
    monai_datalist.write(tmp_path / "maps.json", Dataset("maps", (case,), {1: "nodule"}))
    monai_datalist.write(tmp_path / "boxes.json", Dataset("boxes", (boxes,), {0: "nodule"}))
    [told] = load_decathlon_datalist(tmp_path / "maps.json", True, "training")
    assert told == {"image": str(case.images[0]), "label": str(case.label), "fold": 2}
    [told] = load_decathlon_datalist(tmp_path / "boxes.json", False, "training", tmp_path)
    assert told["box"] == [[1.5, 2.0, 3.0, 4.0, 5.0, 6.0]]
    assert told["label"] == [0]
    assert told["image"] == str(boxes.images[0])


def listed(folder: Path, told: object) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps(told))
    return path


DECATHLON = {
    "name": "Lung",
    "tensorImageSize": "3D",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "cancer"},
    "numTraining": 1,
    "training": [{"image": "./imagesTr/lung_053.nii.gz", "label": "./labelsTr/lung_053.nii.gz"}],
    "test": ["./imagesTs/lung_002.nii.gz"],
}


def test_the_decathlons_lists_are_read(tmp_path: Path) -> None:
    found = monai_datalist.read(listed(tmp_path, DECATHLON))
    assert found.classes == {1: "cancer"}
    assert [(case.case, case.split) for case in found.cases] == [
        ("lung_053", "training"),
        ("lung_002", "test"),
    ]
    assert found.cases[0].label == tmp_path / "labelsTr/lung_053.nii.gz"
    assert found.file_ending == ".nii.gz"


def test_images_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    told = {"training": [{"image": f"patient{n}/ct.nii.gz", "label": "m.nii.gz"} for n in (1, 2)]}
    found = monai_datalist.read(listed(tmp_path, told), tmp_path / "data")
    assert [case.case for case in found.cases] == ["patient1/ct", "patient2/ct"]
    assert found.cases[0].images == (tmp_path / "data/patient1/ct.nii.gz",)


LUNA = {"training": [{"image": "1.2.3.nii.gz", "box": [[-99.7, 30.9, -499.0, 3.0, 4.0, 5.0]], "label": [0]}]}


def test_boxes_are_findings_in_the_world(tmp_path: Path) -> None:
    found = monai_datalist.findings(monai_datalist.read(listed(tmp_path, LUNA)))
    assert found.case_ids.tolist() == ["1.2.3"]
    assert found.centres.tolist() == [[-99.7, 30.9, -499.0]]
    assert found.diameters.tolist() == [4.0]
    assert found.labels.tolist() == ["class 0"]


@settings(max_examples=60, deadline=None)
@given(grids(), BOXES)
def test_boxes_come_back_from_outlines(grid: Grid, boxes: list[tuple[float, ...]]) -> None:
    case = DatasetCase("a", (), boxes=tuple(boxes), box_classes=(0,) * len(boxes))
    regions = monai_datalist.regions_of_boxes(Dataset("a", (case,), {0: "nodule"}), case, grid)
    assert monai_datalist.boxes_of_regions(regions, grid) == case.boxes
    assert len(regions) == len(boxes)


def test_boxes_lie_around_the_voxels_of_an_outline() -> None:
    grid = straight_grid()
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[1:4, 2:6, 3:5] = 1
    regions = regions_of_labels("a", labels, {1: "nodule"})
    [box] = monai_datalist.boxes_of_regions(regions, grid)
    np.testing.assert_allclose(box[:3], grid.to_world((2, 3.5, 3.5)))
    np.testing.assert_allclose(box[3:], (2 * 0.6, 4 * 0.7, 3 * 2.5))
    case = DatasetCase("a", (), boxes=(box,), box_classes=(0,))
    again = monai_datalist.regions_of_boxes(Dataset("a", (case,), {0: "nodule"}), case, grid)
    np.testing.assert_array_equal(instance_map(again, grid.shape).labels, labels)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"image": "../../etc/passwd"}, "training 1: a file is named '../../etc/passwd'"),
        ({"image": "/etc/passwd"}, "no place inside"),
        ({"image": "C:\\x.nii"}, "no place inside"),
        ({"image": "a.nii", "label": "\\\\server\\x"}, "no place inside"),
        ({"image": []}, "image names no file"),
        ({"image": 3}, "image is 3"),
        ({"label": "a.nii"}, "image is None"),
        (7, "the entry is 7"),
        ({"image": "a.nii", "label": ["a", "b"]}, "expected one file"),
        ({"image": "a.nii", "fold": "x"}, "fold is 'x'"),
        ({"image": "a.nii", "box": [[1, 2, 3, 4]], "label": [0]}, "expected x, y, z, and three sizes"),
        ({"image": "a.nii", "box": [[1, 2, 3, 4, 5, -6]], "label": [0]}, "sizes above 0"),
        ({"image": "a.nii", "box": [[1, 2, 3, 4, 5, 6]], "label": []}, "1 boxes have 0 labels"),
        ({"image": "a.nii", "box": [["1", 2, 3, 4, 5, 6]], "label": [0]}, "expected numbers"),
        ({"image": "a.nii", "box": [[1, 2, 3, 4, 5, 6]], "label": [-1]}, "the class of a box is -1"),
    ],
)
def test_faults_are_told_by_entry(tmp_path: Path, entry: object, what: str) -> None:
    with pytest.raises(InputRefusedError, match=re.escape(what)) as caught:
        monai_datalist.read(listed(tmp_path, {"training": [entry]}))
    assert caught.value.code == "monai"


@pytest.mark.parametrize("told", [[], {"training": 3}, {"labels": {"x": "y"}}, {"training": [], "name": 3}])
def test_what_is_no_list_is_refused(tmp_path: Path, told: object) -> None:
    with pytest.raises(InputRefusedError) as caught:
        monai_datalist.read(listed(tmp_path, told))
    assert caught.value.code == "monai"


def test_files_elsewhere_are_not_listed_and_nothing_is_overwritten(tmp_path: Path) -> None:
    case = DatasetCase("a", (tmp_path / "a.nii.gz",))
    with pytest.raises(InputRefusedError) as caught:
        monai_datalist.write(tmp_path / "lists" / "dataset.json", Dataset("a", (case,)))
    assert caught.value.code == "outside"
    monai_datalist.write(tmp_path / "dataset.json", Dataset("a", (case,)))
    with pytest.raises(InputRefusedError) as caught:
        monai_datalist.write(tmp_path / "dataset.json", Dataset("a", (case,)))
    assert caught.value.code == "exists"
