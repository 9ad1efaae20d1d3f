"""What every classifier has to keep to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Candidate
from napari_medlab.conformance.contract import ModelContract, expect
from napari_medlab.conformance.trials import CASE
from napari_medlab.jobs import CancelToken
from napari_medlab.protocols import Classifier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.images import Image

__all__ = ["ClassifierContract"]

PROBABILITY = 1e-3


class ClassifierContract(ModelContract):
    """Tests for a :class:`napari_medlab.protocols.Classifier`: subclass it in pytest and say how yours is made."""

    def outcome(self, image: Image, cancel: CancelToken | None = None) -> list[float]:
        """Return the probabilities of some places of an image."""
        return self.judged(image, self.candidates(image))

    def count(self, image: Image, cancel: CancelToken) -> int:
        """Return how many candidates are judged."""
        return len(self.model.judge(image, self.candidates(image), cancel))

    def is_same(self, one: Sequence[float], other: Sequence[float]) -> bool:
        """Tell whether probabilities are the same."""
        return len(one) == len(other) and np.allclose(one, other, atol=PROBABILITY)

    def judged(self, image: Image, candidates: Sequence[Candidate]) -> list[float]:
        """Return what the model says of candidates."""
        return list(self.model.judge(image, candidates, CancelToken()))

    def candidates(self, image: Image) -> list[Candidate]:
        """Return candidates where something is on the trial, and on a lattice of other places, corners included."""
        known = [one.centre for one in self._trial.findings] if image is self._trial.image else []
        steps = [np.linspace(0, size - 1, 3) for size in image.grid.shape]
        lattice = np.stack([axis.ravel() for axis in np.meshgrid(*steps, indexing="ij")], axis=1)
        places = [*known, *map(tuple, image.grid.to_world(lattice).tolist())]
        return [Candidate(CASE, tuple(map(float, place)), 0.5, 8.0) for place in places]

    def test_it_is_a_classifier(self) -> None:
        """It has the method that classifiers have."""
        expect(
            isinstance(self.model, Classifier), "A classifier has a method judge.", f"{type(self.model).__name__} has none.",
            "name it judge(self, image, candidates, cancel).",
        )  # fmt: skip

    def test_it_gives_one_probability_for_each(self) -> None:
        """It gives one probability, 0 to 1, for each candidate."""
        count, given = len(self.candidates(self._trial.image)), np.asarray(self._outcome, np.float64)
        expect(
            given.shape == (count,), "One number for each candidate.", f"{given.shape} for {count}.",
            "return a list as long as the candidates.",
        )  # fmt: skip
        expect(
            bool(((given >= 0) & (given <= 1)).all()), "They go from 0 to 1.",
            f"{given.min():g} to {given.max():g}.", "turn logits into probabilities.",
        )  # fmt: skip

    def test_it_keeps_their_order(self) -> None:
        """Each candidate keeps its probability in whatever order they come."""
        candidates = self.candidates(self._trial.image)
        backwards = self.judged(self._trial.image, candidates[::-1])[::-1]
        expect(
            self.is_same(self._outcome, backwards), "Candidates in another order get the same probabilities, each its own.",
            f"{np.round(backwards[:4], 3).tolist()}, expected {np.round(self._outcome[:4], 3).tolist()}.",
            "return them in the order of the candidates, and judge each by itself.",
        )  # fmt: skip

    def test_it_judges_one_alone_as_among_others(self) -> None:
        """A candidate alone is judged as it is among others."""
        candidates = self.candidates(self._trial.image)
        alone = self.judged(self._trial.image, candidates[:1])
        expect(
            self.is_same(alone, self._outcome[:1]), "A candidate alone gets the probability that it has among others.",
            f"{alone}, expected {self._outcome[:1]}.", "normalise by nothing but the candidate's own surroundings.",
        )  # fmt: skip

    def test_nothing_to_judge_is_no_error(self) -> None:
        """An empty list of candidates gives an empty list."""
        try:
            got = repr(self.judged(self._trial.image, []))
        except Exception as error:  # noqa: BLE001 - any one is an empty list that is not taken
            got = f"{type(error).__name__}: {error}"
        expect(got == "[]", "No candidates give no probabilities.", f"{got}.", "return [] for an empty list.")

    def test_places_are_those_of_the_world(self) -> None:
        """Image and candidates that move together are judged as before."""
        trial, offset = self.moved()
        candidates = [
            replace(one, centre=tuple(np.add(one.centre, offset).tolist()))
            for one in self.candidates(self._trial.image)
        ]
        there = self.judged(trial.image, candidates)
        expect(
            self.is_same(self._outcome, there), f"Image and candidates moved together by {offset} are judged as before.",
            f"{np.round(there[:4], 3).tolist()}, expected {np.round(self._outcome[:4], 3).tolist()}.",
            "turn centres into indices by image.grid.to_index(centre).",
        )  # fmt: skip

    def test_it_tells_objects_from_their_surroundings(self) -> None:
        """An object on the trial image is more probable than most other places."""
        count = len(self._trial.findings)
        there, elsewhere = self._outcome[:count], self._outcome[count:]
        self.expect_found(
            bool(count) and max(there) > float(np.median(elsewhere)),
            "At least one object of the trial image is more probable than half of the places where nothing is.",
            f"{max(there, default=0):.3g} at most, against {float(np.median(elsewhere)):.3g}.",
            "check coordinates (world is x, y[, z]); or override trial() with an image on which your model works.",
        )  # fmt: skip
