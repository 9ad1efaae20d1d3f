"""Changes of stain and colour of RGB images, for slides and photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.models.training.samples import Sample

__all__ = ["Colour", "Stain"]

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""What the eye makes of red, green and blue (ITU-R BT.601)."""


def _rgb(sample: Sample) -> NDArray[np.float32]:
    image = sample.image.astype(np.float32)
    if sample.dims != 2 or len(image) != 3 or image.min() < -1e-3 or image.max() > 1 + 1e-3:
        raise InputRefusedError(
            f"Stain and colour are changed in planar images of 3 channels from 0 to 1; this one has the shape "
            f"{image.shape} and values from {image.min():.3g} to {image.max():.3g}.",
            code="not-rgb",
            hint='Prepare the images with "rgb", or leave these transforms out.',
        )
    return np.clip(image, 0, 1)


@dataclass(frozen=True)
class Stain:
    """More or less of haematoxylin, eosin and diaminobenzidine, as between laboratories and scanners.

    Optical density is taken apart into the stains, the amount of each is multiplied by 1 ± ``spread`` and shifted by
    ± ``shift``, and put together again.

    Parameters
    ----------
    spread, shift : float
        The widest change to either side; the shift in units of optical density.

    References
    ----------
    D. Tellez et al., "Whole-slide mitosis detection in H&E breast histology using PHH3 as a reference to train
    distilled stain-invariant convolutional networks", IEEE Transactions on Medical Imaging 37 (2018).
    """

    spread: float = 0.1
    shift: float = 0.02

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample with other amounts of stain."""
        from skimage.color import hed_from_rgb, rgb_from_hed

        density = -np.log(np.maximum(_rgb(sample), 1e-3))
        stains = np.tensordot(hed_from_rgb.T, density, axes=1)
        gain = rng.uniform(1 - self.spread, 1 + self.spread, (3, 1, 1))
        stains = stains * gain + rng.uniform(-self.shift, self.shift, (3, 1, 1))
        image = np.exp(-np.tensordot(rgb_from_hed.T, stains, axes=1))
        return replace(sample, image=np.clip(image, 0, 1).astype(np.float32))


@dataclass(frozen=True)
class Colour:
    """Saturation and white balance, as between cameras and depths of water.

    Parameters
    ----------
    saturation : float
        Colours are spread or drawn together by up to this share.
    balance : float
        Each channel is multiplied by 1 ± this share.
    """

    saturation: float = 0.2
    balance: float = 0.1

    def __call__(self, rng: np.random.Generator, sample: Sample) -> Sample:
        """Return the sample in other colours."""
        rgb = _rgb(sample)
        grey: NDArray[Any] = np.tensordot(LUMA, rgb, axes=1)[None]
        image = grey + (rgb - grey) * rng.uniform(1 - self.saturation, 1 + self.saturation)
        image = image * rng.uniform(1 - self.balance, 1 + self.balance, (3, 1, 1))
        return replace(sample, image=np.clip(image, 0, 1).astype(np.float32))
