"""From a project to samples of one's own: what a configuration is trained on, as its network will see it."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.annotations import FindingTable
from napari_medlab.annotations.objects import Finding
from napari_medlab.durable import DiskError, new_folder, write_file, writing
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.hardcases.mining import DOUBTS
from napari_medlab.jobs.cancellation import CancelledError
from napari_medlab.models.augmentation.carrying import carried
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.samples import Sample, write_sample
from napari_medlab.models.workflows.hard_examples import READERS_EDITS
from napari_medlab.models.workflows.sample_cubes import cube_shape, places_of
from napari_medlab.models.workflows.sample_objects import ClassRule, Lattices, known_objects, painted
from napari_medlab.models.workflows.sample_tiles import holds_something, tile_shape, tile_starts
from napari_medlab.project import open_case
from napari_medlab.project.edits import add_export
from napari_medlab.project.records import ExportRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medlab.annotations import Region
    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.workflows.sample_cubes import Place
    from napari_medlab.models.workflows.sample_objects import KnownObject
    from napari_medlab.project import CaseRecord, Project

    Made = Iterator[tuple[Sample, dict[str, Any]]]
    """Samples of a case, each with what the manifest says of it."""

__all__ = ["MANIFEST", "SampleEvent", "SampleOptions", "export_samples"]

MANIFEST = "manifest.json"
SCHEMA = 1
SUFFIXES = {"train": ".npz", "test": ".test"}
"""Training reads files that end in .npz: those of test cases do not, wherever they are copied to."""
CUBES_AT_ONCE = 64


@dataclass(frozen=True)
class SampleOptions:
    """What becomes samples, and how large they are.

    Parameters
    ----------
    split : {"train", "test"}
        Frozen cases are for testing, whatever else is said of them.
    run_id : str
        Whose candidates become cubes; for classifiers alone, which need it.
    other : {"refuse", "ignore"}
        Whether findings of classes that the configuration does not know are refused, or neither lesion nor background.
    tile : tuple of int
        Sizes of tiles, in voxels of the prepared image: one for all axes, or one for each in array order. Empty for whole
        images, and for tiles of the usual size where one is larger than 128 MB.
    overlap : float, 0 … below 1
        What tiles have in common with their neighbours, at the least.
    is_shifted : bool
        Whether a second grid of tiles, half a step further, is written as well.
    margin : int or None
        Voxels on each side of a cube beyond what the classifier looks at; None for an eighth of its side.
    """

    split: Literal["train", "test"] = "train"
    run_id: str = ""
    other: Literal["refuse", "ignore"] = "refuse"
    tile: tuple[int, ...] = ()
    overlap: float = 0.25
    is_shifted: bool = False
    margin: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1 or (self.margin is not None and self.margin < 0):
            raise InputRefusedError(
                f"Tiles overlap by 0 to less than 1 of their size, and a margin is 0 or more; "
                f"got {self.overlap} and {self.margin}.",
                code="option",
            )


@dataclass(frozen=True)
class SampleEvent:
    """What happens during an export.

    Parameters
    ----------
    kind : {"sample", "case done", "case failed"}
    case_id, name : of the case
    done, total : int
        Cases finished, failed ones included, and cases in all.
    samples : int
        Written so far, of all cases; of a case that failed none is kept.
    error : str
        Why a case failed; the others go on.
    """

    kind: Literal["sample", "case done", "case failed"]
    case_id: str
    name: str
    done: int
    total: int
    samples: int
    error: str = ""


def export_samples(
    project: Project, configuration: Configuration, out: Path, cancel: CancelToken,
    options: SampleOptions | None = None,
) -> Iterator[SampleEvent]:  # fmt: skip
    """Write samples of the cases of a project into a new folder, whole or not at all; a generator.

    The reference is the project's as it is settled, corrections included. Findings whose label a reader called into doubt,
    in any run, are neither lesion nor background. Files are named by the keys of cases, and nothing in the folder tells
    who the patients are. Cases without a lesion become samples, too. The export is recorded in the project where that is
    open for writing.

    Parameters
    ----------
    project : Project
    configuration : says how images are prepared, which classes there are, and for what task
    out : the folder; must not exist
    cancel : looked at before each sample
    options : SampleOptions, optional

    Raises
    ------
    InputRefusedError
        ``exists``, ``no-cases``, ``classes`` with the names of those that the configuration does not know, ``no-run`` and
        ``option`` where a run is missing or of no use; where no case gives a sample, the reason of the first.
    CancelledError, DiskError
        Nothing is left of the folder.
    """
    export = _Export(project, configuration, options or SampleOptions(), cancel)
    with new_folder(out) as folder:
        yield from export.cases_into(folder)
        write_file(folder / MANIFEST, json.dumps(export.manifest(), indent=1, allow_nan=False).encode())
    if not project.is_read_only:
        digest = hashlib.sha256((out / MANIFEST).read_bytes()).hexdigest()
        inside = out.is_relative_to(project.folder)
        path = out.relative_to(project.folder).as_posix() if inside else str(out)
        project.commit(add_export(ExportRecord(path, "samples", digest, tuple(export.edits))))


@dataclass
class _Export:
    """An export at work: what it reads, and what it has written down."""

    project: Project
    configuration: Configuration
    options: SampleOptions
    cancel: CancelToken
    records: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes = self.configuration.classes
        is_classifier = self.configuration.task == "classification"
        self._check_run(is_classifier)
        self.rule = ClassRule(tuple(classes), int(is_classifier and len(classes) == 1), self.options.other)
        self.preprocessing = Preprocessing.from_json(self.configuration.preprocessing)
        self.cases = self._chosen()
        self.edits = [entry.id for entry in self.project.journal(kinds=READERS_EDITS)]
        self.doubted = _doubted(self.project)
        findings = self.project.findings()
        counts = np.isin(findings.case_ids, [case.case_id for case in self.cases]) & ~findings.is_excluded
        self.rule.check(findings.labels[counts].tolist())

    def cases_into(self, folder: Path) -> Iterator[SampleEvent]:
        """Write the samples of every case, and yield what happens."""
        first: MedlabError | OSError | None = None
        for done, case in enumerate(self.cases):
            about, before = (case.case_id, case.name), len(self.records)
            try:
                for _ in self._write(case, folder):
                    yield SampleEvent("sample", *about, done, len(self.cases), len(self.records))
            except (CancelledError, DiskError):
                raise
            except (MedlabError, OSError) as error:
                first = first or error
                self._take_back(before, folder)
                self.failed[case.case_id] = error.code if isinstance(error, MedlabError) else "unreadable"
                yield SampleEvent(
                    "case failed", *about, done + 1, len(self.cases), len(self.records), str(error)
                )
            else:
                yield SampleEvent("case done", *about, done + 1, len(self.cases), len(self.records))
        if not self.records:
            reason = (
                f"; the first: {first}" if first is not None else ": there is nothing in them to learn from"
            )
            raise InputRefusedError(
                f"None of the {len(self.cases)} cases gives a sample{reason}", code="no-samples"
            )

    def manifest(self) -> dict[str, Any]:
        """Return what the folder says about itself; names of files and of patients are not in it."""
        run_id, bundle = self.options.run_id, ""
        if run_id:
            bundle = self.project.run(run_id).bundle_hash
        return {
            "schema": SCHEMA,
            "format": "samples",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "split": self.options.split,
            "task": self.configuration.task,
            "classes": list(self.configuration.classes),
            "configuration": {"name": self.configuration.name, "sha256": self.configuration.hash},
            "preprocessing": self.preprocessing.as_json(),
            "options": asdict(self.options),
            "run_id": run_id,
            "bundle": bundle,
            "edit_ids": self.edits,
            "sources": {
                case.case_id: case.fingerprint for case in self.cases if case.case_id not in self.failed
            },
            "failed": self.failed,
            "counts": self.counts,
            "samples": self.records,
        }

    def _check_run(self, is_needed: bool) -> None:
        if is_needed and not self.options.run_id:
            raise InputRefusedError(
                "A classifier learns from the candidates of a run, and none was named.", code="no-run",
                hint="Run a detector on the training cases, and name its run.",
            )  # fmt: skip
        if self.options.run_id and not is_needed:
            raise InputRefusedError(
                f"A run gives a classifier its candidates; the configuration is for {self.configuration.task}.",
                code="option", hint="Leave the run out.",
            )  # fmt: skip
        if self.options.run_id:
            self.project.run(self.options.run_id)

    def _chosen(self) -> list[CaseRecord]:
        """Return the cases of the split; test cases only where they are asked for by name."""
        is_test = self.options.split == "test"
        cases = [case for case in self.project.cases() if (case.frozen or case.split == "test") == is_test]
        if not cases:
            raise InputRefusedError(
                f"The project has no case for {'testing' if is_test else 'training'}.", code="no-cases"
            )
        return cases

    def _write(self, case: CaseRecord, folder: Path) -> Iterator[None]:
        """Write the samples of one case, and yield after each."""
        suffix = SUFFIXES[self.options.split]
        for number, (sample, about) in enumerate(self._samples(case)):
            name = f"{case.case_id}-{number:05d}{suffix}"
            digest = _store(folder / name, sample)
            self.records.append({"file": name, "sha256": digest, "case_id": case.case_id, **about})
            yield

    def _take_back(self, kept: int, folder: Path) -> None:
        for record in self.records[kept:]:
            (folder / record["file"]).unlink()
        del self.records[kept:]

    def _samples(self, case: CaseRecord) -> Made:
        self.cancel.check()
        findings = self.project.findings(case.case_id)
        findings = replace(
            findings, is_excluded=findings.is_excluded | np.isin(findings.ids, list(self.doubted))
        )
        regions = self._regions(case, findings)
        image = open_case(self.project, case.case_id)
        if self.configuration.task == "classification":
            return self._cubes(case, image, findings, regions)
        return self._tiles(case, image, findings, regions)

    def _tiles(
        self, case: CaseRecord, image: Image, findings: FindingTable, regions: Sequence[Region]
    ) -> Made:
        prepared = self.preprocessing.prepare(image)
        self._check_fit(prepared)
        objects, unmeasured = known_objects(findings, regions, Lattices(image.grid, prepared.grid), self.rule)
        self._count("objects without a size, ignored", unmeasured)
        if self.configuration.task == "segmentation":
            whole = [one if one.outlines else replace(one, is_ignored=True) for one in objects]
            hidden = sum(a.is_ignored != b.is_ignored for a, b in zip(objects, whole, strict=True))
            self._count("objects without an outline, ignored", hidden)
            objects = whole
        group = case.patient_key or case.case_id
        patch = self.configuration.sampler.arguments.get("shape") or ()
        shape = tile_shape(prepared.shape, prepared.channels, self.options.tile, patch)
        starts = tile_starts(prepared.shape, shape, self.options.overlap, is_shifted=self.options.is_shifted)
        foreground = None
        if len(starts) > 1:
            rule = self.configuration.tiling.get("skip", {}).get("rule", "none")
            foreground = prepared.foreground(rule)
        boxes = _boxes_of(objects, len(shape))
        for start in starts:
            self.cancel.check()
            if not holds_something(foreground, start, shape) and not _touches(boxes, start, shape):
                self._count("tiles of air or glass, left out", 1)
                continue
            sample = self._tile(prepared, objects, start, shape)
            counted = int((~sample.is_ignored).sum())
            about = {
                "start": list(start), "shape": list(shape), "objects": counted, "ignored": len(sample.boxes) - counted
            }  # fmt: skip
            yield replace(sample, group=group), about

    def _tile(
        self, prepared: Prepared, objects: Sequence[KnownObject], start: Sequence[int], shape: Sequence[int]
    ) -> Sample:
        stop = [a + size for a, size in zip(start, shape, strict=True)]
        image = prepared.read(start, stop).astype(np.float16)
        mask = None
        if self.configuration.task == "segmentation":
            mask = painted(objects, start, shape, len(self.configuration.classes))
        boxes = _boxes_of(objects, len(shape))
        sample = Sample(
            image, boxes, np.asarray([one.number for one in objects], np.int64),
            np.asarray([one.is_ignored for one in objects], np.bool_), mask=mask,
        )  # fmt: skip
        return carried(sample, image, mask, boxes - np.tile(np.asarray(start, np.float32), 2))

    def _cubes(
        self, case: CaseRecord, image: Image, findings: FindingTable, regions: Sequence[Region]
    ) -> Made:
        run_id = self.options.run_id
        if case.case_id not in self.project.cases_done(run_id):
            raise InputRefusedError("The run has not looked at this case.", code="not-done")
        spacing, window = self.preprocessing.isotropic_mm, self.preprocessing.window
        shape = cube_shape(self.configuration, self.options.margin)
        known = _with_loose_outlines(findings, regions, image.grid)
        candidates = self.project.candidates(run_id, case.case_id)
        places, left_out = places_of(known, candidates, self.doubted, self.rule)
        self._count("candidates that are ambiguous, left out", left_out)
        group = case.patient_key or case.case_id
        for first in range(0, len(places), CUBES_AT_ONCE):
            batch: list[Place] = places[first : first + CUBES_AT_ONCE]
            centres = [place.centre for place in batch]
            cubes = cut_cubes(image, centres, spacing, shape, window, self.cancel.check)
            for cube, place in zip(cubes, batch, strict=True):
                self.cancel.check()
                sample = Sample.without_boxes(cube.astype(np.float16), label=place.label, group=group)
                yield sample, {"label": place.label, "object_id": place.object_id}

    def _regions(self, case: CaseRecord, findings: FindingTable) -> list[Region]:
        """Return the outlines of the reference: those of findings, and those of nobody that no model proposed."""
        table = self.project.region_table(case.case_id)
        owners = np.isin(table.owner_ids, [*(key.encode() for key in findings.ids.tolist()), b""])
        rows = np.flatnonzero(owners & np.isnan(table.scores))
        if not len(rows):
            return []
        proposed: set[bytes] = set()
        for run in self.project.runs():
            proposed |= set(self.project.region_table(case.case_id, run_id=run.run_id).ids.tolist())
        return [table.region(int(row)) for row in rows if table.ids[row] not in proposed]

    def _check_fit(self, prepared: Prepared) -> None:
        """Refuse an image that the network could not be trained on."""
        arguments = self.configuration.network.arguments
        wanted = (
            int(arguments.get("spatial_dims", prepared.grid.ndim)), int(arguments.get("in_channels", prepared.channels))
        )  # fmt: skip
        if wanted != (prepared.grid.ndim, prepared.channels):
            raise InputRefusedError(
                f"The image has {prepared.grid.ndim} axes and {prepared.channels} channels once it is prepared; the network "
                f"takes {wanted[0]} and {wanted[1]}.",
                code="channels",
                hint="Give the preprocessing the channels that the network takes.",
            )

    def _count(self, what: str, more: int) -> None:
        if more:
            self.counts[what] = self.counts.get(what, 0) + more


def _store(path: Path, sample: Sample) -> str:
    """Write a sample, wait until it is on the disk, and return its SHA-256."""
    with writing(path):
        write_sample(path, sample)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()


def _doubted(project: Project) -> set[str]:
    """Return the findings and candidates whose label a reader called into doubt, in any run or outside of one."""
    runs = ["", *(run.run_id for run in project.runs())]
    return {
        object_id
        for run_id in runs
        for object_id, given in project.verdicts(run_id).items()
        if given.verdict in DOUBTS
    }


def _boxes_of(objects: Sequence[KnownObject], dims: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.asarray([one.box for one in objects], np.float32).reshape(-1, 2 * dims)


def _touches(
    boxes: np.ndarray[Any, np.dtype[np.float32]], start: Sequence[int], shape: Sequence[int]
) -> bool:
    """Tell whether any object reaches into a tile."""
    low = np.asarray(start) - 0.5
    high, dims = low + np.asarray(shape), len(shape)
    return bool(((boxes[:, dims:] > low) & (boxes[:, :dims] < high)).all(axis=1).any())


def _with_loose_outlines(findings: FindingTable, regions: Sequence[Region], grid: Grid) -> FindingTable:
    """Return the findings with outlines that belong to none, which do not count: what lies near them is left out."""
    objects = [findings.finding(row) for row in range(len(findings))]
    for region in regions:
        if not region.owner_id and region.rings:
            points = grid.to_world(np.concatenate(region.rings))
            low, high = points.min(axis=0), points.max(axis=0)
            diameter = float((high - low).max())
            objects.append(
                Finding(
                    region.case_id,
                    tuple(((low + high) / 2).tolist()),
                    diameter,
                    region.label,
                    is_excluded=True,
                )
            )
    return FindingTable.from_objects(objects, grid.ndim)
