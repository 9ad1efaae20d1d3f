"""Hard-example mining in rounds: predict the training set, take its errors at a set ratio to the positives, train on."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.row_samplers import RowSampler, rounded_by_chance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from napari_medlab.models.training.row_samplers import Samples

__all__ = ["HardMiningSampler"]


class HardMiningSampler(RowSampler):
    """Draws positives and, at a set ratio to them, the negatives that a model takes for lesions.

    Before the first round negatives are drawn at random. :meth:`begin_round` chooses those of a round by their scores:
    semi-hard ones, at random among those with the highest scores, and a share of any others. Positives are always
    drawn evenly from all of them and never by a low score: what a model scores lowest there is what is wrongly
    labelled or hardly visible, and training on it destroys the model. What is ambiguous is left out.

    Parameters
    ----------
    samples, shape, lesion_share : see :class:`~napari_medlab.models.training.row_samplers.RowSampler`
    ratio : float
        Negatives for each positive, in a round and in every batch.
    widening : float
        Hard negatives are drawn from so many times as many of the highest scored.
    random_share : float
        What share of the negatives of a round is drawn from all others, whatever their scores.
    threshold : float
        Negatives scored below are no errors; they are drawn among the others alone.

    Warns
    -----
    UserWarning
        Where the hardest alone are taken (``widening`` 1 and ``random_share`` 0): known to make models worse.

    Raises
    ------
    InputRefusedError
        Where there is no positive or no negative, or an argument does not fit.
    """

    def __init__(  # noqa: PLR0913 - each is one of the rules that practitioners tried
        self,
        samples: Samples,
        ratio: float = 4.0,
        widening: float = 4.0,
        random_share: float = 0.25,
        threshold: float = 0.0,
        shape: Sequence[int] | None = None,
        lesion_share: float = 0.7,
    ) -> None:
        super().__init__(samples, shape, lesion_share)
        if ratio <= 0 or widening < 1 or not 0 <= random_share <= 1:
            raise InputRefusedError(
                f"Hard mining takes a ratio above 0, a widening of at least 1 and a random share from 0 to 1; "
                f"got {ratio}, {widening} and {random_share}.",
                code="sampler-arguments",
            )
        if widening == 1 and not random_share:
            warnings.warn(
                "The highest scored negatives alone, without others, made models worse wherever it was tried; "
                "semi-hard ones with a share of random ones did not.",
                stacklevel=2,
            )
        self._ratio, self._widening, self._random_share, self._threshold = (
            ratio,
            widening,
            random_share,
            threshold,
        )
        is_positive = self.store.classes() > 0
        self._positives, self._negatives = np.flatnonzero(is_positive), np.flatnonzero(~is_positive)
        self.round = 0
        """How many rounds were begun."""
        self.chosen = self._chosen_of(self._positives, self._negatives)
        """The rows that are drawn from: positives and negatives."""

    def begin_round(
        self, rng: np.random.Generator, scores: ArrayLike, is_ambiguous: ArrayLike | None = None
    ) -> None:
        """Choose the samples of the next round.

        Parameters
        ----------
        rng : where chance comes from
        scores : floating array (n,)
            What the model as it is says of each sample, in the order of the samples.
        is_ambiguous : bool array (n,) or None
            Samples left out, such as those of :func:`~napari_medlab.hardcases.near_misses.is_near_miss`, or those whose
            label a reader doubts.
        """
        values = np.asarray(scores, dtype=float)
        if values.shape != (len(self.store),) or not np.isfinite(values).all():
            raise InputRefusedError(
                f"A round needs a finite score for each of {len(self.store)} samples, got {values.shape}.",
                code="scores",
            )
        is_left = (
            np.ones(len(values), np.bool_) if is_ambiguous is None else ~np.asarray(is_ambiguous, np.bool_)
        )
        positives = self._positives[is_left[self._positives]]
        negatives = self._negatives[is_left[self._negatives]]
        self.chosen = self._chosen_of(positives, self._errors(rng, negatives, values, len(positives)))
        self.round += 1

    def _errors(
        self,
        rng: np.random.Generator,
        negatives: NDArray[np.intp],
        scores: NDArray[np.float64],
        positives: int,
    ) -> NDArray[np.intp]:
        """Return the negatives of a round: hard ones, then any others, as many as the ratio asks for or there are."""
        wanted = min(round(self._ratio * positives), len(negatives))
        hard = round(wanted * (1 - self._random_share))
        ranked = negatives[np.argsort(-scores[negatives], kind="stable")]
        ranked = ranked[scores[ranked] >= self._threshold]
        pool = ranked[: int(np.ceil(hard * self._widening))]
        taken = rng.permutation(pool)[:hard]
        others = rng.permutation(np.setdiff1d(negatives, taken))
        return np.concatenate([taken, others[: wanted - len(taken)]])

    def rows(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Return rows in random order; of every batch as many are positives as the ratio says."""
        positives, negatives = self.chosen
        lesions = rounded_by_chance(rng, count / (1 + self._ratio))
        drawn = np.concatenate([rng.choice(positives, lesions), rng.choice(negatives, count - lesions)])
        return rng.permutation(drawn)

    def state(self) -> dict[str, Any]:
        """Return the round and its samples."""
        positives, negatives = self.chosen
        return {"round": self.round, "positives": positives.tolist(), "negatives": negatives.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on in the middle of a round."""
        self.round = int(state["round"])
        self.chosen = self._chosen_of(
            np.array(state["positives"], dtype=np.intp), np.array(state["negatives"], dtype=np.intp)
        )

    def _chosen_of(
        self, positives: NDArray[np.intp], negatives: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        if not len(positives) or not len(negatives):
            raise InputRefusedError(
                f"Hard mining needs positives and negatives; there are {len(positives)} and {len(negatives)}.",
                code="no-samples",
            )
        return positives, negatives
