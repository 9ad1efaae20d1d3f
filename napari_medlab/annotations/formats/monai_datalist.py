"""MONAI's datalists: one JSON with the files of each split, as the Medical Segmentation Decathlon introduced them.

``{"labels": {"0": "background", "1": "nodule"}, "training": [{"image": …, "label": …, "fold": 0}], "validation": […],
"test": […]}``. Paths are relative to the list's folder. Of a detection task an entry has ``box``, a list of centres and
sizes (x, y, z, w, h, d) in the world of the image, LPS mm as in MONAI's LUNA16 lists (``cccwhd``), and ``label`` the class of
each box, from 0.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.datasets import (
    Dataset,
    DatasetCase,
    class_names,
    has_channels,
    indexed,
    stem_of,
)
from napari_medlab.annotations.formats.faults import Faults
from napari_medlab.annotations.formats.files import beginning, write_new
from napari_medlab.annotations.formats.json_files import as_list, as_object, integer, numbers, read_json
from napari_medlab.annotations.formats.labels import MAX_NAME, checked_text, shown
from napari_medlab.annotations.formats.voxel_outlines import image_regions
from napari_medlab.annotations.objects import Finding, Region
from napari_medlab.annotations.tables import FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.safe_paths import safe_join

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.formats.datasets import Split
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.geometry import Grid

__all__ = ["boxes_of_regions", "findings", "read", "regions_of_boxes", "sniff", "write"]

DESCRIPTION = "dataset.json"
SPLITS: dict[str, Split] = {
    "training": "training", "validation": "validation", "test": "test", "testing": "test",
}  # fmt: skip
BOX = 6
HINT = "Expected a list as MONAI's load_decathlon_datalist reads it, with paths inside of its folder."


def sniff(path: str | Path) -> bool:
    """Tell by its beginning whether a file, or the ``dataset.json`` of a folder, is a datalist; never raises."""
    path = Path(path)
    path = path / DESCRIPTION if path.is_dir() else path
    start = beginning(path)
    named = any(f'"{split}"'.encode() in start for split in SPLITS) and b'"image"' in start
    return start.lstrip().startswith(b"{") and named and not has_channels(path.parent / "imagesTr")


def read(path: str | Path, base: str | Path | None = None) -> Dataset:
    """Return what a list holds; whether its files exist is not looked at.

    Parameters
    ----------
    path : str or Path
        The list, or a folder with a ``dataset.json``.
    base : str or Path, optional
        What paths are relative to: the list's folder where left out.

    Returns
    -------
    Dataset
        In the order training, validation, test. A case is called by its image's name without the ending, with its folders
        where two have the same. ``file_ending`` is that of all images, or empty.

    Raises
    ------
    InputRefusedError
        With code ``"monai"``, naming up to ten entries; as
        :func:`napari_medlab.annotations.formats.json_files.read_json`.
    """
    path = Path(path)
    path = path / DESCRIPTION if path.is_dir() else path
    folder = path.parent if base is None else Path(base)
    told = read_json(path)
    faults = Faults(path, "monai", HINT)
    cases: list[DatasetCase] = []
    try:
        table = as_object(told, "it")
        classes = class_names(indexed(table.get("labels", {}), "labels"))
        channels = indexed(table.get("modality", {"0": "CT"}), "modality")
        name = checked_text(table["name"], "name") if table.get("name") else path.stem
        entries = [
            (key, number, entry)
            for key in SPLITS if key in table
            for number, entry in enumerate(as_list(table[key], key), start=1)
        ]  # fmt: skip
    except ValueError as error:
        raise faults.refused(error) from error
    for key, number, entry in entries:
        try:
            cases.append(_case(folder, entry, SPLITS[key]))
        except ValueError as error:
            faults.note(f"{key} {number}", error)
    faults.refuse()
    classes |= {n: f"class {n}" for case in cases for n in case.box_classes if n not in classes}
    endings = {stem_of(image.name)[1] for case in cases for image in case.images}
    ordered = tuple(channels[number] for number in sorted(channels))
    ending = endings.pop() if len(endings) == 1 else ""
    return Dataset(name, tuple(_named(folder, cases)), dict(sorted(classes.items())), ordered, ending)


def write(path: str | Path, dataset: Dataset) -> None:
    """Write a list of cases whose files lie in its folder; numbers read back exactly as they were.

    Raises
    ------
    InputRefusedError
        With code ``"exists"`` where there is such a file, ``"outside"`` where a file of a case does not lie in the folder.
    DiskError
        Where it cannot be written.
    """
    path = Path(path)
    has_boxes = any(case.boxes for case in dataset.cases)
    background = {} if has_boxes else {"0": "background"}
    splits: dict[str, list[Any]] = {"training": [], "validation": [], "test": []}
    for case in dataset.cases:
        splits[case.split].append(_entry(path.parent, case, has_boxes=has_boxes))
    told = {
        "name": dataset.name,
        "modality": {str(number): name for number, name in enumerate(dataset.channels)},
        "labels": {**background, **{str(number): name for number, name in dataset.classes.items()}},
        "numTraining": len(splits["training"]),
        "numTest": len(splits["test"]),
        **{split: entries for split, entries in splits.items() if entries or split == "training"},
    }
    write_new(path, json.dumps(told, indent=1, allow_nan=False).encode())


def findings(dataset: Dataset) -> FindingTable:
    """Return the boxes of all cases as findings: centres, and the mean of the sizes as diameters, in LPS mm.

    ``case_ids`` holds the names of the cases.
    """
    found = [
        Finding(
            case.case,
            box[:3],
            float(np.mean(box[3:])),
            dataset.classes[number],
            finding_id=f"{case.case}:{row}",
        )
        for case in dataset.cases
        for row, (box, number) in enumerate(zip(case.boxes, case.box_classes, strict=True), start=1)
    ]
    return FindingTable.from_objects(found, ndim=3)


def regions_of_boxes(dataset: Dataset, case: DatasetCase, grid: Grid) -> ImageRegions:
    """Return the boxes of a case as outlines: a ring of four vertices on each slice whose centre a box reaches.

    A box that lies between two slices has a ring on the nearer one. ``extra["boxes"]`` keeps the numbers by region id.

    Parameters
    ----------
    dataset : Dataset
    case : DatasetCase
    grid : Grid
        Of the case's image, in LPS mm.
    """
    regions, boxes = [], {}
    for box, number in zip(case.boxes, case.box_classes, strict=True):
        low, high = _index_box(np.asarray(box), grid)
        first, stop = np.ceil([low[0], high[0]]).astype(int)
        slices = range(first, stop) if stop > first else [round(float(low[0] + high[0]) / 2)]
        ring = [[low[1], low[2]], [low[1], high[2]], [high[1], high[2]], [high[1], low[2]]]
        regions.append(Region.on_slices(case.case, {z: [ring] for z in slices}, "", dataset.classes[number]))
        boxes[regions[-1].region_id] = list(box)
    return image_regions(case.case, regions, grid.shape, extra={"boxes": boxes})


def boxes_of_regions(image: ImageRegions, grid: Grid) -> tuple[tuple[float, ...], ...]:
    """Return the boxes (x, y, z, w, h, d) in LPS mm around outlines, in their order.

    A slice reaches half its spacing to either side. What :func:`regions_of_boxes` made comes back as it was.
    """
    known: dict[str, list[float]] = image.extra.get("boxes", {})
    found = []
    for row, region_id in enumerate(image.regions.ids.tolist()):
        low, high = image.regions.boxes[row]
        half = np.asarray([0.5, 0.0, 0.0])
        box = known.get(region_id.decode())
        found.append(tuple(_world_box(low - half, high + half, grid) if box is None else box))
    return tuple(found)


def _case(folder: Path, entry: object, split: Split) -> DatasetCase:
    told = {"image": entry} if isinstance(entry, str | list) else as_object(entry, "the entry")
    images = _files(folder, told.get("image"), "image")
    fold = None if told.get("fold") is None else integer(told["fold"], "fold", 0, 1000)
    if "box" not in told:
        label = _files(folder, told["label"], "label") if told.get("label") else ()
        if len(label) > 1:
            raise ValueError(f"label is {shown(told['label'])}, expected one file")
        return DatasetCase("", images, label[0] if label else None, split, fold)
    boxes = [tuple(numbers(box, "a box").tolist()) for box in as_list(told["box"], "box")]
    classes = [
        integer(number, "the class of a box", 0, 65535) for number in as_list(told.get("label"), "label")
    ]
    if len(classes) != len(boxes):
        raise ValueError(f"{len(boxes)} boxes have {len(classes)} labels")
    wrong = [box for box in boxes if len(box) != BOX or min(box[3:]) <= 0]
    if wrong:
        raise ValueError(f"a box is {list(wrong[0])}, expected x, y, z, and three sizes above 0")
    return DatasetCase("", images, None, split, fold, None, tuple(boxes), tuple(classes))


def _files(folder: Path, value: object, what: str) -> tuple[Path, ...]:
    names = value if isinstance(value, list) else [value]
    if not names:
        raise ValueError(f"{what} names no file")
    return tuple(safe_join(folder, checked_text(name, what, MAX_NAME)) for name in names)


def _named(folder: Path, cases: Sequence[DatasetCase]) -> list[DatasetCase]:
    """Return cases called by their images' names, with folders where names alone are not enough."""
    stems = [stem_of(case.images[0].name)[0] for case in cases]
    if len(set(stems)) < len(stems):
        stems = [stem_of(case.images[0].relative_to(folder).as_posix())[0] for case in cases]
    return [replace(case, case=stem) for case, stem in zip(cases, stems, strict=True)]


