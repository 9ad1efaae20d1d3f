"""The closed table of transforms by name, and the lists of them that a recipe asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.closed_tables import ClosedTable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from napari_medlab.models.training.samples import Sample

__all__ = ["OF_BATCHES", "STANDARD", "TRANSFORMS", "BatchTransform", "Transform", "build_transforms"]


class Transform(Protocol):
    """Changes one sample at random: the same state of ``rng`` gives the same outcome; what is handed in stays as it is."""

    def __call__(self, rng: np.random.Generator, sample: Sample, /) -> Sample:
        """Return the changed sample."""
        ...


class BatchTransform(Protocol):
    """Changes the samples of a batch together, and returns as many."""

    def __call__(self, rng: np.random.Generator, samples: list[Sample], /) -> list[Sample]:
        """Return the changed batch."""
        ...


TRANSFORMS = ClosedTable(
    "transform",
    {
        "affine": ("napari_medlab.models.augmentation.affine", "Affine"),
        "blur": ("napari_medlab.models.augmentation.intensity", "Blur"),
        "brightness": ("napari_medlab.models.augmentation.intensity", "Brightness"),
        "colour": ("napari_medlab.models.augmentation.colour", "Colour"),
        "contrast": ("napari_medlab.models.augmentation.intensity", "Contrast"),
        "copy-lesions": ("napari_medlab.models.augmentation.copying", "CopyLesions"),
        "cover-positives": ("napari_medlab.models.augmentation.negatives", "CoverPositives"),
        "cutout": ("napari_medlab.models.augmentation.covering", "Cutout"),
        "elastic": ("napari_medlab.models.augmentation.elastic", "Elastic"),
        "flip": ("napari_medlab.models.augmentation.flips", "Flip"),
        "halve-size": ("napari_medlab.models.augmentation.scaling", "HalveSize"),
        "histogram-shift": ("napari_medlab.models.augmentation.intensity", "HistogramShift"),
        "multi-scale": ("napari_medlab.models.augmentation.scaling", "MultiScale"),
        "noise": ("napari_medlab.models.augmentation.intensity", "Noise"),
        "random-mask": ("napari_medlab.models.augmentation.covering", "RandomMask"),
        "rotate": ("napari_medlab.models.augmentation.affine", "Rotate"),
        "stain": ("napari_medlab.models.augmentation.colour", "Stain"),
        "symmetries": ("napari_medlab.models.augmentation.flips", "Symmetries"),
        "translate": ("napari_medlab.models.augmentation.flips", "Translate"),
        "zoom": ("napari_medlab.models.augmentation.affine", "Zoom"),
    },
)
"""What a recipe may name."""

OF_BATCHES = frozenset({"cover-positives", "multi-scale"})
"""Those that change the samples of a batch together."""

STANDARD: tuple[dict[str, Any], ...] = (
    {"name": "flip"},
    {"name": "symmetries", "arguments": {"names": ["identity", "transpose"]}},
    {"name": "brightness", "arguments": {"gain": [0.93, 1.07], "shift": [-0.03, 0.03]}},
    {"name": "noise", "arguments": {"deviation": 0.02}, "probability": 0.5},
)
"""What suits any image: the symmetries that keep z, a little brightness, contrast and noise."""


@dataclass(frozen=True)
class Sometimes:
    """A transform that is applied with a probability."""

    transform: Callable[..., Any]
    probability: float

    def __call__(self, rng: np.random.Generator, sample: Any, /) -> Any:  # noqa: ANN401 - a sample, or a batch of them
        """Return what the transform makes of it, or the same."""
        return self.transform(rng, sample) if rng.random() < self.probability else sample


def build_transforms(specs: Sequence[Mapping[str, Any]]) -> tuple[list[Transform], list[BatchTransform]]:
    """Return the transforms of single samples and those of batches, each in the order of the list.

    Parameters
    ----------
    specs : sequence of ``{"name": …, "arguments": {…}, "probability": 0 … 1}``
        Arguments and probability may be left out: then it is always applied, with the defaults.

    Raises
    ------
    InputRefusedError
        Where a name or an argument is not known, or a value does not fit.
    """
    single: list[Any] = []
    batch: list[Any] = []
    for number, spec in enumerate(specs):
        name = _name(number, spec)
        probability = spec.get("probability", 1.0)
        if (
            isinstance(probability, bool)
            or not isinstance(probability, int | float)
            or not 0 <= probability <= 1
        ):
            raise InputRefusedError(
                f"The transform {name!r} has the probability {probability!r}; it is a number from 0 to 1.",
                code="transform-probability",
            )
        made = TRANSFORMS.build(name, spec.get("arguments", {}))
        (batch if name in OF_BATCHES else single).append(
            made if probability == 1 else Sometimes(made, probability)
        )
    return single, batch


def _name(number: int, spec: Mapping[str, Any]) -> str:
    unknown = sorted(set(spec) - {"name", "arguments", "probability"})
    name = spec.get("name")
    if unknown or not isinstance(name, str):
        raise InputRefusedError(
            f"Transform {number + 1} is {dict(spec)!r}; it has a name, and may have arguments and a probability, no more.",
            code="transform-keys",
        )
    return name
