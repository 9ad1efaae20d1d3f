"""How a bundle is trained further on hard examples: what is usual for its task, on patches as large as examples are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.augmentation import STANDARD
from napari_medlab.models.training.configuration import Change, Part
from napari_medlab.models.training.parts import CLASSIFIER
from napari_medlab.models.training.recipe import (
    FINE_TUNING,
    FreezeSettings,
    Recipe,
    ScheduleSettings,
    ValidationSettings,
)
from napari_medlab.models.training.settings import as_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medlab.models.training.parts import BundlePart
    from napari_medlab.models.training.sample_store import About

__all__ = [
    "FINE_TUNING_OF",
    "FineTuningPlan",
    "FineTuningRule",
    "plan_of",
    "rule_of",
    "validated",
    "with_still_parts",
]

OBJECTIVES_OF = {
    "centre-heatmap": "centre-heatmap", "scaled-heatmap": "centre-heatmap", "one-stage": "one-stage",
    "two-stage": "two-stage", "cube-classifier": "classification",
}  # fmt: skip
"""What a network is trained for, where its bundle does not say."""

LOOKS = 8
"""How often a fine-tuning looks at the examples that are held out."""

SLIDE_COLOURS: tuple[dict[str, Any], ...] = (
    {"name": "stain", "arguments": {"spread": 0.3, "shift": 0.03}, "probability": 0.8},
)

CUBES: tuple[dict[str, Any], ...] = (
    {"name": "translate", "arguments": {"most": 2}},
    {"name": "brightness", "arguments": {"gain": [0.9, 1.1], "shift": [-0.04, 0.04]}},
    {"name": "noise", "arguments": {"deviation": 0.03}, "probability": 0.5},
)


@dataclass(frozen=True)
class FineTuningRule:
    """What is usual for a task.

    Parameters
    ----------
    recipe : Recipe
        By default; a person may change it.
    patch : int
        The longest side of a patch in voxels; examples that are smaller have patches as large as they are. Of no use to
        classifiers, whose cubes are taken whole.
    lesion_share : float
        How many patches are cut around a lesion on purpose.
    positive_share : float or None
        Of classifiers of one class: what share of each batch holds a lesion.
    augmentation : tuple of dict
        Where the bundle does not say with what it was trained.
    """

    recipe: Recipe
    patch: int = 0
    lesion_share: float = 0.7
    positive_share: float | None = None
    augmentation: tuple[dict[str, Any], ...] = STANDARD


_SHORT = ScheduleSettings(warmup_steps=10)

FINE_TUNING_OF: dict[tuple[str, int], FineTuningRule] = {
    ("detection", 3): FineTuningRule(FINE_TUNING, patch=40),
    # at the rate of volumes a few dozen crops spoil what the detector of masses knows
    ("detection", 2): FineTuningRule(replace(FINE_TUNING, learning_rate=2e-4), patch=256),
    ("segmentation", 3): FineTuningRule(replace(FINE_TUNING, batch_size=2), patch=64),
    ("segmentation", 2): FineTuningRule(replace(FINE_TUNING, batch_size=8), patch=192),
    ("classification", 3): FineTuningRule(
        Recipe(steps=160, batch_size=24, learning_rate=3e-4, schedule=_SHORT, freeze_norms=True),
        positive_share=1 / 3, augmentation=({"name": "symmetries", "arguments": {"group": "cube"}}, *CUBES),
    ),
    ("classification", 2): FineTuningRule(
        Recipe(steps=160, batch_size=24, learning_rate=3e-4, schedule=_SHORT, freeze_norms=True),
        positive_share=1 / 3, augmentation=({"name": "symmetries", "arguments": {"group": "square"}}, *CUBES),
    ),
}  # fmt: skip
"""By task and number of axes: all that is usual, in one place."""

DECIDES = {"detection": "cpm", "segmentation": "dice", "classification": "auc"}
"""Which figure of the validation says whose weights are kept."""


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


def rule_of(part: BundlePart) -> FineTuningRule:
    """Return what is usual for a part of a bundle."""
    dims = part.network["arguments"].get("spatial_dims")
    if dims not in (2, 3):
        spacing = part.preprocessing.get("spacing_mm")
        is_planar = part.name != CLASSIFIER and (isinstance(spacing, list) and len(spacing) == 2)
        dims = 2 if is_planar or part.preprocessing.get("spacing_um") is not None else 3
    return FINE_TUNING_OF[part.task, dims]


def plan_of(part: BundlePart, abouts: Sequence[About], multiple: int) -> FineTuningPlan:
    """Return how a part of a bundle is trained further on examples.

    The objective and the augmentation are those that it was trained with, where that was written down.

    Parameters
    ----------
    part : BundlePart
    abouts : what is known of the examples
    multiple : int
        Sides of patches are divisible by this.

    Raises
    ------
    InputRefusedError
        Where nothing is known about how such a network is trained.
    """
    written = next((place["augmentation"] for place in _told(part) if place.get("augmentation")), None)
    changes = written or rule_of(part).augmentation
    augmentation = tuple(Change(**{"arguments": {}, **change}) for change in changes)
    return FineTuningPlan(_objective_of(part), _sampler_for(part, abouts, multiple), augmentation)


def with_still_parts(recipe: Recipe, part: BundlePart) -> Recipe:
    """Return a recipe in which those parts of a scaled network stand still whose class no reader marks.

    A cluster is found by its specks, but it is clusters that are marked: learning from them, the part that finds specks
    would see nothing but background and forget what a speck is.
    """
    cluster = part.bundle.postprocessing.get("cluster") if part.task == "detection" else None
    if cluster is None or part.network["name"] != "scaled-heatmap":
        return recipe
    made_of = part.classes.index(cluster["from"])
    scales = part.network["arguments"]["scales"]
    still = tuple(f"parts.{row}." for row, scale in enumerate(scales) if list(scale["classes"]) == [made_of])
    prefixes = tuple(dict.fromkeys((*recipe.freeze.prefixes, *still)))
    return replace(recipe, freeze=FreezeSettings(prefixes, recipe.steps)) if still else recipe


def validated(recipe: Recipe, task: str, held_out: Sequence[About]) -> Recipe:
    """Return a recipe that looks at what is held out, where it does not say itself when to look.

    The figure that decides is that of the task, or the loss where what is held out cannot tell it.
    """
    if recipe.validation is not None or not held_out:
        return recipe
    kinds = {about.has_lesion for about in held_out}
    can_tell = {"detection": True in kinds, "classification": len(kinds) == 2, "segmentation": True}[task]
    every = max(1, recipe.steps // LOOKS)
    settings = ValidationSettings(every, DECIDES[task], "higher") if can_tell else ValidationSettings(every)
    return replace(recipe, validation=settings)


def _told(part: BundlePart) -> Iterator[dict[str, Any]]:
    """Yield where a bundle may say how this part of it was trained, the newest first."""
    training = part.bundle.spec.get("training") or {}
    plans = training.get("plans") or {}
    of_classifier = part.name == CLASSIFIER
    places = [training if (training.get("part") == CLASSIFIER) == of_classifier else None]
    places += [None if of_classifier else training.get("configuration")]
    places += [plan for name, plan in plans.items() if (name == CLASSIFIER) == of_classifier]
    yield from (place for place in places if isinstance(place, dict))


def _objective_of(part: BundlePart) -> Part:
    written = next((place["objective"] for place in _told(part) if "objective" in place), None)
    if isinstance(written, dict) and "name" in written:
        return Part(str(written["name"]), dict(written.get("arguments", {})))
    name = part.network["name"]
    objective = OBJECTIVES_OF.get(name, part.task if part.task == "segmentation" else None)
    if objective is None:
        raise InputRefusedError(
            f"Nothing is known about how {part.bundle.title}, a network {name!r}, is trained.", code="objective",
            hint="Train it with a configuration that names an objective.",
        )  # fmt: skip
    return Part(objective)


def _sampler_for(part: BundlePart, abouts: Sequence[About], multiple: int) -> Part:
    rule = rule_of(part)
    if part.task == "classification":
        share = rule.positive_share if len(part.classes) == 1 else None
        return Part("balanced", {} if share is None else {"positive_share": share})
    sides = np.median([about.shape[1:] for about in abouts], axis=0).astype(int)
    shape = [max(multiple, min(rule.patch, int(side)) // multiple * multiple) for side in sides]
    return Part("patches", {"shape": shape, "lesion_share": rule.lesion_share})
