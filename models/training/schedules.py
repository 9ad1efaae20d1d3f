"""The learning rate as a function of the step alone, so that a resumed training needs no memory of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_medlab.models.training.recipe import ScheduleSettings

__all__ = ["factor"]


def factor(settings: ScheduleSettings, number: int, steps: int) -> float:
    """Return what the highest learning rate is multiplied by in a step.

    Parameters
    ----------
    settings : ScheduleSettings
    number : int
        The step, from 1.
    steps : int
        How many there are.

    Returns
    -------
    float, above 0 and up to 1
        ``warm-up × decay``: the warm-up is ``number / warmup_steps`` up to 1 (Goyal et al., "Accurate, large minibatch
        SGD", 2017); the decay is a function of the share of the training that is done. The cosine falls from 1 to
        ``floor`` (Loshchilov and Hutter, "SGDR", 2017), the exponential too; the step decay is ``gamma`` to the power of
        the milestones that lie behind.
    """
    warm = min(1.0, number / max(settings.warmup_steps, 1))
    done = number / steps
    if settings.name == "cosine":
        return warm * (settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * done)))
    if settings.name == "exponential":
        return warm * float(settings.floor**done)
    if settings.name == "step":
        return warm * float(settings.gamma ** sum(done > milestone for milestone in settings.milestones))
    return warm
