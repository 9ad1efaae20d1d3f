"""What each format that goes out consists of: the files of one folder, from the objects of cases."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from napari_medlab.annotations import CandidateTable, FindingTable
from napari_medlab.annotations.formats.label_map import IGNORED, class_map, instance_map
from napari_medlab.durable import write_file
from napari_medlab.exchange.image_files import write_case_image
from napari_medlab.exchange.label_maps import TABLE, number_table, write_label_image
from napari_medlab.exchange.wire import renamed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations.formats.datasets import Split
    from napari_medlab.annotations.image_regions import ImageRegions
    from napari_medlab.exchange.collecting import CaseObjects
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
    stop : callable or None
        Raises where the work is to end.
    """

    project: Project
    folder: Path
    cases: list[CaseObjects]
    run_id: str
    with_images: bool
    overlap: Literal["refuse", "last"]
    on_progress: Callable[[int, int], None] | None
    stop: Callable[[], None] | None
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
            if self.stop is not None:
                self.stop()
            write(one)
            if self.on_progress is not None:
                self.on_progress(number, len(self.cases))

    def image(self, one: CaseObjects, path: Path) -> None:
        """Write the image of a case."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_case_image(self.project, one.case, path, stop=self.stop)
        self.images += 1


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
    (job.folder / "labels").mkdir()

    def write(one: CaseObjects) -> None:
        made = instance_map(one.image_regions, one.grid.shape, overlap=job.overlap)
        write_label_image(made.labels, one.grid, job.folder / "labels" / f"{one.key}{ending}")
        if job.with_images:
            job.image(one, job.folder / "images" / f"{one.key}{ending if one.grid.ndim == 3 else '.png'}")

    job.each(write)
    table = number_table([one.image_regions for one in job.cases])
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

    images = {one.key: _ignoring(one.image_regions) for one in job.cases}
    classes = _class_numbers(images.values())
    dataset = replace(plan(job.folder, _splits(job), classes), name="dataset")
    files = {case.case: case for case in dataset.cases}

    def write_case(one: CaseObjects) -> None:
        made = class_map(images[one.key], one.grid.shape, classes, overlap=job.overlap)
        file = files[one.key]
        assert file.label is not None  # planned for every case
        file.label.parent.mkdir(exist_ok=True)
        write_label_image(made.labels, one.grid, file.label)
        if job.with_images:
            job.image(one, file.images[0])

    job.each(write_case)
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

    images = {one.key: _counted(one.image_regions) for one in job.cases}
    classes = _class_numbers(images.values())
    folder = job.folder / "Task000_Export"
    dataset = plan(folder, _splits(job), list(classes))
    files = {case.case: case for case in dataset.cases}
    names: dict[str, dict[int, str]] = {}

    def write_case(one: CaseObjects) -> None:
        made = instance_map(images[one.key], one.grid.shape, overlap=job.overlap)
        names[one.key] = made.names
        file = files[one.key]
        assert file.label is not None  # planned for every case
        file.label.parent.mkdir(parents=True, exist_ok=True)
        write_label_image(made.labels, one.grid, file.label)
        if job.with_images:
            job.image(one, file.images[0])

    job.each(write_case)
    write(folder, with_instances(dataset, names))


def _counted(image: ImageRegions) -> ImageRegions:
    """Return the outlines without those that do not count, of which a format knows nothing."""
    kept = ~image.is_excluded
    return replace(image, regions=image.regions.where(kept), is_excluded=image.is_excluded[kept])


def _ignoring(image: ImageRegions) -> ImageRegions:
    """Return the outlines with those that do not count as a class of their own, as nnU-Net calls it."""
    table = image.regions
    names = (*table.label_names, IGNORED)
    labels = np.where(image.is_excluded, len(names) - 1, table.labels).astype(np.int32)
    return replace(image, regions=replace(table, labels=labels, label_names=names))


def _class_numbers(images: Iterable[ImageRegions]) -> dict[str, int]:
    """Return a number from 1 on for each class, in the order of their names, that which does not count the last."""
    used = {image.regions.label_names[label] for image in images for label in image.regions.labels.tolist()}
    names = [*sorted(used - {IGNORED}), *sorted(used & {IGNORED})]
    return {name: number for number, name in enumerate(names, start=1)}


def _splits(job: Job) -> dict[str, Split]:
    return {one.key: "test" if one.case.split == "test" else "training" for one in job.cases}


def _dicom_seg(job: Job) -> None:
    from napari_medlab.annotations.formats.dicom_seg import write

    job.each(lambda one: write(job.folder / f"{one.key}.dcm", _counted(one.image_regions), one.grid))
    _volume_images(job)


def _rtstruct(job: Job) -> None:
    from napari_medlab.annotations.formats.dicom_rtstruct import write

    job.each(lambda one: write(job.folder / f"{one.key}.dcm", _counted(one.image_regions), one.grid))
    _volume_images(job)


def _volume_images(job: Job) -> None:
    if job.with_images:
        job.each(lambda one: job.image(one, job.folder / "images" / f"{one.key}.nii.gz"))


def _planar_images(job: Job) -> None:
    if job.with_images:
        job.each(lambda one: job.image(one, job.folder / "images" / f"{one.key}.png"))


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
