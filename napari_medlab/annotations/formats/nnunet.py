"""Folders of nnU-Net, version 2 (Isensee and others, Nat. Methods 18, 2021): one label map of classes for each case.

``imagesTr/CASE_0000.nii.gz`` (one file for each channel), ``labelsTr/CASE.nii.gz``, ``imagesTs`` for tests, and
``dataset.json`` with channels, labels and the files' ending. Folds are in ``splits_final.json``, which nnU-Net keeps
beside its preprocessed data; one split alone is read and written as training and validation. The older ``dataset.json``
(``modality``, labels by number) is read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.annotations.formats.datasets import (
    Dataset,
    DatasetCase,
    case_of,
    channel_files,
    class_names,
    files_by_case,
    has_channels,
    indexed,
)
from napari_medlab.annotations.formats.files import beginning, write_new
from napari_medlab.annotations.formats.json_files import as_list, as_object, integer, read_json
from napari_medlab.annotations.formats.label_map import IGNORED
from napari_medlab.annotations.formats.labels import checked_text
from napari_medlab.errors import InputRefusedError
from napari_medlab.safe_paths import is_file_name, safe_join

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.annotations.formats.datasets import Split

__all__ = ["plan", "read", "sniff", "write"]

DESCRIPTION, SPLITS = "dataset.json", "splits_final.json"
HINT = "Compare it with nnU-Net's documentation of the dataset format."
MAX_VALUE = 65535
SHOWN = 5


def sniff(path: str | Path) -> bool:
    """Tell whether a folder, or its ``dataset.json``, is nnU-Net's; never raises."""
    folder = _folder(Path(path))
    start = beginning(folder / DESCRIPTION)
    if b'"labels"' not in start:
        return False
    return b'"channel_names"' in start or (b'"modality"' in start and has_channels(folder / "imagesTr"))


def read(path: str | Path) -> Dataset:
    """Return what a folder holds.

    Parameters
    ----------
    path : str or Path
        The folder, or the ``dataset.json`` in it.

    Returns
    -------
    Dataset
        Cases of ``imagesTr``, then of ``imagesTs``; training cases without a label map are left out and remarked.

    Raises
    ------
    InputRefusedError
        With code ``"nnunet"`` and what does not fit; as
        :func:`napari_medlab.annotations.formats.json_files.read_json`.
    """
    folder = _folder(Path(path))
    told = read_json(folder / DESCRIPTION)
    try:
        return _read(folder, as_object(told, "it"))
    except InputRefusedError:
        raise
    except ValueError as error:
        raise InputRefusedError(f"{folder.name}/{DESCRIPTION}: {error}.", code="nnunet", hint=HINT) from error


def plan(
    folder: str | Path,
    cases: Mapping[str, Split],
    classes: Mapping[str, int],
    *,
    channels: Sequence[str] = ("CT",),
    folds: Mapping[str, int] | None = None,
    file_ending: str = ".nii.gz",
) -> Dataset:
    """Return which files a folder is to have: where each image and each label map goes.

    Parameters
    ----------
    folder : str or Path
        Such as ``Dataset101_Nodules``; its name becomes that of the data set.
    cases : mapping of str to {"training", "validation", "test"}
        Keys of the cases. Validation cases lie with those of training, and are told in ``splits_final.json``.
    classes : mapping of str to int
        Numbers from 1 on without a gap; ``"ignore"`` has the highest.
    channels : sequence of str
    folds : mapping of str to int, optional
        In which fold a training case is held out.
    file_ending : str

    Raises
    ------
    InputRefusedError
        With code ``"classes"`` where numbers are not such, ``"case-name"`` for a key that names no file.
    """
    folder = Path(folder)
    _check_classes(classes)
    planned: dict[str, DatasetCase] = {}
    for key, split in cases.items():
        case_of(key)
        end = "Ts" if split == "test" else "Tr"
        images = tuple(folder / f"images{end}" / f"{key}_{n:04d}{file_ending}" for n in range(len(channels)))
        label = folder / f"labels{end}" / f"{key}{file_ending}"
        planned[key] = DatasetCase(key, images, label, split, (folds or {}).get(key))
    numbers = {number: name for name, number in classes.items()}
    return Dataset(folder.name, tuple(planned.values()), numbers, tuple(channels), file_ending)


def write(folder: str | Path, dataset: Dataset) -> None:
    """Write ``dataset.json``, and ``splits_final.json`` where there are folds or validation cases, into a folder.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where they are there already; as :func:`plan`.
    DiskError
        Where they cannot be written.
    """
    folder = Path(folder)
    classes = {name: number for number, name in dataset.classes.items()}
    _check_classes(classes)
    inner = [case for case in dataset.cases if case.split != "test"]
    groups: dict[str, Any] = {
        name: list(values) if len(values) > 1 else values[0] for name, values in dataset.groups.items()
    }
    labels = {
        "background": 0,
        **(groups or {dataset.classes[number]: number for number in sorted(dataset.classes)}),
    }
    description = {
        "name": dataset.name,
        "channel_names": {str(number): name for number, name in enumerate(dataset.channels)},
        "labels": labels,
        "numTraining": len(inner),
        "file_ending": dataset.file_ending,
    }
    if dataset.groups:
        numbers = {name: number for number, name in reversed(dataset.classes.items())}
        # what each region is painted with, smaller ones over larger ones: the number that is called after it
        order = [numbers.get(name, max(values)) for name, values in dataset.groups.items()]
        description["regions_class_order"] = order
    write_new(folder / DESCRIPTION, json.dumps(description, indent=1).encode())
    splits = _splits(inner)
    if splits:
        write_new(folder / SPLITS, json.dumps(splits, indent=1).encode())


