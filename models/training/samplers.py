"""Which samples a batch is made of: all samplers, and the closed table of those that a configuration may name.

A sampler has ``draw(rng, count) -> list[Sample]``. Those that remember something have ``state()`` and ``restore(state)``,
and those that learn from the losses ``feedback(samples, losses)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.hardcases.near_misses import is_near_miss
from napari_medlab.models.closed_tables import ClosedTable
from napari_medlab.models.training.hard_mining import HardMiningSampler
from napari_medlab.models.training.learning_samplers import MixedSampler, OhemSampler
from napari_medlab.models.training.row_samplers import (
    BalancedSampler,
    OrderedSampler,
    PatchSampler,
    WeightedSampler,
    steps_for,
)
from napari_medlab.models.training.sample_store import SampleStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_medlab.models.training.feed import Sampler
    from napari_medlab.models.training.row_samplers import Samples

__all__ = [
    "SAMPLERS",
    "BalancedSampler",
    "HardMiningSampler",
    "MixedSampler",
    "OhemSampler",
    "OrderedSampler",
    "PatchSampler",
    "SampleStore",
    "WeightedSampler",
    "build_sampler",
    "is_near_miss",
    "steps_for",
]

SAMPLERS = ClosedTable(
    "sampler",
    {
        "balanced": ("napari_medlab.models.training.row_samplers", "BalancedSampler"),
        "hard-mining": ("napari_medlab.models.training.hard_mining", "HardMiningSampler"),
        "mixed": ("napari_medlab.models.training.learning_samplers", "mixed_sampler"),
        "ohem": ("napari_medlab.models.training.learning_samplers", "OhemSampler"),
        "ordered": ("napari_medlab.models.training.row_samplers", "OrderedSampler"),
        "patches": ("napari_medlab.models.training.row_samplers", "PatchSampler"),
        "weighted": ("napari_medlab.models.training.row_samplers", "WeightedSampler"),
    },
)
"""What a configuration may name."""


def build_sampler(name: str, samples: Samples, arguments: Mapping[str, Any]) -> Sampler:
    """Return the sampler that a configuration names, over samples.

    Raises
    ------
    InputRefusedError
        Where the name is not in the table or the arguments do not fit.
    """
    sampler: Sampler = SAMPLERS.build(name, arguments, samples)
    return sampler
