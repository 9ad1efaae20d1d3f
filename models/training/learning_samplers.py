"""Samplers that learn from the losses, and that mix new samples with old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.row_samplers import RowSampler, rounded_by_chance

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from napari_medlab.models.training.feed import Sampler
    from napari_medlab.models.training.row_samplers import Samples
    from napari_medlab.models.training.samples import Sample

__all__ = ["MixedSampler", "OhemSampler", "mixed_sampler"]


class OhemSampler(RowSampler):
    """Draws a share of every batch by how great the loss of each sample was when it was last seen.

    The rest is drawn evenly, so that no sample is ever given up. Samples that were not seen yet count as the worst.
    Practitioners found that this alone can make a model worse: label errors have great losses for ever. Compare.

    Parameters
    ----------
    samples, shape, lesion_share : see :class:`~napari_medlab.models.training.row_samplers.RowSampler`
    hard_share : float
        What share of a batch is drawn by loss.
    memory : float
        How much of what is remembered of a sample stays when it is seen again, from 0 to below 1.

    References
    ----------
    A. Shrivastava, A. Gupta and R. Girshick, "Training region-based object detectors with online hard example mining",
    CVPR 2016; over samples as I. Loshchilov and F. Hutter, "Online batch selection for faster training of neural
    networks", 2015.
    """

    def __init__(
        self, samples: Samples, hard_share: float = 0.5, memory: float = 0.5,
        shape: Sequence[int] | None = None, lesion_share: float = 0.7,
    ) -> None:  # fmt: skip
        super().__init__(samples, shape, lesion_share)
        if not 0 <= hard_share <= 1 or not 0 <= memory < 1:
            raise InputRefusedError(
                f"The hard share is from 0 to 1 and the memory from 0 to below 1; got {hard_share} and {memory}.",
                code="sampler-arguments",
            )
        self._hard_share, self._memory = hard_share, memory
        self._losses = np.full(len(self.store), np.nan)
        self._row_of: WeakKeyDictionary[Sample, int] = WeakKeyDictionary()

    def rows(self, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
        """Return rows in random order, some drawn by loss and the others evenly."""
        hard = rounded_by_chance(rng, count * self._hard_share)
        by_loss = rng.choice(len(self.store), hard, p=self.probabilities())
        return rng.permutation(np.concatenate([by_loss, rng.integers(len(self.store), size=count - hard)]))

    def probabilities(self) -> NDArray[np.float64]:
        """Return with which probability each sample is drawn by loss, (n,)."""
        greatest = np.nanmax(self._losses, initial=0.0)
        losses = np.where(np.isnan(self._losses), greatest, self._losses)
        total = losses.sum()
        shares: NDArray[np.float64] = losses / total if total > 0 else np.full(len(losses), 1 / len(losses))
        return shares

    def feedback(self, samples: Sequence[Sample], losses: Sequence[float]) -> None:
        """Remember the losses of samples, which are those that were drawn, the same objects.

        Raises
        ------
        ValueError
            Where a sample was not drawn from here.
        """
        for sample, loss in zip(samples, losses, strict=True):
            if sample not in self._row_of:
                msg = "A sampler is told the losses of the samples that it drew, before they are changed."
                raise ValueError(msg)
            row = self._row_of[sample]
            before = self._losses[row]
            new = max(float(loss), 0.0) if np.isfinite(loss) else 0.0
            self._losses[row] = new if np.isnan(before) else self._memory * before + (1 - self._memory) * new

    def state(self) -> dict[str, Any]:
        """Return the losses that are remembered, None for samples that were not seen yet."""
        return {"losses": [None if np.isnan(loss) else float(loss) for loss in self._losses]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on with losses that were remembered."""
        self._losses = np.array(
            [np.nan if loss is None else loss for loss in state["losses"]], dtype=np.float64
        )

    def _cut(self, rng: np.random.Generator, row: int) -> Sample:
        sample = super()._cut(rng, row)
        self._row_of[sample] = row
        return sample


def mixed_sampler(
    samples: Samples,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    new_in: Sequence[str],
    replay_share: float = 0.5,
) -> MixedSampler:
    """Return a sampler that mixes new samples with old ones, told apart by the folders that they lie in.

    Parameters
    ----------
    samples : paths of samples, or a store of them
    old, new : mapping
        What draws from each: ``name`` and ``arguments``, as configurations name samplers.
    new_in : sequence of str
        The names of the folders, without what is above them, whose samples are new; all others are old.
    replay_share : float
        As :class:`MixedSampler` takes it.

    Raises
    ------
    InputRefusedError
        Where no sample is new, or none is old.
    """
    from napari_medlab.models.training.sample_store import SampleStore
    from napari_medlab.models.training.samplers import build_sampler

    store = SampleStore.of(samples)
    is_new = np.asarray([about.folder in new_in for about in store.abouts], np.bool_)
    if is_new.all() or not is_new.any():
        raise InputRefusedError(
            f"Of {len(is_new)} samples {int(is_new.sum())} lie in a folder called {' or '.join(new_in)}; old and new ones are "
            "to be mixed.",
            code="sampler-arguments", hint="Give the folders of both after --samples, and name the new ones in new_in.",
        )  # fmt: skip
    parts = {
        "old": build_sampler(str(old["name"]), store.part(~is_new), old.get("arguments", {})),
        "new": build_sampler(str(new["name"]), store.part(is_new), new.get("arguments", {})),
    }
    return MixedSampler(parts["old"], parts["new"], replay_share)


class MixedSampler:
    """Draws a share of every batch from old samples, so that what was learnt is not forgotten, the rest from new ones.

    Parameters
    ----------
    old, new : Sampler
    replay_share : float
        The share of old ones; half and half is what was tried and measured.
    """

    def __init__(self, old: Sampler, new: Sampler, replay_share: float = 0.5) -> None:
        if not 0 <= replay_share <= 1:
            raise InputRefusedError(
                f"The share of old samples is from 0 to 1, got {replay_share}.", code="sampler-arguments"
            )
        self._samplers = {"old": old, "new": new}
        self._replay_share = replay_share
        self._drawn_by: WeakKeyDictionary[Sample, str] = WeakKeyDictionary()
        learns = any(hasattr(sampler, "feedback") for sampler in self._samplers.values())
        self.feedback: Callable[[Sequence[Sample], Sequence[float]], None] | None = (
            self._tell if learns else None
        )
        """Tells the samplers that learn from them the losses of what they drew; None where neither does."""

    def draw(self, rng: np.random.Generator, count: int) -> list[Sample]:
        """Return ``count`` samples in random order."""
        old = rounded_by_chance(rng, count * self._replay_share)
        drawn: list[Sample] = []
        for name, number in (("old", old), ("new", count - old)):
            for sample in self._samplers[name].draw(rng, number):
                self._drawn_by[sample] = name
                drawn.append(sample)
        return [drawn[row] for row in rng.permutation(count)]

    def state(self) -> dict[str, Any]:
        """Return what the two remember."""
        return {name: s.state() for name, s in self._samplers.items() if hasattr(s, "state")}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned."""
        for name, of_sampler in state.items():
            sampler: Any = self._samplers[name]
            sampler.restore(of_sampler)

    def _tell(self, samples: Sequence[Sample], losses: Sequence[float]) -> None:
        for name, sampler in self._samplers.items():
            told = [row for row, sample in enumerate(samples) if self._drawn_by.get(sample) == name]
            if told and hasattr(sampler, "feedback"):
                sampler.feedback([samples[row] for row in told], [losses[row] for row in told])
