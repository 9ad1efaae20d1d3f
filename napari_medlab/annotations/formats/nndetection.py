"""Folders of nnDetection (Baumgartner and others, MICCAI 2021): one label map of instances for each case.

``raw_splitted/imagesTr/CASE_0000.nii.gz`` (one file for each channel), ``raw_splitted/labelsTr/CASE.nii.gz`` with instances
from 1, beside it ``CASE.json`` with the class of each (from 0), the same with ``Ts`` for tests, and ``dataset.json`` or
``dataset.yaml`` above.
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
    case_refused,
    channel_files,
    files_by_case,
    indexed,
)
from napari_medlab.annotations.formats.files import beginning, read_text, write_new
from napari_medlab.annotations.formats.json_files import as_object, integer, read_json
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_medlab.annotations.formats.datasets import Split

__all__ = ["plan", "read", "sniff", "with_instances", "write"]

JSON, YAML = "dataset.json", "dataset.yaml"
RAW = ("raw_splitted", "raw_splitted_data")
ENDINGS = (".nii.gz", ".nrrd", ".mha", ".nii")
HINT = "Compare it with nnDetection's documentation of the input format."
MAX_YAML = 1 << 20
MAX_VALUE = 2**31 - 1


def sniff(path: str | Path) -> bool:
    """Tell whether a folder, or the description in it, is nnDetection's; never raises."""
    folder = _folder(Path(path))
    start = beginning(folder / JSON) or beginning(folder / YAML)
    return b"labels" in start and b"modalities" in start and _raw(folder) is not None


def read(path: str | Path) -> Dataset:
    """Return what a folder holds.

    Parameters
    ----------
    path : str or Path
        The task's folder, or the description in it.

    Returns
    -------
    Dataset
        Cases of ``imagesTr``, then of ``imagesTs``. ``instances`` has the class of each number of a label map; training
        cases without one are left out and remarked.

    Raises
    ------
    InputRefusedError
        With code ``"nndetection"`` and what does not fit; as
        :func:`napari_medlab.annotations.formats.json_files.read_json`.
    """
    folder = _folder(Path(path))
    source = folder / JSON if (folder / JSON).is_file() else folder / YAML
    told = read_json(source) if source.name == JSON else _yaml(source)
    try:
        return _read(folder, as_object(told, "it"))
    except InputRefusedError:
        raise
    except ValueError as error:
        raise InputRefusedError(
            f"{folder.name}/{source.name}: {error}.", code="nndetection", hint=HINT
        ) from error


def plan(
    folder: str | Path,
    cases: Mapping[str, Split],
    classes: Sequence[str],
    *,
    channels: Sequence[str] = ("CT",),
    file_ending: str = ".nii.gz",
) -> Dataset:
    """Return which files a folder is to have: where each image and each label map goes.

    Parameters
    ----------
    folder : str or Path
        Such as ``Task101_Nodules``; its name becomes that of the data set.
    cases : mapping of str to {"training", "validation", "test"}
        Keys of the cases; nnDetection makes its own folds, so that validation cases count as training ones.
    classes : sequence of str
        Numbered from 0.
    channels : sequence of str
    file_ending : str

    Returns
    -------
    Dataset
        Its cases have no instances yet: :func:`with_instances` adds them when a map is made.

    Raises
    ------
    InputRefusedError
        With code ``"case-name"`` for a key that names no file, or has a point in it.
    """
    folder = Path(folder)
    planned: list[DatasetCase] = []
    for key, split in cases.items():
        if "." in case_of(key):
            raise case_refused(f"The case {shown(key)} has a point in it, at which nnDetection cuts names.")
        end = "Ts" if split == "test" else "Tr"
        raw = folder / RAW[0]
        images = tuple(raw / f"images{end}" / f"{key}_{n:04d}{file_ending}" for n in range(len(channels)))
        label = raw / f"labels{end}" / f"{key}{file_ending}"
        planned.append(
            DatasetCase(key, images, label, "test" if split == "test" else "training", instances={})
        )
    return Dataset(folder.name, tuple(planned), dict(enumerate(classes)), tuple(channels), file_ending)


def with_instances(dataset: Dataset, names: Mapping[str, Mapping[int, str]]) -> Dataset:
    """Return a plan with the class of each number of its label maps, by case.

    Parameters
    ----------
    dataset : Dataset
    names : mapping of str to mapping of int to str
        By case, :attr:`napari_medlab.annotations.formats.label_map.LabelMap.names` of its map of instances.

    Raises
    ------
    InputRefusedError
        With code ``"classes"`` for a class that the data set does not have.
    """
    numbers = {name: number for number, name in dataset.classes.items()}
    unknown = sorted({name for case in names.values() for name in case.values()} - set(numbers))
    if unknown:
        raise InputRefusedError(
            f"The data set has the classes {', '.join(numbers)}, and not {', '.join(unknown)}.",
            code="classes",
            hint="Plan it with all classes.",
        )
    cases = (
        replace(case, instances={value: numbers[name] for value, name in names.get(case.case, {}).items()})
        for case in dataset.cases
    )
    return replace(dataset, cases=tuple(cases))


