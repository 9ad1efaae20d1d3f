"""Data sets for training as folders and lists describe them: which files belong to a case, and what their numbers mean.

MONAI's datalists, nnU-Net's and nnDetection's folders are read into these and written from them. Pixels are not touched:
whoever reads opens the files that are named, and whoever writes puts them where :attr:`DatasetCase.images` and
:attr:`DatasetCase.label` say, before or after the description.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_medlab.annotations.formats.json_files import as_object
from napari_medlab.annotations.formats.label_map import regions_of_labels
from napari_medlab.annotations.formats.labels import checked_text, shown
from napari_medlab.errors import InputRefusedError
from napari_medlab.safe_paths import is_file_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from napari_medlab.annotations.image_regions import ImageRegions

__all__ = ["ENDINGS", "Dataset", "DatasetCase", "Split", "case_of", "case_refused", "channel_files", "class_names",
           "files_by_case", "indexed", "stem_of"]  # fmt: skip

Split = Literal["training", "validation", "test"]

ENDINGS = (".nii.gz", ".ome.tif", ".ome.tiff")
"""Endings of more than one part; of every other name the last part is the ending."""
CHANNEL = re.compile(r"(.+)_(\d{4})")
MAX_CLASS = 65535
LOOKED_AT = 100


@dataclass(frozen=True)
class DatasetCase:
    """One case of a data set.

    Parameters
    ----------
    case : str
        By what name the data set knows it; in what is written, the case's key.
    images : tuple of Path
        The image file of each channel.
    label : Path or None
        The label map.
    split : {"training", "validation", "test"}
    fold : int or None
        In which fold of a cross-validation it is held out.
    instances : dict of int to int, or None
        The class of each number of the label map; None for a map of classes.
    boxes : tuple of tuples of float
        Of a detection task: centre (x, y, z) and size (w, h, d) in the world of the image, LPS mm.
    box_classes : tuple of int
        The class of each box.
    """

    case: str
    images: tuple[Path, ...]
    label: Path | None = None
    split: Split = "training"
    fold: int | None = None
    instances: dict[int, int] | None = None
    boxes: tuple[tuple[float, ...], ...] = ()
    box_classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """What a data set consists of.

    Parameters
    ----------
    name : str
    cases : tuple of DatasetCase
    classes : dict of int to str
        The names of classes by their numbers; the background is left out.
    channels : tuple of str
        What each channel shows, such as ``"CT"``.
    file_ending : str
        Of images and label maps; empty where they differ.
    groups : dict of str to tuple of int
        Classes that consist of several numbers, as nnU-Net's regions do.
    remarks : tuple of str
        What does not fit and did not hinder.
    """

    name: str
    cases: tuple[DatasetCase, ...]
    classes: dict[int, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ("CT",)
    file_ending: str = ".nii.gz"
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def names(self, case: DatasetCase) -> dict[int, str] | None:
        """Return the class of each number in the label map of a case; None where nothing is known."""
        if case.instances is not None:
            return {value: self.classes[number] for value, number in case.instances.items()}
        return {value: name for value, name in self.classes.items() if value} or None

    def regions(self, case: DatasetCase, labels: ArrayLike) -> ImageRegions:
        """Return the objects of a case from the array of its label map, (z, y, x) or (y, x).

        A number is one object in a map of instances, and each connected component in a map of classes. Raises as
        :func:`napari_medlab.annotations.formats.label_map.regions_of_labels`.
        """
        return regions_of_labels(case.case, labels, self.names(case), split=case.instances is None)


def stem_of(name: str) -> tuple[str, str]:
    """Return a file's name without its ending, and the ending."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), Path(name).suffix)
    return name[: len(name) - len(ending)], name[len(name) - len(ending) :]


def files_by_case(folder: Path, ending: str) -> dict[str, Path]:
    """Return the files of a folder with an ending, by their name without it; none where there is no such folder."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        path.name[: -len(ending)]: path
        for path in found
        if path.name.endswith(ending) and path.name != ending
    }


def channel_files(folder: Path, ending: str) -> dict[str, tuple[Path, ...]]:
    """Return the image files ``CASE_0000``, ``CASE_0001`` and so on of each case in a folder.

    Raises
    ------
    ValueError
        Where the channels of a case do not follow one another from 0.
    """
    channels: defaultdict[str, dict[int, Path]] = defaultdict(dict)
    for stem, path in files_by_case(folder, ending).items():
        named = CHANNEL.fullmatch(stem)
        if named:
            channels[named[1]][int(named[2])] = path
    for case, files in channels.items():
        if sorted(files) != list(range(len(files))):
            raise ValueError(
                f"{case} has the channels {sorted(files)} in {folder.name}, expected them from 0 on"
            )
    return {case: tuple(files[number] for number in sorted(files)) for case, files in channels.items()}


def has_channels(folder: Path) -> bool:
    """Tell by the first of its files whether a folder names images by case and channel; never raises."""
    try:
        return any(CHANNEL.fullmatch(stem_of(path.name)[0]) for path in islice(folder.iterdir(), LOOKED_AT))
    except OSError:
        return False


def indexed(value: object, what: str, first: int = 0) -> dict[int, str]:
    """Return an object such as ``{"0": "CT", "1": "PET"}`` by numbers; ValueError where it is none."""
    found = {}
    for key, name in as_object(value, what).items():
        digits = str(key)  # YAML has numbers as keys
        number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 6 else -1
        if not first <= number <= MAX_CLASS:
            raise ValueError(f"{what} has the number {shown(key)}, expected whole numbers from {first}")
        found[number] = checked_text(name, f"{what} {number}")
    return found


def class_names(labels: Mapping[int, str]) -> dict[int, str]:
    """Return classes without the background."""
    return {number: name for number, name in labels.items() if number or name.lower() != "background"}


def case_of(name: str) -> str:
    """Return a case's name as a file's, checked.

    Raises
    ------
    InputRefusedError
        With code ``"case-name"`` where it is no name for a file on every system.
    """
    if not is_file_name(name):
        raise case_refused(f"The case {shown(name)} cannot give a file its name.")
    return name


def case_refused(message: str) -> InputRefusedError:
    """Return the error about a case's name."""
    return InputRefusedError(message, code="case-name", hint="Give cases keys of letters and digits.")