def _read(folder: Path, told: dict[str, Any]) -> Dataset:
    channels = indexed(told.get("channel_names", told.get("modality")), "channel_names")
    classes, groups = _classes(as_object(told.get("labels"), "labels"))
    ending = _ending(folder, told)
    cases: list[DatasetCase] = []
    remarks: list[str] = []
    listed = _listed(folder, told)
    splits: tuple[tuple[str, Split], ...] = (("Tr", "training"), ("Ts", "test"))
    for end, split in splits:
        labels = files_by_case(folder / f"labels{end}", ending)
        images = channel_files(folder / f"images{end}", ending)
        if listed and split == "training":
            images, labels = ({case: files[at] for case, files in listed.items()} for at in (0, 1))  # type: ignore[assignment]
        wrong = [case for case, files in images.items() if len(files) != len(channels)]
        if wrong:
            raise ValueError(
                f"{wrong[0]} has {len(images[wrong[0]])} image files, expected {len(channels)} channels"
            )
        unlabelled = [case for case in images if case not in labels and split == "training"]
        alone = [case for case in labels if case not in images]
        remarks += _remark("have no label map and are left out", unlabelled) + _remark("have no image", alone)
        cases += [
            DatasetCase(case, files, labels.get(case), split)
            for case, files in images.items()
            if case not in unlabelled
        ]
    count = told.get("numTraining")
    found = sum(case.split == "training" for case in cases)
    if count is not None and count != found:
        remarks.append(f"numTraining is {count}, and {found} cases were found")
    name = told.get("name")
    name = checked_text(name, "name") if name else folder.absolute().name
    ordered = tuple(channels[number] for number in sorted(channels))
    return Dataset(name, tuple(_with_folds(folder, cases)), classes, ordered, ending, groups, tuple(remarks))


def _listed(folder: Path, told: dict[str, Any]) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """Return image files and label map of the training cases that the description itself lists."""
    found = {}
    for case, files in as_object(told.get("dataset", {}), "dataset").items():
        if not is_file_name(case):
            raise ValueError(f"the case {case[:40]!r} cannot give a file its name")
        entry = as_object(files, f"dataset {case}")
        names = [
            checked_text(name, f"an image of {case}", 1024) for name in as_list(entry.get("images"), "images")
        ]
        label = checked_text(entry.get("label"), f"the label of {case}", 1024)
        found[case] = (tuple(safe_join(folder, name) for name in names), safe_join(folder, label))
    return found


def _classes(labels: dict[str, Any]) -> tuple[dict[int, str], dict[str, tuple[int, ...]]]:
    """Return names by number; a number that lies in several regions is called after the smallest of them."""
    if labels and all(key.isdigit() for key in labels):
        return class_names(indexed(labels, "labels")), {}
    values = {
        checked_text(name): tuple(
            integer(item, f"the label {name}", 0, MAX_VALUE)
            for item in (value if isinstance(value, list) else [value])
        )
        for name, value in labels.items()
    }
    inner = {name: numbers for name, numbers in values.items() if name.lower() != "background"}
    names: dict[int, str] = {}
    for name, numbers in sorted(inner.items(), key=lambda item: -len(item[1])):
        names |= dict.fromkeys(numbers, name)
    is_plain = all(len(numbers) == 1 for numbers in inner.values())
    return dict(sorted(names.items())), {} if is_plain else inner


def _ending(folder: Path, told: dict[str, Any]) -> str:
    ending = told.get("file_ending", ".nii.gz")
    text = checked_text(ending, "file_ending", 16)
    if not text.startswith(".") or not is_file_name(f"a{text}"):
        raise ValueError(f"file_ending is {text!r}, expected one such as '.nii.gz'")
    return text


def _with_folds(folder: Path, cases: Sequence[DatasetCase]) -> list[DatasetCase]:
    if not (folder / SPLITS).is_file():
        return list(cases)
    splits = as_list(read_json(folder / SPLITS), SPLITS)
    held_out: dict[str, int] = {}
    for fold, split in enumerate(splits):
        for case in as_list(as_object(split, SPLITS).get("val"), "val"):
            held_out.setdefault(checked_text(case, "val", 512), fold)
    found = []
    for case in cases:
        held = held_out.get(case.case) if case.split == "training" else None
        if held is None:
            found.append(case)
        elif len(splits) == 1:
            found.append(replace(case, split="validation"))
        else:
            found.append(replace(case, fold=held))
    return found


def _splits(cases: Sequence[DatasetCase]) -> list[dict[str, list[str]]]:
    folds = sorted({case.fold for case in cases if case.fold is not None})
    if folds:
        return [
            {
                "train": [case.case for case in cases if case.fold != fold],
                "val": [case.case for case in cases if case.fold == fold],
            }
            for fold in range(folds[-1] + 1)
        ]
    validation = [case.case for case in cases if case.split == "validation"]
    training = [case.case for case in cases if case.split == "training"]
    return [{"train": training, "val": validation}] if validation else []


def _check_classes(classes: Mapping[str, int]) -> None:
    numbers = sorted(classes.values())
    is_last = IGNORED not in classes or classes[IGNORED] == numbers[-1]
    if numbers != list(range(1, len(numbers) + 1)) or not is_last:
        raise InputRefusedError(
            f"nnU-Net numbers classes from 1 without a gap, {IGNORED!r} last, and got {dict(classes)}.",
            code="classes",
            hint="Number the classes anew.",
        )


def _remark(what: str, cases: Sequence[str]) -> list[str]:
    named = ", ".join(cases[:SHOWN]) + (" and others" if len(cases) > SHOWN else "")
    return [f"{len(cases)} cases {what}: {named}"] if cases else []


def _folder(path: Path) -> Path:
    return path.parent if path.name == DESCRIPTION else path
