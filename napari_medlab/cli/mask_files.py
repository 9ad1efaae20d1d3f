"""Folders of masks and detection maps: one file for each case, by whose name they belong together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["masks_in", "pairs_of_masks"]

MASK_SUFFIXES = (".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".tiff", ".tif", ".png")


def masks_in(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder by name, without its ending."""
    masks: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        suffix = next((each for each in MASK_SUFFIXES if path.name.lower().endswith(each)), None)
        if suffix is not None and not path.name.startswith("."):
            masks[path.name[: -len(suffix)]] = path
    return masks


def pairs_of_masks(reference: Path, prediction: Path) -> dict[str, tuple[Path, Path]]:
    """Return the masks of two folders that belong together by name; empty where neither folder has any.

    Raises
    ------
    InputRefusedError
        With code ``"mask"`` where a mask is in one folder alone.
    """
    references, predictions = masks_in(reference), masks_in(prediction)
    alone = sorted(references.keys() ^ predictions.keys())
    if alone:
        raise InputRefusedError(
            f"{len(alone)} masks are in one folder alone, {alone[0]!r} among them.",
            code="mask",
            hint="Give both masks of a case one name; where nothing was found, an empty mask says so.",
        )
    return {name: (references[name], predictions[name]) for name in sorted(references)}
