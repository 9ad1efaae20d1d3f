"""What each format that goes out consists of: the files of one folder, from the objects of cases."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.annotations.formats.label_map import IGNORED
from napari_medlab.durable import write_file
from napari_medlab.exchange.case_writing import CaseWork, Overlap, counted, ignoring, write_case
from napari_medlab.exchange.label_maps import TABLE
from napari_medlab.exchange.parts import move_in, parts_of
from napari_medlab.exchange.wire import renamed
from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.results import results_of
from napari_medlab.jobs.spreading import Here, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.formats.datasets import Dataset, Split
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.exchange.collecting import CaseObjects
    from napari_medlab.jobs.spreading import Spread
    from napari_medlab.project import Project

__all__ = ["WRITERS", "Job", "Writer"]

Table = TypeVar("Table", FindingTable, CandidateTable)


@dataclass
class Job:
    """One export under way, and the count of what was written.

    Parameters
    ----------
    project : Project
    folder : Path
        What is to be filled.
    cases : list of CaseObjects
    run_id : str
        Empty for the reference.
    with_images : bool
    overlap : {"refuse", "last"}
        What becomes of voxels that several objects share, in a map that holds one number for each.
    on_progress : callable or None
        Called with the cases done and all cases.
    cancel : CancelToken
    spread : Spread
        Who writes what is written of each case by itself.
    """

    project: Project
    folder: Path
    cases: list[CaseObjects]
    run_id: str
    with_images: bool
    overlap: Overlap
    on_progress: Callable[[int, int], None] | None = None
    cancel: CancelToken = field(default_factory=CancelToken)
    spread: Spread = field(default_factory=Here)
    images: int = 0
    findings: int = field(init=False)
    excluded: int = field(init=False)

    def __post_init__(self) -> None:
        counted = [] if self.run_id else self.cases
        self.excluded = sum(int(one.is_excluded.sum()) for one in counted)
        self.findings = sum(map(len, counted)) - self.excluded

    def each(self, write: Callable[[CaseObjects], None]) -> None:
        """Call ``write`` with one case after the other, and tell how far it has come."""
        for number, one in enumerate(self.cases, start=1):
            self.cancel.check()
            write(one)
            self._tell(number)

    def spread_cases(self, work_of: Callable[[CaseObjects], CaseWork]) -> dict[str, dict[str, Any]]:
        """Have the files of every case written, and return what there is to know of each case's outlines, by its key."""
        works = {one.key: self._with_source(work_of(one)) for one in self.cases}
        told: dict[str, dict[str, Any]] = {}
        with parts_of(self.folder) as parts:
            tasks = [
                Task(key, {"work": work, "parts": str(parts)}) for key, work in works.items() if work.files
            ]
            with results_of(self.spread, write_case, tasks, self.cancel) as written:
                for key, made in written:
                    for name in works[key].files:
                        move_in(parts / made["attempt"] / name, self.folder / name)
                    self.images += bool(works[key].image)
                    told[key] = made["told"]
                    self._tell(len(told))
        return {one.key: told[one.key] for one in self.cases if one.key in told}

    def _with_source(self, work: CaseWork) -> CaseWork:
        if not (self.with_images and work.image):
            return replace(work, image="")
        return replace(work, source=self.project.case_path(work.one.case.case_id))

    def _tell(self, done: int) -> None:
        if self.on_progress is not None:
            self.on_progress(done, len(self.cases))


@dataclass(frozen=True)
class Writer:
    """How a format is written.

    Parameters
    ----------
    write : callable
        Fills the folder of a job.
    axes : tuple of int
        How many axes the images of its cases may have.
    has_images : bool
        Whether images go along where nothing is said about them.
    holds_excluded : bool
        Whether it can say that a finding does not count; such findings are left out otherwise.
    """

    write: Callable[[Job], None]
    axes: tuple[int, ...]
    has_images: bool = False
    holds_excluded: bool = False


def _luna16(job: Job) -> None:
    from napari_medlab.annotations.formats.luna16 import write_candidates, write_findings, write_series

    findings = _joined(FindingTable, [_findings(job, one) for one in job.cases])
    excluded = findings.is_excluded
    job.findings, job.excluded = int((~excluded).sum()), int(excluded.sum())
    write_findings(job.folder / "annotations.csv", findings.where(~excluded))
    write_findings(job.folder / "annotations_excluded.csv", findings.where(excluded))
    write_series(job.folder / "seriesuids.csv", [one.key for one in job.cases])
    if job.run_id:
        write_candidates(
            job.folder / "candidates.csv", _joined(CandidateTable, list(map(_candidates, job.cases)))
        )
    _volume_images(job)


