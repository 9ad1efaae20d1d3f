"""Folders of nnU-Net and nnDetection, with label maps written and read by nibabel."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.annotations.formats import monai_datalist, nndetection, nnunet
from napari_medlab.annotations.formats.label_map import class_map, instance_map, regions_of_labels
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations.formats.datasets import Dataset, DatasetCase, Split

KEYS = st.text("0123456789abcdef", min_size=4, max_size=8)
CASES = st.dictionaries(KEYS, st.sampled_from(["training", "validation", "test"]), min_size=1, max_size=6)
CLASSES = {"nodule": 1, "vessel": 2, "ignore": 3}


def touched(dataset: Dataset) -> None:
    """Make every file that a plan names."""
    for case in dataset.cases:
        for path in (*case.images, *([case.label] if case.label else [])):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def sorted_cases(dataset: Dataset) -> list[DatasetCase]:
    return sorted(dataset.cases, key=lambda case: case.case)


@settings(max_examples=40, deadline=None)
@given(CASES, st.integers(1, 3), st.booleans())
def test_nnunet_folders_come_back_as_planned(
    tmp_path_factory: pytest.TempPathFactory, cases: dict[str, Split], channels: int, with_folds: bool
) -> None:
    folder = tmp_path_factory.mktemp("raw") / "Dataset101_Nodules"
    folds = {}
    if with_folds:
        cases = {key: "training" if split == "validation" else split for key, split in cases.items()}
        inner = [key for key, split in cases.items() if split == "training"]
        folds = {key: number % 2 for number, key in enumerate(inner)} if len(inner) > 1 else {}
    planned = nnunet.plan(folder, cases, CLASSES, channels=["CT", "PET", "MR"][:channels], folds=folds)
    touched(planned)
    nnunet.write(folder, planned)
    assert nnunet.sniff(folder)
    assert nnunet.sniff(folder / "dataset.json")
    assert not nndetection.sniff(folder)
    assert not monai_datalist.sniff(folder)
    found = nnunet.read(folder)
    assert sorted_cases(found) == sorted_cases(planned)
    assert (found.name, found.classes, found.channels) == (planned.name, planned.classes, planned.channels)
    assert found.remarks == ()


@settings(max_examples=40, deadline=None)
@given(CASES, st.integers(1, 2), st.data())
def test_nndetection_folders_come_back_as_planned(
    tmp_path_factory: pytest.TempPathFactory, cases: dict[str, Split], channels: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("raw") / "Task101_Nodules"
    planned = nndetection.plan(folder, cases, ["nodule", "mass"], channels=["CT", "PET"][:channels])
    names = {
        key: dict(enumerate(data.draw(st.lists(st.sampled_from(["nodule", "mass"]), max_size=4)), start=1))
        for key in cases
    }
    planned = nndetection.with_instances(planned, names)
    touched(planned)
    nndetection.write(folder, planned)
    assert nndetection.sniff(folder)
    assert not nnunet.sniff(folder)
    assert not monai_datalist.sniff(folder)
    found = nndetection.read(folder)
    assert sorted_cases(found) == sorted_cases(planned)
    assert [found.names(case) for case in found.cases] == [names[case.case] for case in found.cases]
    assert (found.name, found.classes, found.channels) == (planned.name, planned.classes, planned.channels)


def saved(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(labels.transpose(), np.eye(4)), path)


def opened(path: Path) -> np.ndarray:
    return np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj).transpose()


def test_label_maps_of_nnunet_hold_classes(tmp_path: Path) -> None:
    labels = np.zeros((3, 8, 8), dtype=np.uint8)
    labels[0, :2, :2], labels[1, 5:, 5:], labels[2, 0, 7] = 1, 1, 2
    folder = tmp_path / "Dataset101"
    planned = nnunet.plan(folder, {"4f2a": "training"}, CLASSES)
    touched(planned)
    nnunet.write(folder, planned)
    regions = regions_of_labels("4f2a", labels, planned.names(planned.cases[0]))
    assert planned.cases[0].label is not None
    saved(planned.cases[0].label, class_map(regions, labels.shape, CLASSES).labels)
    found = nnunet.read(folder)
    again = found.regions(found.cases[0], opened(planned.cases[0].label))
    assert [again.regions.region(row).label for row in range(3)] == ["nodule", "nodule", "vessel"]
    np.testing.assert_array_equal(class_map(again, labels.shape, CLASSES).labels, labels)


def test_label_maps_of_nndetection_hold_instances(tmp_path: Path) -> None:
    labels = np.zeros((3, 8, 8), dtype=np.uint8)
    labels[0, :2, :2], labels[1, 5:, 5:] = 1, 2
    labels[2, 0, 7] = 1  # an object of two parts
    names = {1: "mass", 2: "nodule"}
    folder = tmp_path / "Task101"
    made = instance_map(regions_of_labels("4f2a", labels, names, split=False), labels.shape)
    planned = nndetection.with_instances(
        nndetection.plan(folder, {"4f2a": "training"}, ["nodule", "mass"]), {"4f2a": made.names}
    )
    touched(planned)
    nndetection.write(folder, planned)
    assert planned.cases[0].label is not None
    saved(planned.cases[0].label, made.labels)
    told = json.loads((folder / "raw_splitted/labelsTr/4f2a.json").read_text())
    assert told == {"instances": {"1": 1, "2": 0}}
    found = nndetection.read(folder)
    again = found.regions(found.cases[0], opened(planned.cases[0].label))
    assert [again.regions.region(row).label for row in range(2)] == ["mass", "nodule"]
    np.testing.assert_array_equal(instance_map(again, labels.shape).labels, labels)


def described(folder: Path, told: dict[str, object], name: str = "dataset.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(told))
    return folder


def with_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


NNUNET = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "tumor": 1},
    "numTraining": 1,
    "file_ending": ".nii.gz",
}


def test_regions_of_nnunet_name_numbers_after_the_smallest(tmp_path: Path) -> None:
    labels = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
    folder = described(tmp_path / "set", {**NNUNET, "labels": labels, "regions_class_order": [1, 3, 2]})
    with_files(folder, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    found = nnunet.read(folder)
    assert found.classes == {1: "kidney", 2: "tumor", 3: "masses"}
    assert found.groups == {"kidney": (1, 2, 3), "masses": (2, 3), "tumor": (2,)}
    nnunet.write(tmp_path / "again", found)
    told = json.loads((tmp_path / "again/dataset.json").read_text())
    assert told["labels"] == labels
    assert told["regions_class_order"] == [1, 3, 2]


def test_the_older_description_is_read(tmp_path: Path) -> None:
    told = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "tumor"},
        "numTraining": 1,
        "training": [],
    }
    folder = described(tmp_path / "set", told)
    with_files(folder, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    assert nnunet.sniff(folder)
    assert nnunet.read(folder).classes == {1: "tumor"}


def test_a_description_may_list_the_files_itself(tmp_path: Path) -> None:
    listed = {"a": {"images": ["scans/a.nii.gz"], "label": "./masks/a.nii.gz"}}
    folder = described(tmp_path / "set", {**NNUNET, "dataset": listed})
    [case] = nnunet.read(folder).cases
    assert case.images == (folder / "scans/a.nii.gz",)
    assert case.label == folder / "masks/a.nii.gz"
    listed["a"]["label"] = "../../secret"
    with pytest.raises(InputRefusedError, match="no place inside"):
        nnunet.read(described(folder, {**NNUNET, "dataset": listed}))


def test_what_does_not_hinder_is_remarked(tmp_path: Path) -> None:
    folder = described(tmp_path / "set", {**NNUNET, "numTraining": 7})
    with_files(
        folder, "imagesTr/a_0000.nii.gz", "imagesTr/b_0000.nii.gz", "labelsTr/a.nii.gz", "labelsTr/c.nii.gz"
    )
    found = nnunet.read(folder)
    assert [case.case for case in found.cases] == ["a"]
    assert found.remarks == (
        "1 cases have no label map and are left out: b",
        "1 cases have no image: c",
        "numTraining is 7, and 1 cases were found",
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"channel_names": {"0": "CT", "1": "PET"}}, "a has 1 image files, expected 2 channels"),
        ({"channel_names": {"first": "CT"}}, "channel_names has the number 'first'"),
        ({"channel_names": None}, "channel_names is None"),
        ({"labels": ["tumor"]}, "labels is a list of 1, expected an object"),
        ({"labels": {"tumor": "one"}}, "the label tumor is 'one'"),
        ({"labels": {"tumor": -1}}, "the label tumor is -1"),
        ({"labels": {"a\nb": 1}}, "printable"),
        ({"file_ending": "../x"}, "file_ending is"),
        ({"dataset": {"../a": {"images": [], "label": "x"}}}, "cannot give a file its name"),
        ({"name": "x" * 300}, "name is"),
    ],
)
def test_faults_of_nnunet_folders_are_told(tmp_path: Path, change: dict[str, object], what: str) -> None:
    folder = described(tmp_path / "set", {**NNUNET, **change})
    with_files(folder, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    with pytest.raises(InputRefusedError, match=what) as caught:
        nnunet.read(folder)
    assert caught.value.code == "nnunet"


def test_channels_without_a_gap_are_asked_for(tmp_path: Path) -> None:
    folder = described(tmp_path / "set", NNUNET)
    with_files(folder, "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    with pytest.raises(InputRefusedError, match=r"a has the channels \[1\]"):
        nnunet.read(folder)


@pytest.mark.parametrize(
    "classes", [{"nodule": 2}, {"nodule": 0}, {"ignore": 1, "nodule": 2}, {"a": 1, "b": 1}]
)
def test_classes_that_nnunet_does_not_take_are_refused(tmp_path: Path, classes: dict[str, int]) -> None:
    with pytest.raises(InputRefusedError) as caught:
        nnunet.plan(tmp_path, {"a": "training"}, classes)
    assert caught.value.code == "classes"


NNDETECTION = {"task": "Task1", "dim": 3, "labels": {"0": "nodule"}, "modalities": {"0": "CT"}}


@pytest.mark.parametrize(
    ("change", "instances", "what"),
    [
        ({}, {"instances": {"1": 4}}, "the instance 1 has the class 4, expected 0"),
        ({}, {"instances": {"0": 0}}, "has the instance '0', expected whole numbers from 1"),
        ({}, {"instances": {"one": 0}}, "has the instance 'one'"),
        ({}, {"instances": [0]}, "instances is a list of 1"),
        ({}, None, "there is no labelsTr/a.json"),
        (
            {"modalities": {"0": "CT", "1": "PET"}},
            {"instances": {}},
            "a has 1 image files, expected 2 modalities",
        ),
        ({"labels": 3}, {"instances": {}}, "labels is 3"),
    ],
)
def test_faults_of_nndetection_folders_are_told(
    tmp_path: Path, change: dict[str, object], instances: object, what: str
) -> None:
    folder = described(tmp_path / "set", {**NNDETECTION, **change})
    with_files(folder, "raw_splitted/imagesTr/a_0000.nii.gz", "raw_splitted/labelsTr/a.nii.gz")
    if instances is not None:
        (folder / "raw_splitted/labelsTr/a.json").write_text(json.dumps(instances))
    with pytest.raises(InputRefusedError, match=what) as caught:
        nndetection.read(folder)
    assert caught.value.code == "nndetection"


def test_descriptions_may_be_yaml_without_aliases(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with_files(folder, "raw_splitted/imagesTr/a_0000.nii.gz", "raw_splitted/labelsTr/a.nii.gz")
    (folder / "raw_splitted/labelsTr/a.json").write_text('{"instances": {"1": 0}}')
    (folder / "dataset.yaml").write_text(
        'task: Task1\ndim: 3\nlabels:\n    0: "nodule"\nmodalities:\n    "0": CT\n'
    )
    assert nndetection.sniff(folder)
    [case] = nndetection.read(folder).cases
    assert case.instances == {1: 0}
    for hostile in (
        "labels: &a [x]\nmodalities: *a\n",
        "labels: !!python/object/apply:os.system ['true']\n",
        "a: [",
        "- " * 5000,
    ):
        (folder / "dataset.yaml").write_text(hostile)
        with pytest.raises(InputRefusedError):
            nndetection.read(folder)


def test_names_with_a_point_or_none_at_all_are_refused(tmp_path: Path) -> None:
    for name in ("1.2.3", "../a", "con", ""):
        with pytest.raises(InputRefusedError) as caught:
            nndetection.plan(tmp_path, {name: "training"}, ["nodule"])
        assert caught.value.code == "case-name"
    with pytest.raises(InputRefusedError, match="and not mass"):
        nndetection.with_instances(
            nndetection.plan(tmp_path, {"a": "training"}, ["nodule"]), {"a": {1: "mass"}}
        )


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for module, folder in ((nnunet, tmp_path / "a"), (nndetection, tmp_path / "b")):
        described(folder, {})
        planned = nnunet.plan(folder, {}, {})
        with pytest.raises(InputRefusedError) as caught:
            module.write(folder, planned)
        assert caught.value.code == "exists"
        assert (folder / "dataset.json").read_text() == "{}"


def test_what_is_neither_is_not_taken_for_one(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", described(tmp_path / "set", {"images": []})):
        assert not nnunet.sniff(path)
        assert not nndetection.sniff(path)
        assert not monai_datalist.sniff(path)


def test_cases_of_nndetection_without_a_label_map_are_left_out(tmp_path: Path) -> None:
    folder = described(tmp_path / "set", NNDETECTION)
    with pytest.raises(InputRefusedError, match="no folder raw_splitted/imagesTr"):
        nndetection.read(folder)
    with_files(folder, "raw_splitted/imagesTr/a_0000.nii.gz")
    found = nndetection.read(folder)
    assert found.cases == ()
    assert found.remarks == ("a has no label map and is left out",)


def test_damaged_files_beside_the_description_are_told(tmp_path: Path) -> None:
    for name, reader in (("nnunet", nnunet), ("nndetection", nndetection)):
        folder = described(tmp_path / name, {**NNUNET, **NNDETECTION, "labels": {"0": "nodule"}})
        raw = folder if reader is nnunet else folder / "raw_splitted"
        with_files(raw, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
        (folder / "splits_final.json").write_text("[{]")
        (raw / "labelsTr/a.json").write_text("{NaN")
        with pytest.raises(InputRefusedError) as caught:
            reader.read(folder)
        assert caught.value.code == "json"
