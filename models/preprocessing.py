"""What is done to an image before a network sees it; written in the bundle, so that it is the same everywhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid, isotropic_grid, resample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_medlab.images import Image

__all__ = ["Preprocessing"]


@dataclass(frozen=True)
class Preprocessing:
    """Resample to one spacing along every axis, cut the window, scale to 0 … 1.

    Parameters
    ----------
    spacing_mm : float
    window : (low, high)
        Pixel values that become 0 and 1; Hounsfield units for CT.
    """

    spacing_mm: float
    window: tuple[float, float]

    def apply(self, image: Image) -> tuple[NDArray[np.float32], Grid]:
        """Return what the network sees of an image, and the grid on which it lies.

        Parameters
        ----------
        image : Image
            Turned to (+S, +P, +L) axes here; its pixels are decoded.

        Returns
        -------
        float32 array (z, y, x), 0 … 1, and its Grid

        Raises
        ------
        InputRefusedError
            Where the image has no known spacing, or is not a volume.
        """
        if image.kind != "volume":
            raise InputRefusedError(
                f"{image.path.name} is a {image.kind}; this model reads volumes.",
                code="wrong-kind",
                hint="Choose a model made for this kind of image.",
            )
        oriented = image.oriented()
        return self.apply_array(oriented.decoded(), oriented.grid)

    def apply_array(self, volume: NDArray[np.generic], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
        """Do the same to a decoded volume (z, y, x) on ``grid``."""
        target = isotropic_grid(grid, self.spacing_mm)
        low, high = self.window
        resampled = resample(np.clip(volume, low, high), grid, target, fill=low)
        return (resampled - low) / (high - low), target

    def as_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Preprocessing:
        """Read what :meth:`as_json` wrote."""
        low, high = value["window"]
        return cls(float(value["spacing_mm"]), (float(low), float(high)))
