"""An image as a JSON document, its pixels left where they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError, InputRefusedError, MedlabError, Option
from napari_medlab.geometry import Grid
from napari_medlab.images.decisions import Decisions
from napari_medlab.images.image import Image, ImageWarning, Window

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.images.tiles import TileSource

__all__ = ["LevelForm", "describe", "describe_error", "error_from", "image_from", "level_forms"]

LevelForm = tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]
"""The shape, type and tile of a level."""


def describe(image: Image) -> dict[str, Any]:
    """Return everything about an image but its pixels."""
    return {
        "kind": image.kind,
        "modality": image.modality,
        "levels": [
            {"shape": list(source.shape), "dtype": np.dtype(source.dtype).str, "tile": list(source.tile)}
            for source in image.sources
        ],
        "grid": image.grid.as_json(),
        "windows": [asdict(window) for window in image.windows],
        "is_rgb": image.is_rgb,
        "is_inverted": image.is_inverted,
        "channel_names": list(image.channel_names),
        "warnings": [asdict(warning) for warning in image.warnings],
        "details": image.details,
        "decisions": image.decisions.as_json(),
        "lineage": list(image.lineage),
    }


def level_forms(message: dict[str, Any]) -> list[LevelForm]:
    """Return shape, type and tile of each level that :func:`describe` wrote."""
    return [
        (tuple(level["shape"]), np.dtype(level["dtype"]), tuple(level["tile"])) for level in message["levels"]
    ]


def image_from(path: Path, message: dict[str, Any], sources: tuple[TileSource, ...]) -> Image:
    """Return the image that :func:`describe` wrote, its pixels from ``sources``."""
    return Image(
        path=path,
        kind=message["kind"],
        modality=message["modality"],
        sources=sources,
        grid=Grid.from_json(message["grid"]),
        windows=tuple(Window(**{**window, "curve": tuple(window["curve"])}) for window in message["windows"]),
        is_rgb=message["is_rgb"],
        is_inverted=message["is_inverted"],
        channel_names=tuple(message["channel_names"]),
        warnings=tuple(ImageWarning(**warning) for warning in message["warnings"]),
        details=message["details"],
        decisions=Decisions.from_json(message["decisions"]),
        lineage=tuple(message["lineage"]),
    )


def describe_error(error: MedlabError) -> dict[str, Any]:
    """Return an error so that the other process can raise it again."""
    options = error.options if isinstance(error, ImageRefusedError) else ()
    kind = (
        "image"
        if isinstance(error, ImageRefusedError)
        else "input"
        if isinstance(error, InputRefusedError)
        else ""
    )
    return {**error.as_json(), "kind": kind, "options": [asdict(option) for option in options]}


def error_from(message: dict[str, Any]) -> MedlabError:
    """Return the error that :func:`describe_error` wrote."""
    text, code, hint = message["message"], message["code"], message["hint"]
    if message["kind"] == "image":
        return ImageRefusedError(
            text, code=code, hint=hint, options=tuple(Option(**o) for o in message["options"])
        )
    return (InputRefusedError if message["kind"] == "input" else MedlabError)(text, code=code, hint=hint)
