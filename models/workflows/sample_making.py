"""Samples of one case: the image in whole or in tiles with its objects, or cubes around candidates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.mining import DOUBTS
from napari_medlab.models.augmentation.carrying import carried
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.workflows.sample_cubes import cube_shape, places_of
from napari_medlab.models.workflows.sample_objects import ClassRule, Lattices, known_objects, painted
from napari_medlab.models.workflows.sample_tiles import holds_something, tile_shape, tile_starts
from napari_medlab.project import open_case

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import Region
    from napari_medlab.geometry import Grid
    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.workflows.sample_objects import KnownObject
    from napari_medlab.project import CaseRecord, Project

    Made = Iterator[tuple[Sample, dict[str, Any]]]
    """Samples of a case, each with what the manifest says of it."""

__all__ = ["SampleMaker", "SampleOptions"]

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


@dataclass
class SampleMaker:
    """Makes the samples of one case after the other.

    Parameters
    ----------
    project : Project
    configuration : Configuration
    options : SampleOptions
    cancel : CancelToken
    """

    project: Project
    configuration: Configuration
    options: SampleOptions
    cancel: CancelToken
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        classes = tuple(self.configuration.classes)
        is_one = self.configuration.task == "classification" and len(classes) == 1
        self.rule = ClassRule(classes, int(is_one), self.options.other)
        self.preprocessing = Preprocessing.from_json(self.configuration.preprocessing)
        self._doubted = _doubted(self.project)

    def samples_of(self, case: CaseRecord) -> Made:
        """Yield the samples of a case, each with what the manifest says of it.

        Raises
        ------
        InputRefusedError, ImageRefusedError, ProjectError
            Where the image cannot be read or is not what the network takes, or an outline is of a class that is refused.
        CancelledError
        """
        self.cancel.check()
        findings = self.project.findings(case.case_id)
        findings = replace(
            findings, is_excluded=findings.is_excluded | np.isin(findings.ids, list(self._doubted))
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
        objects = self._objects(findings, regions, Lattices(image.grid, prepared.grid))
        group = case.patient_key or case.case_id
        for start, shape, is_whole in self._places(prepared, objects):
            self.cancel.check()
            sample = self._tile(prepared, objects, start, shape)
            if not is_whole and not len(sample.boxes) and float(np.ptp(sample.image)) == 0:
                self.count("tiles of one value, left out", 1)
                continue
            counted = int((~sample.is_ignored).sum())
            about = {
                "start": list(start), "shape": list(shape), "objects": counted, "ignored": len(sample.boxes) - counted
            }  # fmt: skip
            yield replace(sample, group=group), about

    def _objects(
        self, findings: FindingTable, regions: Sequence[Region], lattices: Lattices
    ) -> list[KnownObject]:
        """Return what is known on the lattice; to a segmenter, what has no outline is neither object nor background."""
        objects, unmeasured = known_objects(findings, regions, lattices, self.rule)
        self.count("objects without a size, ignored", unmeasured)
        if self.configuration.task != "segmentation":
            return objects
        outlined = [one if one.outlines else replace(one, is_ignored=True) for one in objects]
        hidden = sum(a.is_ignored != b.is_ignored for a, b in zip(objects, outlined, strict=True))
        self.count("objects without an outline, ignored", hidden)
        return outlined

    def _places(
        self, prepared: Prepared, objects: Sequence[KnownObject]
    ) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], bool]]:
        """Yield where samples begin, how large they are, and whether one is the whole image."""
        patch = self.configuration.sampler.arguments.get("shape") or ()
        shape = tile_shape(prepared.shape, prepared.channels, self.options.tile, patch)
        starts = tile_starts(prepared.shape, shape, self.options.overlap, is_shifted=self.options.is_shifted)
        is_whole = len(starts) == 1
        rule = self.configuration.tiling.get("skip", {}).get("rule", "none")
        foreground = None if is_whole else prepared.foreground(rule)
        boxes = _boxes_of(objects, len(shape))
        for start in starts:
            if holds_something(foreground, start, shape) or _touches(boxes, start, shape):
                yield start, shape, is_whole
            else:
                self.count("tiles of air or glass, left out", 1)

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
        places, left_out = places_of(known, candidates, self._doubted, self.rule)
        self.count("candidates that are ambiguous, left out", left_out)
        group = case.patient_key or case.case_id
        for first in range(0, len(places), CUBES_AT_ONCE):
            batch = places[first : first + CUBES_AT_ONCE]
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

    def count(self, what: str, more: int) -> None:
        """Note how often something happened that the manifest is to tell."""
        if more:
            self.counts[what] = self.counts.get(what, 0) + more


def _doubted(project: Project) -> set[str]:
    """Return the findings and candidates whose label a reader called into doubt, in any run or outside of one."""
    runs = ["", *(run.run_id for run in project.runs())]
    return {
        object_id
        for run_id in runs
        for object_id, given in project.verdicts(run_id).items()
        if given.verdict in DOUBTS
    }


def _boxes_of(objects: Sequence[KnownObject], dims: int) -> NDArray[np.float32]:
    return np.asarray([one.box for one in objects], np.float32).reshape(-1, 2 * dims)


def _touches(boxes: NDArray[np.float32], start: Sequence[int], shape: Sequence[int]) -> bool:
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
