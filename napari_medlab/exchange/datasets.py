"""Data sets to train on (nnU-Net, nnDetection, MONAI): what they say of each case, in label maps and boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.annotations.formats.datasets import Dataset, DatasetCase
from napari_medlab.annotations.formats.monai_datalist import regions_of_boxes
from napari_medlab.exchange.label_maps import read_numbers
from napari_medlab.exchange.placing import PlacedObjects, SaysWhere, grid_of, outlined, require_axes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medlab.exchange.formats import Format
    from napari_medlab.project import CaseRecord

__all__ = ["DatasetContents", "described"]


def described(dataset: Dataset) -> list[dict[str, Any]]:
    """Return what a data set says of each case, as JSON values."""
    return [
        {
            "case": case.case,
            "label": str(case.label.absolute()) if case.label is not None else "",
            "names": dataset.names(case),
            "are_instances": case.instances is not None,
            "boxes": [list(box) for box in case.boxes],
            "box_labels": [dataset.classes[number] for number in case.box_classes],
        }
        for case in dataset.cases
    ]


@dataclass(frozen=True, eq=False)
class DatasetContents(SaysWhere):
    """The cases of a data set; see :class:`napari_medlab.exchange.contents.Contents`.

    Parameters
    ----------
    format : Format
    cases : mapping of str to dict
        What :func:`described` says of each case, by its name.
    """

    format: Format
    cases: Mapping[str, dict[str, Any]]

    @property
    def names(self) -> tuple[str, ...]:
        """The cases that are named, each once."""
        return tuple(self.cases)

    def on(self, name: str, case: CaseRecord) -> PlacedObjects:
        """Return the boxes of one case, or the objects of its label map."""
        require_axes(case, self.format.axes)
        told = self.cases[name]
        if told["boxes"] or not told["label"]:
            return _boxes(told, case)
        names = (
            None if told["names"] is None else {int(number): label for number, label in told["names"].items()}
        )
        return outlined(read_numbers(Path(told["label"]), case, names, split=not told["are_instances"]), case)

    def count(self, name: str) -> int:
        """Return how many boxes a case has; of a label map nobody knows before it is opened."""
        return len(self.cases[name]["boxes"])

    def is_normal(self, name: str) -> bool:
        """Tell whether a case is listed with neither a box nor a label map."""
        return not self.cases[name]["boxes"] and not self.cases[name]["label"]


def _boxes(told: dict[str, Any], case: CaseRecord) -> PlacedObjects:
    """Return boxes (centre x, y, z and size w, h, d in LPS mm) as objects as large as the mean of their sides."""
    labels: list[str] = told["box_labels"]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    boxes = tuple(map(tuple, told["boxes"]))
    entry = DatasetCase(case.case_id, (), boxes=boxes, box_classes=tuple(numbers[label] for label in labels))
    classes = {number: label for label, number in numbers.items()}
    drawn = regions_of_boxes(Dataset("", (entry,), classes), entry, grid_of(case))
    values = np.asarray(boxes, dtype=np.float64).reshape(len(boxes), 6)
    return PlacedObjects(
        case.case_id, values[:, :3], values[:, 3:].mean(axis=1), list(labels), drawn.is_excluded, drawn.regions.scores,
        drawn.regions,
    )  # fmt: skip
