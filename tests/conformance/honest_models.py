"""Small models that keep every promise, and the trial on which they are tried; broken ones are made of them."""

# ruff: noqa: ANN401 - models pass on whatever they are given

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_medlab.annotations import Candidate, Region
from napari_medlab.conformance import Trial
from napari_medlab.errors import InputRefusedError
from napari_medlab.models.inference.mask_store import MaskStore
from napari_medlab.protocols import Batch, MaskPart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken

CENTRES = [(6, 8, 10), (6, 30, 12), (14, 10, 32), (15, 30, 34)]
SPACING = (2.0, 1.0, 1.25)


def balls() -> Trial:
    """Return a volume with four bright balls, each a little darker than the one before."""
    axes = np.indices((22, 40, 44))
    pixels = np.zeros(axes.shape[1:], np.int16)
    for number, centre in enumerate(CENTRES):
        steps = [(axes[axis] - centre[axis]) * SPACING[axis] for axis in range(3)]
        pixels[sum(step**2 for step in steps) <= 16] = 1000 - 100 * number
    return Trial.of_array(pixels, SPACING, CENTRES, size=8.0)


def discs() -> Trial:
    """Return a slide with bright discs."""
    rows, columns = np.indices((256, 256))
    pixels = np.zeros((256, 256), np.uint8)
    centres = [(60, 70), (180, 200)]
    for row, column in centres:
        pixels[(rows - row) ** 2 + (columns - column) ** 2 <= 100] = 255
    return Trial.of_array(pixels, (1.0, 1.0), centres, size=20.0, kind="slide")


def refuse(image: Image, kind: str) -> None:
    """Refuse images of other kinds."""
    if image.kind != kind:
        raise InputRefusedError(f"{image.path} is a {image.kind}.", code="wrong-kind")


def objects(pixels: NDArray[Any]) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Yield the middle and the score of each bright object."""
    labels, count = ndimage.label(pixels > 100)
    for number in range(1, count + 1):
        where = np.argwhere(labels == number)
        yield where.mean(axis=0), float(min(pixels[tuple(where[0])] / 2000, 1.0))


class HonestDetector:
    """Labels what is bright in a volume."""

    def detect(
        self, image: Image, case_id: str, cancel: CancelToken, *, focus: Any = None, on_progress: Any = None
    ) -> Iterator[Batch]:
        refuse(image, "volume")
        cancel.check()
        seen = image.oriented()
        found = list(objects(seen.decoded()))
        for number, (index, score) in enumerate(found, start=1):
            cancel.check()
            yield self.batch(image, seen, case_id, index, score)
            if on_progress is not None:
                on_progress(number, len(found))

    def batch(
        self, image: Image, seen: Image, case_id: str, index: NDArray[np.float64], score: float
    ) -> Batch:
        centre = tuple(seen.grid.to_world(index).tolist())
        one = Candidate(case_id, centre, score, 8.0, "ball")
        middle = image.grid.to_index(centre)
        ring = middle + np.array([(0, 0, 0), (0, 1, 0), (0, 0, 1)])
        return Batch([one], [Region(case_id, (ring,), one.candidate_id, "ball")])


class HonestSlideDetector:
    """Labels what is bright in a slide, tile by tile."""

    SIDE = 256

    def detect(
        self, image: Image, case_id: str, cancel: CancelToken, *, focus: Any = None, on_progress: Any = None
    ) -> Iterator[Batch]:
        refuse(image, "slide")
        height, width = image.grid.shape
        starts = [(y, x) for y in range(0, height, self.SIDE) for x in range(0, width, self.SIDE)]
        for number, (y, x) in enumerate(starts, start=1):
            cancel.check()
            pixels = image.arrays[0].read(
                (slice(y, min(y + self.SIDE, height)), slice(x, min(x + self.SIDE, width)))
            )
            centres = [
                (image.grid.to_world(np.add(index, (y, x))), score) for index, score in objects(pixels)
            ]
            yield Batch(
                [Candidate(case_id, tuple(at.tolist()), score, 20.0, "disc") for at, score in centres]
            )
            if on_progress is not None:
                on_progress(number, len(starts))


class HonestSegmenter:
    """Marks what is bright in a volume."""

    classes = ("ball",)

    def segment(
        self,
        image: Image,
        case_id: str,
        mask: Path,
        cancel: CancelToken,
        *,
        focus: Any = None,
        on_progress: Any = None,
    ) -> Iterator[MaskPart | Batch]:
        refuse(image, "volume")
        cancel.check()
        seen = image.oriented()
        pixels = seen.decoded()
        store = self.store(mask, seen)
        boxes = list(np.ndindex(store.counts))
        for number, index in enumerate(boxes, start=1):
            cancel.check()
            box = store.box(index)
            part = pixels[tuple(map(slice, box.start, box.stop))]
            store.write(index, self.values(part)[None])
            yield MaskPart(box.start, box.stop)
            if on_progress is not None:
                on_progress(number, len(boxes))
        cancel.check()
        self.finish(store)
        for at, score in objects(pixels):
            centre = tuple(seen.grid.to_world(at).tolist())
            yield Batch([Candidate(case_id, centre, score, 8.0, "ball")])
            cancel.check()

    def store(self, mask: Path, seen: Image) -> MaskStore:
        return MaskStore.create(mask, seen.grid, self.classes, chunk=(8, 24, 24))

    def values(self, part: NDArray[Any]) -> NDArray[np.uint8]:
        return np.where(part > 100, 255, 0).astype(np.uint8)

    def finish(self, store: MaskStore) -> None:
        store.finish()


class HonestClassifier:
    """Says how bright the voxel is in which a candidate lies."""

    def judge(self, image: Image, candidates: Sequence[Candidate], cancel: CancelToken) -> list[float]:
        refuse(image, "volume")
        cancel.check()
        pixels = image.decoded()
        return [self.score(image, pixels, one) for one in candidates]

    def score(self, image: Image, pixels: NDArray[Any], one: Candidate) -> float:
        index = np.clip(np.rint(image.grid.to_index(one.centre)).astype(int), 0, np.array(pixels.shape) - 1)
        return float(np.clip(pixels[tuple(index)] / 2000, 0, 1))
