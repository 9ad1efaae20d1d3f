"""What detectors, segmenters and classifiers have to keep to alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn
from unittest import SkipTest

import numpy as np

from napari_medlab.conformance.trials import CASE, Trial, usual_trial
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_medlab.annotations import Candidate, Region
    from napari_medlab.images import Image
    from napari_medlab.images.image import Kind

__all__ = ["ModelContract", "NotKeptError", "expect"]

KINDS: tuple[Kind, ...] = ("volume", "slide", "mammogram", "photo")
OFFSETS = {"mm": (31.25, -57.5, 113.0), "um": (3125.0, -5750.0, 0.0), "px": (312.0, -575.0, 0.0)}
"""How far a trial is moved, (x, y, z), different along each axis."""


class NotKeptError(AssertionError):
    """A model does not keep to its contract; says what was promised, what it did, and what to do."""


def expect(is_kept: bool, promise: str, got: str, todo: str) -> None:
    """Raise :class:`NotKeptError` where a promise was not kept.

    Parameters
    ----------
    is_kept : bool
    promise, got, todo : str
        What every model promises, what this one did, and what its maker can do: a sentence each.
    """
    if not is_kept:
        raise NotKeptError(f"{promise} Got: {got} Do: {todo}")


class ModelContract:
    """The base of the three contracts; each method that begins with ``test_`` is one check.

    Attributes
    ----------
    make : callable
        Makes the model, without arguments; called once for a class.
    kinds : tuple of str
        The kinds of image that the model reads; it is tried on the first.
    classes : tuple of str
        The labels that it gives; not looked at where empty.
    must_find : bool
        Whether finding nothing that is known on the trial image is a failure; where it is not, those checks do not apply.
    """

    make: ClassVar[Callable[[], Any]]
    kinds: ClassVar[tuple[Kind, ...]] = ("volume",)
    classes: ClassVar[tuple[str, ...]] = ()
    must_find: ClassVar[bool] = True
    _kept: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **rest: Any) -> None:  # noqa: ANN401 - passed on
        super().__init_subclass__(**rest)
        cls._kept = {}

    def trial(self) -> Trial:
        """Return the image that the model is tried on, on which it is to find something; a phantom where not overridden."""
        return usual_trial(self.kinds[0])

    def outcome(self, image: Image, cancel: CancelToken | None = None) -> Any:  # noqa: ANN401 - of each kind its own
        """Return what the model makes of an image, to be compared."""
        raise NotImplementedError

    def count(self, image: Image, cancel: CancelToken) -> int:
        """Return how many pieces come before the model ends; used to see whether it stops."""
        raise NotImplementedError

    def is_same(self, one: Any, other: Any) -> bool:  # noqa: ANN401 - as above
        """Tell whether two outcomes are the same."""
        raise NotImplementedError

    # -- what all of them promise ---------------------------------------------------------------------------------

    def test_it_gives_the_same_again(self) -> None:
        """The same image gives the same result."""
        again = self.outcome(self._trial.image)
        expect(
            self.is_same(self._outcome, again), "The same image gives the same result.",
            f"{self.told(self._outcome)} first, then {self.told(again)}.",
            "seed what is random, and keep nothing from one image to the next.",
        )  # fmt: skip

    def test_it_leaves_the_pixels_alone(self) -> None:
        """The pixels of the image stay as they are."""
        before = self._trial.image.decoded().copy()
        self.outcome(self._trial.image)
        changed = int((self._trial.image.decoded() != before).sum())
        expect(
            changed == 0,
            "A model only reads the image.",
            f"{changed} values were changed.",
            "work on a copy.",
        )

    def test_it_stops_before_it_begins(self) -> None:
        """Cancelled before it begins, it raises CancelledError."""
        cancel = CancelToken()
        cancel.cancel("stopped before it began")
        self._expect_cancelled(cancel, "It was cancelled before it began")

    def test_it_takes_an_empty_image(self) -> None:
        """An image of one value does not crash it."""
        self._expect_no_crash(self._trial.empty(), "an image of one value")

    def test_it_takes_a_tiny_image(self) -> None:
        """An image smaller than a tile does not crash it."""
        self._expect_no_crash(self._trial.tiny(), "an image smaller than a tile")

    def test_it_refuses_images_of_another_kind(self) -> None:
        """Kinds of image that it does not read are refused."""
        for kind in set(KINDS) - set(self.kinds):
            todo = f"raise InputRefusedError for image.kind == {kind!r}, or name it among the kinds that it reads."
            try:
                self.outcome(self._trial.of_kind(kind).image)
            except InputRefusedError:
                continue
            except Exception as error:  # noqa: BLE001 - any other one is what is looked for
                self._fail(
                    f"An image that it does not read ({kind}) is refused.",
                    f"{type(error).__name__}: {error}.",
                    todo,
                )
            self._fail(f"An image that it does not read ({kind}) is refused.", "a result.", todo)

    # -- inside ---------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Any:  # noqa: ANN401 - of each kind its own
        """The model, made once."""
        return self._once("model", type(self).make)

    @property
    def _trial(self) -> Trial:
        trial: Trial = self._once("trial", self.trial)
        return trial

    @property
    def _outcome(self) -> Any:  # noqa: ANN401 - as above
        return self._once("outcome", lambda: self.outcome(self._trial.image))

    def told(self, outcome: Any) -> str:  # noqa: ANN401 - as above
        """Return an outcome in a few words."""
        return f"{outcome!r:.200}"

    def moved(self) -> tuple[Trial, tuple[float, ...]]:
        """Return the trial in another place, and how far it was moved."""
        grid = self._trial.image.grid
        offset = OFFSETS[grid.unit][: grid.ndim]
        return self._trial.moved(offset), offset

    def expect_found(self, is_found: bool, promise: str, got: str, todo: str) -> None:
        """Do as :func:`expect` does where the model has to find something on the trial image."""
        if not is_found and not self.must_find:
            raise SkipTest("what it was made to find may not be on this image")
        expect(is_found, promise, got, todo)

    def _once(self, name: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever is made
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def _expect_cancelled(self, cancel: CancelToken, when: str) -> None:
        try:
            pieces = self.count(self._trial.image, cancel)
        except CancelledError:
            return
        self._fail(
            f"{when}, and it raises CancelledError.", f"it went on to its end, with {pieces} more results.",
            "call cancel.check() before each piece of work.",
        )  # fmt: skip

    def _expect_no_crash(self, trial: Trial, what: str) -> None:
        try:
            self.outcome(trial.image)
        except InputRefusedError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a crash
            self._fail(
                f"It takes {what} of shape {trial.image.shape}, or refuses it with InputRefusedError.",
                f"{type(error).__name__}: {error}.", "find nothing there, or say why it cannot be read.",
            )  # fmt: skip

    def _fail(self, promise: str, got: str, todo: str) -> NoReturn:
        raise NotKeptError(f"{promise} Got: {got} Do: {todo}")


def expect_usable(candidates: Sequence[Candidate], image: Image, classes: Sequence[str]) -> None:
    """Raise where candidates cannot be used on an image: what is not finite, out of range, outside, or of no class."""
    for one in candidates:
        numbers = np.asarray([*one.centre, one.diameter, one.score])
        expect(
            len(one.centre) == image.grid.ndim and bool(np.isfinite(numbers).all()),
            f"Centres have {image.grid.ndim} finite numbers, and so has what else is said of a candidate.", f"{one}.",
            "leave out what is not a number.",
        )  # fmt: skip
        expect(
            0 <= one.score <= 1,
            "Scores go from 0 to 1.",
            f"{one.score:g}.",
            "turn logits into probabilities.",
        )
        index = image.grid.to_index(one.centre)
        expect(
            bool(image.grid.contains(index)), "Candidates lie inside the image.",
            f"one at {one.centre} in the world, which is index {index.round(1).tolist()} of {image.grid.shape}.",
            "give centres in the world (x, y[, z]): image.grid.to_world(index).",
        )  # fmt: skip
        expect(
            one.case_id == CASE,
            "Candidates carry the case id that was given.",
            f"{one.case_id!r}.",
            "pass it on.",
        )
        expect(
            not classes or one.label in classes, f"Labels are among {', '.join(classes)}.", f"{one.label!r}.",
            "name every class that the model gives.",
        )  # fmt: skip
    ids = [one.candidate_id for one in candidates]
    expect(
        len(set(ids)) == len(ids), "Every candidate has an id of its own.", f"{len(set(ids))} ids for {len(ids)}.",
        "leave candidate_id out: each gets a new one.",
    )  # fmt: skip


def expect_owned(regions: Sequence[Region], candidates: Sequence[Candidate], image: Image) -> None:
    """Raise where outlines belong to no candidate of their batch, or lie outside the image."""
    ids = {one.candidate_id for one in candidates}
    for region in regions:
        expect(
            region.owner_id in ids, "An outline belongs to a candidate of the same batch.", f"owner {region.owner_id!r}.",
            "set Region.owner_id to the candidate's candidate_id.",
        )  # fmt: skip
        points = np.concatenate(region.rings) if region.rings else np.zeros((0, image.grid.ndim))
        near = (points >= -1) & (points <= np.asarray(image.grid.shape))
        expect(
            points.shape[1] == image.grid.ndim and bool(near.all()),
            "Outlines are indices of the image's level 0, in array order.",
            f"an outline from {points.min(axis=0, initial=0).tolist()} to {points.max(axis=0, initial=0).tolist()} on "
            f"{image.grid.shape}.", "give vertices as (z, y, x) or (y, x) of level 0.",
        )  # fmt: skip
