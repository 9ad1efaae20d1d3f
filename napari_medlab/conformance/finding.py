"""What detectors and segmenters promise of the objects that they find."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from unittest import SkipTest

import numpy as np

from napari_medlab.conformance.contract import (
    ModelContract,
    NotKeptError,
    expect,
    expect_owned,
    expect_usable,
)
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.protocols import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["FindingContract", "Progress", "Run"]

NEAR_VOXELS = 1.0
"""How far apart two centres of one object may lie, in voxels of the image."""
SCORE = 1e-3


class Progress:
    """Takes note of what a model tells of its progress."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        """Take note of one step."""
        self.told.append((done, total))


class Run:
    """What came out of one image.

    Attributes
    ----------
    batches : list of Batch
    pieces : list
        Everything that was yielded, in order.
    """

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces
        self.batches = [piece for piece in pieces if isinstance(piece, Batch)]
        self.candidates = [one for batch in self.batches for one in batch.candidates]

    def places(self) -> NDArray[np.float64]:
        """Return centre and score of each candidate, (n, dims + 1), best first."""
        rows = sorted((-one.score, *one.centre) for one in self.candidates)
        dims = len(rows[0]) if rows else 1
        return np.asarray([[*row[1:], -row[0]] for row in rows], np.float64).reshape(-1, dims)


class FindingContract(ModelContract):
    """The part of the contract that is about objects found, batches, progress and focus."""

    def pieces(
        self, image: Image, cancel: CancelToken, *, focus: Sequence[float] | None = None, on_progress: Progress | None = None
    ) -> Iterator[Any]:  # fmt: skip
        """Yield what the model yields on an image."""
        raise NotImplementedError

    def run(
        self, image: Image, focus: Sequence[float] | None = None, progress: Progress | None = None
    ) -> Run:
        """Return what came out of an image."""
        return Run(list(self.pieces(image, CancelToken(), focus=focus, on_progress=progress)))

    def outcome(self, image: Image, cancel: CancelToken | None = None) -> Run:
        """Return what came out of an image."""
        return self.run(image)

    def count(self, image: Image, cancel: CancelToken) -> int:
        """Return how many pieces come before the model ends."""
        return sum(1 for _ in self.pieces(image, cancel))

    def is_same(self, one: Run, other: Run) -> bool:
        """Tell whether the same objects were found."""
        first, second = one.places(), other.places()
        return first.shape == second.shape and np.allclose(first, second, atol=SCORE)

    def told(self, outcome: Run) -> str:
        """Return how many objects there are, and the best."""
        return f"{len(outcome.candidates)} objects, the best {outcome.places()[:1].tolist()}"

    def test_it_finds_what_is_there(self) -> None:
        """It finds an object of the trial image where it is."""
        image, findings = self._trial.image, self._trial.findings
        spacing = min(image.grid.spacing)
        hits = [
            one
            for one in self._outcome.candidates
            for known in findings
            if np.linalg.norm(np.subtract(one.centre, known.centre))
            <= max(known.diameter, 0) / 2 + 2 * spacing
        ]
        self.expect_found(
            bool(hits), f"At least one of the {len(findings)} objects of the trial image is found where it is.",
            f"{self.told(self._outcome)}; the objects are at {[np.round(f.centre, 1).tolist() for f in findings[:3]]}.",
            "check coordinates (world is x, y[, z]); or override trial() with an image on which your model finds something.",
        )  # fmt: skip

    def test_what_it_finds_can_be_used(self) -> None:
        """Candidates are finite, inside the image, scored 0 to 1, and have ids of their own."""
        run = self._outcome
        expect_usable(run.candidates, self._trial.image, self.classes)
        for batch in run.batches:
            expect_owned(batch.regions, batch.candidates, self._trial.image)

    def test_an_image_that_was_moved_gives_the_same_objects_there(self) -> None:
        """An image moved in the world gives the same objects, moved as far."""
        trial, offset = self.moved()
        there = self.run(trial.image)
        back = there.places()
        if len(back):
            back[:, :-1] -= offset
        self._expect_same_places(back, f"An image moved by {offset} gives the same objects, moved as far.")

    def test_a_volume_that_is_stored_in_another_order_gives_the_same_objects(self) -> None:
        """A volume stored in another order of axes gives the same objects."""
        if self._trial.image.grid.ndim != 3:
            raise SkipTest("planar images have one order of axes")
        places = self.run(self._trial.turned().image).places()
        self._expect_same_places(
            places,
            "A volume whose array axes are swapped and reversed, and that lies where it lay, gives the same objects.",
        )

    def test_it_stops_within_a_batch(self) -> None:
        """Cancelled at work, it stops within one batch."""
        cancel = CancelToken()
        pieces = self.pieces(self._trial.image, cancel)
        next(pieces, None)
        cancel.cancel("stopped after the first batch")
        more = 0
        try:
            for _ in pieces:
                more += 1
        except CancelledError:
            pass
        expect(
            more <= 1, "It stops within one batch of being cancelled.", f"{more} more results.",
            "call cancel.check() before each piece of work.",
        )  # fmt: skip

    def test_it_tells_its_progress(self) -> None:
        """Its progress grows and ends at the total."""
        progress = Progress()
        self.run(self._trial.image, progress=progress)
        told = progress.told
        is_monotone = all(a[0] <= b[0] for a, b in pairwise(told))
        expect(
            bool(told) and is_monotone and all(0 <= done <= total for done, total in told) and told[-1][0] == told[-1][1],
            "Progress (done, total) grows, never beyond the total, and ends at it.", f"{told[:3]} … {told[-3:]}.",
            "call on_progress(done, total) after each tile, the last time with done == total.",
        )  # fmt: skip

    def test_it_takes_a_focus(self) -> None:
        """It takes a point to begin at."""
        grid = self._trial.image.grid
        corner = tuple(grid.to_world([0.0] * grid.ndim).tolist())
        try:
            run = self.run(self._trial.image, focus=corner)
        except Exception as error:
            raise NotKeptError(
                f"It takes a focus, a point of the world to begin at. Got: {type(error).__name__}: {error}. "
                "Do: accept the keyword, and look there first or ignore it."
            ) from error
        expect(
            bool(run.candidates) == bool(self._outcome.candidates), "A focus changes the order and not what is found.",
            f"{len(run.candidates)} objects with it, {len(self._outcome.candidates)} without.", "look at the whole image.",
        )  # fmt: skip

    def _expect_same_places(self, places: NDArray[np.float64], promise: str) -> None:
        here = self._outcome.places()
        near = NEAR_VOXELS * max(self._trial.image.grid.spacing)
        is_there = len(places) == len(here) and all(
            (np.linalg.norm(places[:, :-1] - place, axis=1) <= near).any() for place in here[:, :-1]
        )
        expect(
            is_there, promise, f"{len(places)} objects, the best {places[:1].round(1).tolist()}; expected {len(here)}, the best "
            f"{here[:1].round(1).tolist()}.",
            "turn indices into the world by image.grid.to_world alone, and start from image.oriented().",
        )  # fmt: skip
