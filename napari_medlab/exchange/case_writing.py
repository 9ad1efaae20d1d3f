"""What is written of one case by itself: its image, and its outlines as a map of voxels or an object of DICOM.

That is what takes the time of an export, and any process can do it: nothing but the case itself is needed for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.annotations.formats.label_map import IGNORED, class_map, instance_map
from napari_medlab.exchange.image_files import write_case_image
from napari_medlab.exchange.label_maps import number_table, write_label_image
from napari_medlab.exchange.parts import attempt_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.exchange.collecting import CaseObjects
    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.spreading import Tell

    Told = dict[str, Any]

__all__ = ["CONTENTS", "CaseWork", "Overlap", "counted", "ignoring", "write_case"]

Overlap = Literal["refuse", "last"]


@dataclass(frozen=True, eq=False)
class CaseWork:
    """The files of one case.

    Parameters
    ----------
    one : CaseObjects
    content : str
        As what its outlines are written, a name in :data:`CONTENTS`.
    path : str
        The file of its outlines, relative to the export; empty for none.
    image : str
        The file of its image, relative to the export; empty for none.
    source : Path or None
        Where its image lies, for one that goes along.
    classes : dict of str to int
        The number of each class, for a map of classes.
    overlap : {"refuse", "last"}
        What becomes of voxels that several objects share, in a map that holds one number for each.
    """

    one: CaseObjects
    content: str = ""
    path: str = ""
    image: str = ""
    source: Path | None = None
    classes: dict[str, int] = field(default_factory=dict)
    overlap: Overlap = "refuse"

    @property
    def files(self) -> list[str]:
        """The files that are written."""
        return [name for name in (self.path, self.image) if name]


def write_case(request: dict[str, Any], cancel: CancelToken, tell: Tell) -> dict[str, Any]:
    """Write the files of one case into a folder of their own.

    Parameters
    ----------
    request : dict
        ``work``, the :class:`CaseWork`, and ``parts``, the folder for attempts.
    cancel : CancelToken
    tell : callable

    Returns
    -------
    dict
        ``attempt``, the name of the folder, and ``told``, what there is to know of the outlines as they were written.
    """
    work: CaseWork = request["work"]
    told: Told = {}
    with attempt_in(request["parts"]) as own:
        for name in work.files:
            (own / name).parent.mkdir(parents=True, exist_ok=True)
        if work.path:
            told = CONTENTS[work.content](work, own / work.path)
        tell(int(bool(work.path)), len(work.files))
        if work.image and work.source is not None:
            write_case_image(work.source, work.one.case, own / work.image, stop=cancel.check)
    return {"attempt": own.name, "told": told}


def counted(image: ImageRegions) -> ImageRegions:
    """Return the outlines without those that do not count, of which a format knows nothing."""
    kept = ~image.is_excluded
    return replace(image, regions=image.regions.where(kept), is_excluded=image.is_excluded[kept])


def ignoring(image: ImageRegions) -> ImageRegions:
    """Return the outlines with those that do not count as a class of their own, as nnU-Net calls it."""
    table = image.regions
    names = (*table.label_names, IGNORED)
    labels = np.where(image.is_excluded, len(names) - 1, table.labels).astype(np.int32)
    return replace(image, regions=replace(table, labels=labels, label_names=names))


def _instances(work: CaseWork, path: Path) -> Told:
    """Write a map of all objects, and return what their numbers mean as a table beside the maps says it."""
    return _instance_map(work, work.one.image_regions, path) | {
        "table": number_table([work.one.image_regions])
    }


def _counted_instances(work: CaseWork, path: Path) -> Told:
    return _instance_map(work, counted(work.one.image_regions), path)


def _instance_map(work: CaseWork, image: ImageRegions, path: Path) -> Told:
    made = instance_map(image, work.one.grid.shape, overlap=work.overlap)
    write_label_image(made.labels, work.one.grid, path)
    return {"names": made.names}


def _classes(work: CaseWork, path: Path) -> Told:
    made = class_map(
        ignoring(work.one.image_regions), work.one.grid.shape, work.classes, overlap=work.overlap
    )
    write_label_image(made.labels, work.one.grid, path)
    return {}


def _dicom_seg(work: CaseWork, path: Path) -> Told:
    from napari_medlab.annotations.formats.dicom_seg import write

    write(path, counted(work.one.image_regions), work.one.grid)
    return {}


def _rtstruct(work: CaseWork, path: Path) -> Told:
    from napari_medlab.annotations.formats.dicom_rtstruct import write

    write(path, counted(work.one.image_regions), work.one.grid)
    return {}


CONTENTS: dict[str, Callable[[CaseWork, Path], Told]] = {
    "instances": _instances,
    "counted instances": _counted_instances,
    "classes": _classes,
    "dicom-seg": _dicom_seg,
    "rtstruct": _rtstruct,
}
"""How the outlines of one case are written, and what is told of them."""
