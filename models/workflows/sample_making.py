"""Samples of one case: the image in whole or in tiles with its objects, or cubes around candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.classification.cubes import cut_cubes
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.workflows.sample_cubes import cube_shape, places_of, with_loose_outlines
from napari_medlab.models.workflows.sample_cutting import CaseCutter, Learner, boxes_of
from napari_medlab.models.workflows.sample_objects import ClassRule, Lattices
from napari_medlab.models.workflows.sample_tiles import holds_something, tile_shape, tile_starts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.workflows.sample_known import KnownCase
    from napari_medlab.models.workflows.sample_objects import KnownObject

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
    configuration : Configuration
    options : SampleOptions
    cancel : CancelToken
    """

    configuration: Configuration
    options: SampleOptions
    cancel: CancelToken

    def __post_init__(self) -> None:
        task, classes = self.configuration.task, tuple(self.configuration.classes)
        is_one = task == "classification" and len(classes) == 1
        self.rule = ClassRule(classes, int(is_one), self.options.other)
        self.preprocessing = Preprocessing.from_json(self.configuration.preprocessing)
        arguments = dict(self.configuration.network.arguments)
        self._cutter = CaseCutter(Learner(task, self.rule, self.preprocessing, arguments))
        self.count = self._cutter.count

    @property
    def counts(self) -> dict[str, int]:
        """How often something happened that the manifest is to tell."""
        return dict(self._cutter.counts)

    def samples_of(self, case: KnownCase) -> Made:
        """Yield the samples of a case, each with what the manifest says of it.

        Raises
        ------
        InputRefusedError, ImageRefusedError
            Where the image cannot be read or is not what the network takes, or an outline is of a class that is refused.
        CancelledError
        """
        self.cancel.check()
        image = case.open()
        return (
            self._cubes(case, image)
            if self.configuration.task == "classification"
            else self._tiles(case, image)
        )

    def _tiles(self, case: KnownCase, image: Image) -> Made:
        prepared = self.preprocessing.prepare(image)
        self._cutter.learner.check_fit(prepared)
        objects = self._cutter.objects(case.findings, case.regions(), Lattices(image.grid, prepared.grid))
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
            yield replace(sample, group=case.patient), about

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

    def _cubes(self, case: KnownCase, image: Image) -> Made:
        spacing, window = self.preprocessing.isotropic_mm, self.preprocessing.window
        shape = cube_shape(self.configuration, self.options.margin)
        known = with_loose_outlines(case.findings, case.regions(), image.grid)
        places, left_out = places_of(known, case.candidates, case.doubted, self.rule)
        self.count("candidates that are ambiguous, left out", left_out)
        for first in range(0, len(places), CUBES_AT_ONCE):
            batch = places[first : first + CUBES_AT_ONCE]
            centres = [place.centre for place in batch]
            cubes = cut_cubes(image, centres, spacing, shape, window, self.cancel.check)
            for cube, place in zip(cubes, batch, strict=True):
                self.cancel.check()
                sample = Sample.without_boxes(cube.astype(np.float16), label=place.label, group=case.patient)
                yield sample, {"label": place.label, "object_id": place.object_id}


def _touches(boxes: NDArray[np.float32], start: Sequence[int], shape: Sequence[int]) -> bool:
    """Tell whether any object reaches into a tile."""
    low = np.asarray(start) - 0.5
    high, dims = low + np.asarray(shape), len(shape)
    return bool(((boxes[:, dims:] > low) & (boxes[:, :dims] < high)).all(axis=1).any())
