"""The pixel size of a planar image whose header states none, as a person stated it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from napari_medlab.images.image import Image

__all__ = ["STATED", "with_stated_size"]

STATED = "stated"
"""What ``details["spacing_source"]`` says of a pixel size that was stated by hand."""
UNITS = {"mm": "mm", "um": "µm"}


def with_stated_size(image: Image) -> Image:
    """Return an image with the pixel size that ``image.decisions.pixel_size_um`` states; without one, as it is.

    The unit becomes µm, and mm for mammograms, which are measured in them. A warning that the size is unknown is
    dropped, and ``details["spacing_source"]`` is :data:`STATED`.

    Raises
    ------
    ImageRefusedError
        With code ``pixel-size`` for a volume, and for an image whose header states a size.
    """
    size = image.decisions.pixel_size_um
    if size is None:
        return image
    hint = "Open it without --pixel-size."
    if image.grid.ndim != 2:
        raise ImageRefusedError(
            f"{image.path.name} is a volume; a pixel size is stated for planar images only.",
            code="pixel-size",
            hint=hint,
        )
    if image.grid.unit != "px":
        header = " × ".join(f"{step:.4g}" for step in image.grid.spacing)
        raise ImageRefusedError(
            f"The header of {image.path.name} states {header} {UNITS[image.grid.unit]} a pixel (y × x), "
            "so none is stated by hand.",
            code="pixel-size",
            hint=hint,
        )
    if image.kind == "mammogram":
        grid = Grid.axis_aligned(image.grid.shape, (size / 1000, size / 1000), unit="mm")
    else:
        grid = Grid.axis_aligned(image.grid.shape, (size, size), unit="um")
    warnings = tuple(warning for warning in image.warnings if warning.code != "unknown-spacing")
    return replace(image, grid=grid, warnings=warnings, details={**image.details, "spacing_source": STATED})