def _coco(job: Job) -> None:
    from napari_medlab.annotations.formats.coco import write, write_results

    path = job.folder / "annotations.json"
    categories = _all_classes(job.project)
    images = [_under_name(one, job) for one in job.cases]
    images = [replace(image, extra={**image.extra, "categories": categories}) for image in images]
    if not job.run_id:
        write(path, images)
    else:
        write(path, [_bare(image) for image in images])
        for kind in ("bbox", "segm"):
            write_results(job.folder / f"results_{kind}.json", images, path, kind)
    _planar_images(job)


def _all_classes(project: Project) -> list[dict[str, Any]]:
    """Return every class of the project as a COCO category, so that one number means one class in all its exports."""
    tables = [project.findings(), *(project.candidates(run.run_id) for run in project.runs())]
    names = sorted({name for table in tables for name in np.unique(table.labels).tolist()})
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]


def _geojson(job: Job) -> None:
    from napari_medlab.annotations.formats.geojson import write

    job.each(lambda one: write(job.folder / f"{one.key}.geojson", [one.image_regions]))
    _planar_images(job)


def _nifti(job: Job) -> None:
    _label_maps(job, ".nii.gz")


def _metaimage(job: Job) -> None:
    _label_maps(job, ".mha")


def _label_maps(job: Job, ending: str) -> None:
    """Write a map of instances for each case, and what their numbers mean in one table."""

    def work_of(one: CaseObjects) -> CaseWork:
        image = f"images/{one.key}{ending if one.grid.ndim == 3 else '.png'}"
        return CaseWork(one, "instances", f"labels/{one.key}{ending}", image, overlap=job.overlap)

    table: dict[str, Any] = {}
    for told in job.spread_cases(work_of).values():
        table |= told["table"]
    write_file(job.folder / TABLE, json.dumps(table, allow_nan=False).encode())


def _yolo(job: Job) -> None:
    from napari_medlab.annotations.formats.yolo import write

    made = job.folder / "made"
    write(made, [renamed(one.image_regions, f"{one.key}.png") for one in job.cases])
    for entry in list(made.iterdir()):
        entry.rename(job.folder / entry.name)
    made.rmdir()
    _planar_images(job)


def _hubmap(job: Job) -> None:
    from napari_medlab.annotations.formats.hubmap import write, write_polygons

    write(job.folder / "encodings.csv", [one.image_regions for one in job.cases])
    job.each(lambda one: write_polygons(job.folder / f"{one.key}.json", one.image_regions))
    _planar_images(job)


def _nnunet(job: Job) -> None:
    from napari_medlab.annotations.formats.nnunet import plan, write

    classes = _class_numbers(ignoring(one.image_regions) for one in job.cases)
    dataset = replace(plan(job.folder, _splits(job), classes), name="dataset")
    files = _files_of(dataset, job.folder)
    job.spread_cases(
        lambda one: CaseWork(one, "classes", *files[one.key], classes=classes, overlap=job.overlap)
    )
    write(job.folder, dataset)


def _monai(job: Job) -> None:
    from napari_medlab.annotations.formats.datasets import Dataset, DatasetCase
    from napari_medlab.annotations.formats.monai_datalist import write

    labels = {
        label for one in job.cases for label, out in zip(one.labels, one.is_excluded, strict=True) if not out
    }
    numbers = {label: number for number, label in enumerate(sorted(labels))}
    cases = []
    for one in job.cases:
        boxes = {row: box for row, box in _boxes(one).items() if not one.is_excluded[row]}
        cases.append(DatasetCase(
            one.key, (job.folder / "images" / f"{one.key}.nii.gz",), None, _splits(job)[one.key],
            boxes=tuple(boxes.values()), box_classes=tuple(numbers[one.labels[row]] for row in boxes),
        ))  # fmt: skip
    classes = {number: label for label, number in numbers.items()}
    write(job.folder / "dataset.json", Dataset("dataset", tuple(cases), classes))
    _volume_images(job)


def _boxes(one: CaseObjects) -> dict[int, tuple[float, ...]]:
    """Return by row the box (x, y, z, w, h, d) around each object: its outline's, or a cube as wide as its diameter."""
    from napari_medlab.annotations.formats.monai_datalist import boxes_of_regions

    image, rows = one.image_regions, {own: row for row, own in enumerate(one.ids)}
    around = dict(zip(image.regions.owner_ids.tolist(), boxes_of_regions(image, one.grid), strict=True))
    found = {rows[owner.decode()]: box for owner, box in around.items()}
    cubes = {
        row: (*one.centres[row].tolist(), *[float(one.diameters[row])] * 3)
        for row in found
        if row not in one.drawn
    }
    return dict(sorted({**found, **cubes}.items()))