def _entry(folder: Path, case: DatasetCase, *, has_boxes: bool) -> dict[str, Any]:
    images = [_inside(folder, image) for image in case.images]
    entry: dict[str, Any] = {"image": images[0] if len(images) == 1 else images}
    if has_boxes:
        entry |= {"box": [list(box) for box in case.boxes], "label": list(case.box_classes)}
    elif case.label is not None:
        entry["label"] = _inside(folder, case.label)
    if case.fold is not None:
        entry["fold"] = case.fold
    return entry


def _inside(folder: Path, path: Path) -> str:
    try:
        return path.relative_to(folder).as_posix()
    except ValueError as error:
        raise InputRefusedError(
            f"{path} does not lie in {folder}, where the list is to be written.",
            code="outside",
            hint="Write the list beside the files.",
        ) from error


def _index_box(box: NDArray[np.float64], grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest index (z, y, x) of a box in the world."""
    signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)
    corners = grid.to_index(box[:3] + signs * box[3:])
    return corners.min(axis=0), corners.max(axis=0)


def _world_box(low: NDArray[np.float64], high: NDArray[np.float64], grid: Grid) -> list[float]:
    """Return the centre and the size, in the world, of what lies between two indices."""
    signs = np.stack(np.meshgrid(*[[0.0, 1.0]] * 3), axis=-1).reshape(-1, 3)
    corners = grid.to_world(low + signs * (high - low))
    least, greatest = corners.min(axis=0), corners.max(axis=0)
    return [*((least + greatest) / 2).tolist(), *(greatest - least).tolist()]