def write(folder: str | Path, dataset: Dataset, *, axes: int = 3) -> None:
    """Write ``dataset.json``, and the classes of the instances beside each label map, into a folder.

    Parameters
    ----------
    folder : str or Path
    dataset : Dataset
        Of :func:`plan`, with instances.
    axes : int
        Of the images: 2 or 3.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where a file is there already.
    DiskError
        Where one cannot be written.
    """
    folder = Path(folder)
    description = {
        "task": folder.name,
        "name": dataset.name,
        "dim": axes,
        "test_labels": any(case.split == "test" and case.label for case in dataset.cases),
        "labels": {str(number): name for number, name in dataset.classes.items()},
        "modalities": {str(number): name for number, name in enumerate(dataset.channels)},
    }
    for case in dataset.cases:
        if case.label is not None:
            told = {"instances": {str(value): number for value, number in (case.instances or {}).items()}}
            write_new(case.label.with_name(f"{case.case}.json"), json.dumps(told, indent=1).encode())
    write_new(folder / JSON, json.dumps(description, indent=1).encode())


def _read(folder: Path, told: dict[str, Any]) -> Dataset:
    raw = _raw(folder)
    if raw is None:
        raise ValueError(f"there is no folder {RAW[0]}/imagesTr beside it")
    classes = indexed(told.get("labels"), "labels")
    channels = indexed(told.get("modalities"), "modalities")
    ending = _ending(raw)
    cases: list[DatasetCase] = []
    remarks: list[str] = []
    splits: tuple[tuple[str, Split], ...] = (("Tr", "training"), ("Ts", "test"))
    for end, split in splits:
        labels = files_by_case(raw / f"labels{end}", ending)
        for key, images in channel_files(raw / f"images{end}", ending).items():
            if len(images) != len(channels):
                raise ValueError(f"{key} has {len(images)} image files, expected {len(channels)} modalities")
            label = labels.get(key)
            if label is None and split == "training":
                remarks.append(f"{key} has no label map and is left out")
                continue
            instances = None if label is None else _instances(label.with_name(f"{key}.json"), classes)
            cases.append(DatasetCase(key, images, label, split, instances=instances))
    name = told.get("name") or told.get("task")
    name = checked_text(name, "name") if name else folder.absolute().name
    ordered = tuple(channels[number] for number in sorted(channels))
    return Dataset(name, tuple(cases), classes, ordered, ending, remarks=tuple(remarks))


def _instances(path: Path, classes: Mapping[int, str]) -> dict[int, int]:
    """Return the class of each instance of a case."""
    if not path.is_file():
        raise ValueError(f"there is no {path.parent.name}/{path.name} with the classes of its instances")
    found = {}
    told = as_object(as_object(read_json(path), path.name).get("instances"), f"{path.name}: instances")
    for key, value in told.items():
        number = int(key) if key.isascii() and key.isdigit() and len(key) < 11 else 0
        if not 1 <= number <= MAX_VALUE:
            raise ValueError(f"{path.name} has the instance {shown(key)}, expected whole numbers from 1")
        found[number] = integer(value, f"{path.name}: the class of {key}")
        if found[number] not in classes:
            raise ValueError(
                f"{path.name}: the instance {key} has the class {value}, expected {', '.join(map(str, classes))}"
            )
    return found


def _raw(folder: Path) -> Path | None:
    """Return the folder with the images of training, or of tests where there are none."""
    places = (
        folder / name for part in ("imagesTr", "imagesTs") for name in RAW if (folder / name / part).is_dir()
    )
    return next(places, None)


def _ending(raw: Path) -> str:
    """Return the ending of the label maps, or of the images where there are none."""
    return next(
        (
            ending
            for part in ("labelsTr", "imagesTr", "labelsTs", "imagesTs")
            for ending in ENDINGS
            if files_by_case(raw / part, ending)
        ),
        ENDINGS[0],
    )


def _yaml(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the values of a YAML file; aliases, which can stand for billions of values, are refused."""
    import yaml

    text = read_text(path, "nndetection", MAX_YAML)
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise ValueError("it has aliases, which may stand for anything")
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputRefusedError(f"{path.name}: {error}", code="nndetection", hint=HINT) from error


def _folder(path: Path) -> Path:
    return path.parent if path.name in (JSON, YAML) else path
