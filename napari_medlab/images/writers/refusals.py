"""What a format cannot hold is refused before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_medlab.images.image import Image

__all__ = ["check_dtype", "unsupported"]


def unsupported(message: str, hint: str) -> InputRefusedError:
    """Return the refusal of an image that a format cannot hold."""
    return InputRefusedError(message, code="unsupported-output", hint=hint)


def check_dtype(image: Image, file_format: str, names: Collection[str]) -> None:
    """Refuse pixels of a type that is not among ``names``."""
    if image.dtype.name not in names:
        raise unsupported(
            f"{file_format} holds no pixels of the type {image.dtype.name}.",
            f"It holds {', '.join(names)}; OME-Zarr holds any integers and real numbers.",
        )
