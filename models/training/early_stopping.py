"""Which weights of a training were the best so far, and whether going on is worth while."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from napari_medlab.models.training.recipe import ValidationSettings

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Remembers the best weights by a figure of the validation, and says when to stop.

    Parameters
    ----------
    settings : ValidationSettings

    Attributes
    ----------
    best : float or None
        The best figure so far.
    best_step : int
        The step that it was seen after; 0 where there is none.
    weights : dict or None
        The weights then, by name, on the CPU.
    """

    def __init__(self, settings: ValidationSettings) -> None:
        self.settings = settings
        self.best: float | None = None
        self.best_step = 0
        self.weights: dict[str, torch.Tensor] | None = None
        self._looks_since = 0

    @property
    def should_stop(self) -> bool:
        """Whether ``patience`` looks in a row brought nothing better."""
        return 0 < self.settings.patience <= self._looks_since

    def see(self, number: int, metrics: Mapping[str, float], weights: Mapping[str, torch.Tensor]) -> None:
        """Take note of the figures after a step; a figure that is not a number is never the best.

        Raises
        ------
        InputRefusedError
            Where the validator does not give the metric that was asked for.
        """
        value = metrics.get(self.settings.metric)
        if value is None:
            raise InputRefusedError(
                f"The validation gives no {self.settings.metric!r}; it gives {', '.join(metrics)}.", code="metric",
                hint="Choose one of them as recipe.validation.metric.",
            )  # fmt: skip
        if not self._is_better(value):
            self._looks_since += 1
            return
        self.best, self.best_step, self._looks_since = value, number, 0
        self.weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}

    def state(self) -> dict[str, Any]:
        """Return everything that is remembered."""
        return {
            "best": self.best,
            "step": self.best_step,
            "since": self._looks_since,
            "weights": self.weights,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state` returned."""
        self.best, self.best_step, self._looks_since = state["best"], state["step"], state["since"]
        self.weights = state["weights"]

    def _is_better(self, value: float) -> bool:
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        return value > self.best if self.settings.better == "higher" else value < self.best
