"""How a training runs: one frozen record, written into every bundle that comes out of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FINE_TUNING", "FROM_SCRATCH", "Recipe"]


@dataclass(frozen=True)
class Recipe:
    """The settings of one training.

    Parameters
    ----------
    steps, batch_size : int
    patch_shape : (z, y, x) in voxels, divisible by 8
    learning_rate : the highest, reached after ``warmup_steps`` and let fall along a cosine (Loshchilov and Hutter, 2017)
    weight_decay : for weights alone, never for biases and norms
    lesion_share : how many patches are cut around a lesion on purpose
    size_weight, offset_weight : of the loss terms
    seed : the same seed gives the same weights on a CPU
    checkpoint_seconds : how often the state is saved so that a killed training resumes
    freeze_norms : keep the running statistics of batch norms (for fine-tuning on few examples)
    """

    steps: int
    batch_size: int = 4
    patch_shape: tuple[int, int, int] = (40, 64, 64)
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    weight_decay: float = 1e-2
    lesion_share: float = 0.7
    size_weight: float = 0.5
    offset_weight: float = 0.5
    seed: int = 0
    checkpoint_seconds: float = 20.0
    freeze_norms: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """Read what :meth:`as_json` wrote."""
        z, y, x = value["patch_shape"]
        return cls(**{**value, "patch_shape": (int(z), int(y), int(x))})


FROM_SCRATCH = Recipe(steps=2400)
"""How the shipped nodule detector was trained."""

FINE_TUNING = Recipe(
    steps=240, batch_size=4, patch_shape=(40, 40, 40), learning_rate=5e-4, warmup_steps=10, freeze_norms=True
)
"""A short retraining on hard examples: about two minutes on two cores."""
