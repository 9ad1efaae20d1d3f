"""Changes of brightness, contrast, sharpness and noise, with MONAI's transforms; objects stay where they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.training.samples import Sample

__all__ = ["Blur", "Brightness", "Contrast", "HistogramShift", "Noise", "changed_by", "seeded"]


def seeded(transform: Any, rng: np.random.Generator) -> Any:  # noqa: ANN401 - MONAI is not typed
    """Return one of MONAI's random transforms, its chance taken from ``rng``."""
    return transform.set_random_state(seed=int(rng.integers(2**32, dtype=np.uint32)))


def changed_by(transform: Any, sample: Sample) -> Sample:  # noqa: ANN401 - MONAI is not typed
    """Return the sample with its image as one of MONAI's transforms makes it; what was handed in stays as it is."""
    from monai.utils.type_conversion import convert_to_numpy

    image = np.array(sample.image, dtype=np.float32)
    return replace(sample, image=convert_to_numpy(transform(image)).astype(np.float32, copy=False))


@dataclass(frozen=True)
class Brightness:
    """Multiplies the values by a random factor and adds a random shift, the same for all channels.

    Parameters
    ----------
    gain, shift : (least, greatest), in units of the prepared image
    """

    gain: Sequence[float] = (0.9, 1.1)
    shift: Sequence[float] = (-0.05, 0.05)

    def __post_init__(self) -> None:
        _check_ranges(gain=self.gain, shift=self.shift)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample brighter or darker."""
        image = sample.image.astype(np.float32) * np.float32(rng.uniform(self.gain[0], self.gain[1]))
        return replace(sample, image=image + np.float32(rng.uniform(self.shift[0], self.shift[1])))


@dataclass(frozen=True)
class Contrast:
    """Bends the grey scale by a random exponent between the image's least and greatest value (gamma).

    Parameters
    ----------
    gamma : (least, greatest)
        Drawn evenly on a logarithmic scale, so that brighter is as likely as darker.
    """

    gamma: Sequence[float] = (0.7, 1.5)

    def __post_init__(self) -> None:
        _check_ranges(gamma=self.gamma)
        if self.gamma[0] <= 0:
            msg = f"gamma is above 0, got {self.gamma}"
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with another contrast."""
        from monai.transforms.intensity.array import AdjustContrast

        low, high = np.log(self.gamma)
        return changed_by(AdjustContrast(float(np.exp(rng.uniform(low, high)))), sample)


@dataclass(frozen=True)
class HistogramShift:
    """Bends the grey scale by a random rising curve between the image's least and greatest value.

    Parameters
    ----------
    points : int
        Of the curve, at least 3; fewer bend more.
    """

    points: int = 10

    def __post_init__(self) -> None:
        if self.points < 3:
            msg = f"A curve has at least 3 points, got {self.points}"
            raise ValueError(msg)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with its histogram shifted; an image of one value stays."""
        from monai.transforms.intensity.array import RandHistogramShift

        if sample.image.min() == sample.image.max():
            return sample
        return changed_by(seeded(RandHistogramShift(self.points, prob=1.0), rng), sample)


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise.

    Parameters
    ----------
    deviation : float
        The greatest standard deviation, in units of the prepared image; each sample's is drawn evenly below it.
    """

    deviation: float = 0.02

    def __post_init__(self) -> None:
        _check_ranges(deviation=(0.0, self.deviation))

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with noise."""
        from monai.transforms.intensity.array import RandGaussianNoise

        return changed_by(
            seeded(RandGaussianNoise(prob=1.0, std=self.deviation, sample_std=True), rng), sample
        )


@dataclass(frozen=True)
class Blur:
    """Smooths with a Gaussian of a random width, drawn for each axis.

    Parameters
    ----------
    sigma : (least, greatest), in voxels
    """

    sigma: Sequence[float] = (0.25, 1.0)

    def __post_init__(self) -> None:
        _check_ranges(sigma=self.sigma)

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample blurred."""
        from scipy.ndimage import gaussian_filter

        # MONAI's takes what lies outside for 0, which changes the borders
        widths = rng.uniform(self.sigma[0], self.sigma[1], sample.dims)
        image = sample.image.astype(np.float32)
        return replace(sample, image=np.stack([gaussian_filter(c, widths, mode="nearest") for c in image]))


def _check_ranges(**ranges: Sequence[float]) -> None:
    for name, values in ranges.items():
        if len(values) != 2 or values[0] > values[1]:
            msg = f"{name} is a pair (least, greatest), got {list(values)}"
            raise ValueError(msg)