def _nndetection(job: Job) -> None:
    from napari_medlab.annotations.formats.nndetection import plan, with_instances, write

    classes = _class_numbers(counted(one.image_regions) for one in job.cases)
    folder = job.folder / "Task000_Export"
    dataset = plan(folder, _splits(job), list(classes))
    files = _files_of(dataset, job.folder)
    told = job.spread_cases(
        lambda one: CaseWork(one, "counted instances", *files[one.key], overlap=job.overlap)
    )
    write(folder, with_instances(dataset, {key: each["names"] for key, each in told.items()}))


def _files_of(dataset: Dataset, folder: Path) -> dict[str, tuple[str, str]]:
    """Return where the map and the image of each case are planned to be, relative to a folder."""
    planned = {case.case: (case.label or folder, case.images[0]) for case in dataset.cases}
    return {
        key: (label.relative_to(folder).as_posix(), image.relative_to(folder).as_posix())
        for key, (label, image) in planned.items()
    }


def _class_numbers(images: Iterable[ImageRegions]) -> dict[str, int]:
    """Return a number from 1 on for each class, in the order of their names, that which does not count the last."""
    used = {image.regions.label_names[label] for image in images for label in image.regions.labels.tolist()}
    names = [*sorted(used - {IGNORED}), *sorted(used & {IGNORED})]
    return {name: number for number, name in enumerate(names, start=1)}


def _splits(job: Job) -> dict[str, Split]:
    return {one.key: "test" if one.case.split == "test" else "training" for one in job.cases}


def _dicom_seg(job: Job) -> None:
    job.spread_cases(lambda one: CaseWork(one, "dicom-seg", f"{one.key}.dcm", f"images/{one.key}.nii.gz"))


def _rtstruct(job: Job) -> None:
    job.spread_cases(lambda one: CaseWork(one, "rtstruct", f"{one.key}.dcm", f"images/{one.key}.nii.gz"))


def _volume_images(job: Job) -> None:
    job.spread_cases(lambda one: CaseWork(one, image=f"images/{one.key}.nii.gz"))


def _planar_images(job: Job) -> None:
    job.spread_cases(lambda one: CaseWork(one, image=f"images/{one.key}.png"))


def _under_name(one: CaseObjects, job: Job) -> ImageRegions:
    """Return the outlines of a case under the name of its image's file, where there is one."""
    return renamed(one.image_regions, f"{one.key}.png") if job.with_images else one.image_regions


def _bare(image: ImageRegions) -> ImageRegions:
    """Return an image without its outlines, its classes kept: what results are about."""
    nothing = image.regions.where(np.zeros(len(image), dtype=np.bool_))
    return replace(image, regions=nothing, is_excluded=image.is_excluded[:0])


def _findings(job: Job, one: CaseObjects) -> FindingTable:
    """Return the findings of a case; beside a run's candidates, all of them."""
    if job.run_id:
        table = job.project.findings(one.case.case_id)
        return replace(table, case_ids=np.full(len(table), one.key))
    return FindingTable(**_columns(one), is_excluded=one.is_excluded)


def _candidates(one: CaseObjects) -> CandidateTable:
    return CandidateTable(**_columns(one), scores=one.scores)


def _columns(one: CaseObjects) -> dict[str, NDArray[Any]]:
    return {
        "ids": np.asarray(one.ids, dtype=np.str_),
        "case_ids": np.full(len(one), one.key),
        "labels": np.asarray(one.labels, dtype=np.str_),
        "centres": one.centres,
        "diameters": one.diameters,
    }


def _joined(kind: type[Table], tables: list[Table]) -> Table:
    """Return the rows of several tables, one after the other; those without a row have no width to agree on."""
    filled = [table for table in tables if len(table)]
    if not filled:
        return kind.from_objects([])
    columns = (column.name for column in fields(kind))
    return kind(**{name: np.concatenate([getattr(table, name) for table in filled]) for name in columns})


WRITERS: dict[str, Writer] = {
    "luna16": Writer(_luna16, (3,), holds_excluded=True),
    "coco": Writer(_coco, (2,), holds_excluded=True),
    "geojson": Writer(_geojson, (2,), holds_excluded=True),
    "nifti": Writer(_nifti, (2, 3), holds_excluded=True),
    "mha": Writer(_metaimage, (3,), holds_excluded=True),
    "yolo": Writer(_yolo, (2,), has_images=True),
    "hubmap": Writer(_hubmap, (2,), holds_excluded=True),
    "monai": Writer(_monai, (3,), has_images=True),
    "nnunet": Writer(_nnunet, (3,), has_images=True, holds_excluded=True),
    "nndetection": Writer(_nndetection, (3,), has_images=True),
    "dicom-seg": Writer(_dicom_seg, (3,)),
    "rtstruct": Writer(_rtstruct, (3,)),
}
"""How each format is written, by its name on the command line."""
