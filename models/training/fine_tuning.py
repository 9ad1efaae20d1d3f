"""How a bundle is trained further on packages of hard examples: with what it was trained for, on small patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.augmentation import STANDARD
from napari_medlab.models.training.configuration import Change, Part
from napari_medlab.models.training.settings import as_plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.samples import Sample

__all__ = ["FineTuningPlan", "plan_of"]

PATCH_VOXELS = 40
"""Patches have at most these sides; packages hold crops a little larger."""

LESION_SHARE = 0.7

OBJECTIVES_OF = {
    "centre-heatmap": "centre-heatmap", "one-stage": "one-stage", "two-stage": "two-stage",
    "cube-classifier": "classification",
}  # fmt: skip
"""What a network is trained for, where its bundle does not say."""


@dataclass(frozen=True)
class FineTuningPlan:
    """The parts of a fine-tuning beside its recipe."""

    objective: Part
    sampler: Part
    augmentation: tuple[Change, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain JSON values."""
        return {"objective": as_plain(self.objective), "sampler": as_plain(self.sampler),
                "augmentation": as_plain(self.augmentation)}  # fmt: skip


def plan_of(parent: Bundle, samples: Sequence[Sample], multiple: int) -> FineTuningPlan:
    """Return how a bundle is trained further on samples.

    Parameters
    ----------
    parent : Bundle
        Its objective is taken where it was written down.
    samples : sequence of Sample
    multiple : int
        Sides of patches are divisible by this.

    Raises
    ------
    InputRefusedError
        Where nothing is known about how such a network is trained.
    """
    augmentation = tuple(Change(**{"arguments": {}, **change}) for change in STANDARD)
    return FineTuningPlan(_objective_of(parent), _sampler_for(parent, samples, multiple), augmentation)


def _objective_of(parent: Bundle) -> Part:
    training = parent.spec.get("training") or {}
    plans = training.get("plans") or {}
    places = [training, training.get("configuration"), *plans.values()]
    found = [place["objective"] for place in places if isinstance(place, dict) and "objective" in place]
    written = found[0] if found else None
    if isinstance(written, dict) and "name" in written:
        return Part(str(written["name"]), dict(written.get("arguments", {})))
    name = parent.spec["network"]["name"]
    if name not in OBJECTIVES_OF:
        raise InputRefusedError(
            f"Nothing is known about how {parent.name}, a network {name!r}, is trained.", code="objective",
            hint="Train it with a configuration that names an objective.",
        )  # fmt: skip
    return Part(OBJECTIVES_OF[name])


def _sampler_for(parent: Bundle, samples: Sequence[Sample], multiple: int) -> Part:
    if parent.task == "classification":
        return Part("balanced")
    room = [min(sample.shape[axis] for sample in samples) for axis in range(samples[0].dims)]
    shape = [max(multiple, min(PATCH_VOXELS, side) // multiple * multiple) for side in room]
    return Part("patches", {"shape": shape, "lesion_share": LESION_SHARE})
