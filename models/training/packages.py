"""Packages of hard examples as training samples, for the task of the bundle that is trained further."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.package import MANIFEST, read_package
from napari_medlab.models.training.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.hardcases.package import Crop
    from napari_medlab.models.bundles import Bundle

__all__ = ["samples_of_packages"]

NOT_A_LESION = 0
"""The class of a classifier's negatives."""


def samples_of_packages(packages: Sequence[Path], parent: Bundle) -> tuple[list[Sample], list[str]]:
    """Return what packages hold as samples of the parent's task, and the hashes of their manifests.

    A detector gets the crops with their boxes; a classifier gets them with a class of their own: that of the finding in the
    middle, or 0 where there is none. Of a classifier of one class that is 1; of one of several, the first of which is none,
    its number.

    Raises
    ------
    InputRefusedError
        Where a package cannot be read, was cut at another spacing, or does not hold what the task needs.
    """
    if parent.task == "segmentation":
        raise InputRefusedError(
            f"{parent.name} is a segmenter, and packages of hard examples hold boxes and no outlines.", code="task",
            hint="Train it from samples with masks: napari-medlab train --config … --samples ….",
        )  # fmt: skip
    samples, hashes = [], []
    for folder in packages:
        manifest, crops = read_package(folder)
        _check_spacing(folder, manifest, parent)
        hashes.append(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest())
        samples += [_sample(crop, parent) for crop in crops]
    return samples, hashes


def _sample(crop: Crop, parent: Bundle) -> Sample:
    image = _prepared(crop.volume, parent)[None]
    known = [(box, _class_of(box["label"], parent.classes)) for box in crop.record["boxes"]]
    # what a detector does not know is left out; a crop around it is no example of "none" for a classifier
    boxes = [(box, label) for box, label in known if label is not None or parent.task == "classification"]
    centres = np.asarray([box["centre"] for box, _ in boxes], np.float32).reshape(-1, 3)
    reach = np.asarray([box["diameter"] for box, _ in boxes], np.float32)[:, None] / 2
    is_ignored = np.asarray([box["ignored"] or label is None for box, label in boxes], np.bool_)
    labels = np.asarray([label or 0 for _, label in boxes], np.int64)
    sample = Sample(
        image, np.concatenate([centres - reach, centres + reach], axis=1), labels, is_ignored,
        weight=float(crop.record["weight"]), group=str(crop.record["case_id"]),
    )  # fmt: skip
    return sample if parent.task == "detection" else _classified(sample, first=int(len(parent.classes) == 1))


def _prepared(volume: NDArray[np.int16], parent: Bundle) -> NDArray[np.float16]:
    """Return a crop, which is at the model's spacing already, in the model's values."""
    as_it_is = replace(parent.preprocessing, spacing_mm=None)
    scaled, _ = as_it_is.apply_array(volume, Grid.axis_aligned(volume.shape, (1.0,) * volume.ndim))
    return scaled.astype(np.float16)


def _class_of(label: str, classes: Sequence[str]) -> int | None:
    """Return which class a finding is; a detector of one class finds all, one of several leaves out what it does not know."""
    if label in classes:
        return classes.index(label)
    return 0 if len(classes) == 1 else None


def _classified(sample: Sample, first: int) -> Sample:
    """Return a crop with the class of what lies in its middle, counted from ``first``, without boxes; -1 where ignored."""
    middle = (np.asarray(sample.shape, np.float32) - 1) / 2
    inside = np.linalg.norm(sample.centres - middle, axis=1) < sample.diameters / 2
    label = NOT_A_LESION
    if inside.any():
        row = int(np.flatnonzero(inside)[0])
        label = -1 if sample.is_ignored[row] else int(sample.labels[row]) + first
    return Sample.without_boxes(sample.image, label=label, weight=sample.weight, group=sample.group)


def _check_spacing(folder: Path, manifest: dict[str, Any], parent: Bundle) -> None:
    preprocessing = parent.preprocessing
    spacing, wanted = manifest["crops"]["spacing_mm"], preprocessing.spacing_mm
    if wanted is None or preprocessing.window is None:
        raise InputRefusedError(
            f"{parent.name} does not read windowed volumes of one spacing, as packages hold them.",
            code="wrong-kind",
        )
    if np.abs(np.asarray(wanted) - spacing).max() > 1e-6:
        raise InputRefusedError(
            f"{folder} was cut at {spacing} mm; the model {parent.name} works at {wanted} mm.", code="spacing",
            hint="Export the hard examples again for this model.",
        )  # fmt: skip
