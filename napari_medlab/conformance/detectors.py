"""What every detector has to keep to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np

from napari_medlab.conformance.contract import expect
from napari_medlab.conformance.finding import FindingContract, Progress
from napari_medlab.conformance.trials import CASE, CountingTiles
from napari_medlab.jobs import CancelToken
from napari_medlab.protocols import Batch, Detector

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medlab.images import Image

__all__ = ["DetectorContract"]

REPEATS, TILE = 6, 256


class DetectorContract(FindingContract):
    """Tests for a :class:`napari_medlab.protocols.Detector`: subclass it in pytest and say how yours is made."""

    def pieces(
        self, image: Image, cancel: CancelToken, *, focus: Sequence[float] | None = None, on_progress: Progress | None = None
    ) -> Iterator[Any]:  # fmt: skip
        """Yield the batches of an image."""
        return iter(self.model.detect(image, CASE, cancel, focus=focus, on_progress=on_progress))

    def test_it_is_a_detector_that_yields_batches(self) -> None:
        """It has the method that detectors have, which yields batches."""
        expect(
            isinstance(self.model, Detector), "A detector has a method detect.", f"{type(self.model).__name__} has none.",
            "name it detect(self, image, case_id, cancel, *, focus=None, on_progress=None).",
        )  # fmt: skip
        odd = [piece for piece in self._outcome.pieces if not isinstance(piece, Batch)]
        expect(
            not odd,
            "It yields Batch objects alone.",
            f"{odd[:1]!r:.120}.",
            "yield Batch(list_of_candidates).",
        )

    def test_it_reads_no_more_of_a_slide_than_it_has_looked_at(self) -> None:
        """It reads no more of a slide than it has looked at."""
        if self._trial.image.kind != "slide":
            raise SkipTest("only slides are larger than what may be read at once")
        image, tiles = self._large()
        cancel = CancelToken()
        pieces = self.pieces(image, cancel)
        next(pieces, None)
        cancel.cancel("it has read enough")
        list(_until_cancelled(pieces))
        expect(
            2 * len(tiles.read) <= tiles.count, "A slide is read tile by tile.",
            f"{len(tiles.read)} of its {tiles.count} tiles were decoded for the first batch.",
            "read boxes of image.arrays[0] as you come to them, and never image.decoded().",
        )  # fmt: skip

    def _large(self) -> tuple[Image, CountingTiles]:
        """Return the trial's image many times side by side, with two smaller levels, and what counts its tiles."""
        pixels = self._trial.image.decoded()
        whole = np.tile(pixels, (REPEATS, REPEATS, *[1] * (pixels.ndim - 2)))
        tiles = CountingTiles(whole, TILE)
        levels = (tiles, *(CountingTiles(whole[::step, ::step], TILE) for step in (4, 16)))
        grid = self._trial.image.grid
        return replace(self._trial.image, sources=levels, grid=replace(grid, shape=whole.shape[:2])), tiles


def _until_cancelled(pieces: Iterator[Any]) -> Iterator[Any]:
    from napari_medlab.jobs import CancelledError

    try:
        yield from pieces
    except CancelledError:
        return
