"""How a training runs: one frozen record, written into every bundle that comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from napari_medlab.models.training.settings import as_plain, between, read_settings

__all__ = [
    "FINE_TUNING",
    "FROM_SCRATCH",
    "FreezeSettings",
    "LookaheadSettings",
    "OptimiserSettings",
    "Recipe",
    "ScheduleSettings",
    "ValidationSettings",
]


@dataclass(frozen=True)
class LookaheadSettings:
    """Lookahead around an optimiser (Zhang et al., "Lookahead Optimizer: k steps forward, 1 step back", 2019).

    Parameters
    ----------
    steps : int
        After so many steps of the fast weights, the slow ones follow (k in the paper).
    share : float, above 0 and up to 1
        The part of the way that they go (alpha in the paper).
    """

    steps: int = between(1, default=5)
    share: float = between(above=0, most=1, default=0.5)


@dataclass(frozen=True)
class OptimiserSettings:
    """Which optimiser.

    Parameters
    ----------
    name : {"adam", "adamw", "sgd"}
        With ``"adam"`` and ``"sgd"`` weight decay is a part of the gradient, with ``"adamw"`` it is apart from it
        (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019).
    weight_decay : float
        For weights alone, never for biases and norms.
    betas : (float, float)
        Of Adam's running means.
    momentum : float
        Of SGD.
    nesterov : bool
        Of SGD.
    lookahead : LookaheadSettings or None
    """

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    weight_decay: float = between(0, default=1e-2)
    betas: tuple[float, float] = between(0, 1, default=(0.9, 0.999))
    momentum: float = between(0, 1, default=0.9)
    nesterov: bool = False
    lookahead: LookaheadSettings | None = None


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate goes from step to step; see :mod:`napari_medlab.models.training.schedules`.

    Parameters
    ----------
    name : {"cosine", "step", "exponential", "constant"}
    warmup_steps : int
        The rate rises from nothing in a straight line over so many steps, whatever comes after.
    floor : float, above 0 and up to 1
        What is left of the rate at the end of a cosine or exponential decay.
    milestones : floats, 0 … 1
        After these shares of all steps a step decay multiplies the rate by ``gamma``.
    gamma : float, above 0 and up to 1
    """

    name: Literal["cosine", "step", "exponential", "constant"] = "cosine"
    warmup_steps: int = between(0, default=50)
    floor: float = between(above=0, most=1, default=0.02)
    milestones: tuple[float, ...] = between(0, 1, default=(2 / 3, 8 / 9))
    gamma: float = between(above=0, most=1, default=0.1)


@dataclass(frozen=True)
class FreezeSettings:
    """Which parts of the network stand still at first, so that new parts do not spoil what old ones have learnt.

    Parameters
    ----------
    prefixes : texts
        Parts whose names begin so, such as ``"backbone."``.
    steps : int
        For so many steps.
    """

    prefixes: tuple[str, ...] = ()
    steps: int = between(0, default=0)


@dataclass(frozen=True)
class ValidationSettings:
    """When the network is looked at on held-out data; the best weights are the ones that are kept.

    Parameters
    ----------
    every : int
        Steps between two looks; one more follows the last step.
    metric : str
        Which of the validator's figures decides, such as ``"loss"``, ``"dice"``, ``"cpm"`` or ``"auc"``.
    better : {"higher", "lower"}
    patience : int
        Stop after so many looks without a better figure; 0 never stops early.
    """

    every: int = between(1, default=200)
    metric: str = "loss"
    better: Literal["higher", "lower"] = "lower"
    patience: int = between(0, default=0)


@dataclass(frozen=True)
class Recipe:
    """The settings of one training, whatever the task.

    Parameters
    ----------
    steps : int
        How often the weights change.
    batch_size : int
        Samples for each change of the weights.
    accumulate : int
        In how many parts a batch goes through the network, one after the other; more parts need less memory.
    learning_rate : float
        The highest, reached after the warm-up.
    optimiser : OptimiserSettings
    schedule : ScheduleSettings
    precision : {"auto", "float32", "bfloat16", "float16"}
        Of convolutions and the like; weights are always float32. ``"auto"`` takes what this machine is fastest with;
        ``"float16"`` is for CUDA alone. A resumed training goes on in the precision that it began with.
    clip_norm : float or None
        Longer gradients are cut to this length.
    ema_decay : float or None
        Where given, the result is a running mean of the weights with this decay for each step.
    freeze_norms : bool
        Keep the running statistics of batch norms, for fine-tuning on few examples.
    freeze : FreezeSettings
    validation : ValidationSettings or None
        Counts where the training is given something to validate on.
    mining_every : int or None
        After so many steps each, a sampler that mines in rounds is told what the network says of all its samples.
    seed : int
        The same seed gives the same weights on a CPU.
    checkpoint_seconds : float
        How often the state is saved, so that a killed training resumes.

    Examples
    --------
    >>> from dataclasses import replace
    >>> replace(FINE_TUNING, steps=100, seed=3).steps
    100
    """

    steps: int = between(1)
    batch_size: int = between(1, default=4)
    accumulate: int = between(1, default=1)
    learning_rate: float = between(above=0, default=2e-3)
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    clip_norm: float | None = between(above=0, default=5.0)
    ema_decay: float | None = between(0, 1, default=None)
    freeze_norms: bool = False
    freeze: FreezeSettings = FreezeSettings()
    validation: ValidationSettings | None = None
    mining_every: int | None = between(1, default=None)
    seed: int = between(0, default=0)
    checkpoint_seconds: float = between(0, default=20.0)

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        document: dict[str, Any] = as_plain(self)
        return document

    @classmethod
    def from_json(cls, value: object) -> Recipe:
        """Read what :meth:`as_json` wrote; what is not there is as by default.

        Raises
        ------
        InputRefusedError
            With all mistakes and their paths.
        """
        return read_settings(cls, value, "The recipe")


FROM_SCRATCH = Recipe(steps=2400)
"""How the shipped nodule detector was trained, on patches of 40 × 64 × 64 voxels."""

FINE_TUNING = Recipe(
    steps=240, batch_size=4, learning_rate=5e-4, schedule=ScheduleSettings(warmup_steps=10), freeze_norms=True
)
"""A short retraining on hard examples: about two minutes on two cores."""
