"""Samples of one case: the image in whole or in tiles with its objects, or cubes around candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.workflows.hard_pools import patient_keys
from napari_medlab.models.workflows.sample_cubes import cube_shape, places_of, with_loose_outlines
from napari_medlab.models.workflows.sample_cutting import CaseCutter, Learner, boxes_of
from napari_medlab.models.workflows.sample_objects import ClassRule, Lattices
from napari_medlab.models.workflows.sample_tiles import holds_something, tile_shape, tile_starts
from napari_medlab.project import open_case
from napari_medlab.project.keep_lists import Keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import FindingTable, Region
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

    def __post_init__(self) -> None:
        task, classes = self.configuration.task, tuple(self.configuration.classes)
        is_one = task == "classification" and len(classes) == 1
        self.rule = ClassRule(classes, int(is_one), self.options.other)
        self.preprocessing = Preprocessing.from_json(self.configuration.preprocessing)
        arguments = dict(self.configuration.network.arguments)
        self._patients, self._keys = patient_keys(self.project), Keys()
        self._cutter = CaseCutter(self.project, Learner(task, self.rule, self.preprocessing, arguments))
        self.count = self._cutter.count

    @property
    def counts(self) -> dict[str, int]:
        """How often something happened that the manifest is to tell."""
        return dict(self._cutter.counts)

    @property
    def run_key(self) -> str:
        """What the run goes by that gives the candidates."""
        return self._keys.of(self.options.run_id)

    def samples_of(self, case: CaseRecord) -> Made:
        """Yield the samples of a case, each with what the manifest says of it.

        Raises
        ------
        InputRefusedError, ImageRefusedError, ProjectError
            Where the image cannot be read or is not what the network takes, or an outline is of a class that is refused.
        CancelledError
        """
        self.cancel.check()
        findings = self._cutter.findings(case)
        regions = self._cutter.regions(case, findings)
        image = open_case(self.project, case.case_id)
        if self.configuration.task == "classification":
            return self._cubes(case, image, findings, regions)
        return self._tiles(case, image, findings, regions)

    def _tiles(
        self, case: CaseRecord, image: Image, findings: FindingTable, regions: Sequence[Region]
    ) -> Made:
        prepared = self.preprocessing.prepare(image)
        self._cutter.learner.check_fit(prepared)
        objects = self._cutter.objects(findings, regions, Lattices(image.grid, prepared.grid))
        group = self._patients[case.case_id]
        for start, shape, is_whole in self._places(prepared, objects):
            self.cancel.check()
            sample = self._cutter.tile(prepared, objects, start, shape)
            if not is_whole and not len(sample.boxes) and float(np.ptp(sample.image)) == 0:
                self.count("tiles of one value, left out", 1)
                continue
            counted = int((~sample.is_ignored).sum())
            about = {
                "start": list(start), "shape": list(shape), "objects": counted, "ignored": len(sample.boxes) - counted
            }  # fmt: skip
            yield replace(sample, group=group), about

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
        boxes = boxes_of(objects, len(shape))
        for start in starts:
            if holds_something(foreground, start, shape) or _touches(boxes, start, shape):
                yield start, shape, is_whole
            else:
                self.count("tiles of air or glass, left out", 1)

    def _cubes(
        self, case: CaseRecord, image: Image, findings: FindingTable, regions: Sequence[Region]
    ) -> Made:
        run_id = self.options.run_id
        if case.case_id not in self.project.cases_done(run_id):
            raise InputRefusedError("The run has not looked at this case.", code="not-done")
        spacing, window = self.preprocessing.isotropic_mm, self.preprocessing.window
        shape = cube_shape(self.configuration, self.options.margin)
        known = with_loose_outlines(findings, regions, image.grid)
        candidates = self.project.candidates(run_id, case.case_id)
        places, left_out = places_of(known, candidates, self._cutter.doubted, self.rule)
        self.count("candidates that are ambiguous, left out", left_out)
        group = self._patients[case.case_id]
        for first in range(0, len(places), CUBES_AT_ONCE):
            batch = places[first : first + CUBES_AT_ONCE]
            centres = [place.centre for place in batch]
            cubes = cut_cubes(image, centres, spacing, shape, window, self.cancel.check)
            for cube, place in zip(cubes, batch, strict=True):
                self.cancel.check()
                sample = Sample.without_boxes(cube.astype(np.float16), label=place.label, group=group)
                yield sample, {"label": place.label, "object_id": self._keys.of(place.object_id)}


def _touches(boxes: NDArray[np.float32], start: Sequence[int], shape: Sequence[int]) -> bool:
    """Tell whether any object reaches into a tile."""
    low = np.asarray(start) - 0.5
    high, dims = low + np.asarray(shape), len(shape)
    return bool(((boxes[:, dims:] > low) & (boxes[:, :dims] < high)).all(axis=1).any())
