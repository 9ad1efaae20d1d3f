"""The mask that a segmenter wrote, read by the letter of its format and by nobody else's code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.conformance.contract import expect
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["WrittenMask"]

ATTRIBUTES = "napari_medlab_mask"


@dataclass(frozen=True)
class WrittenMask:
    """What lies in the store.

    Parameters
    ----------
    values : uint8 array (class, z, y, x) or (class, y, x)
    classes : tuple of str
    grid : Grid
    is_complete : bool
    """

    values: NDArray[np.uint8]
    classes: tuple[str, ...]
    grid: Grid
    is_complete: bool

    @classmethod
    def read(cls, folder: Path) -> WrittenMask:
        """Return the mask of a folder; raise :class:`NotKeptError` where there is none that can be read."""
        import zarr

        said: Any = None
        try:
            said = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))["attributes"][ATTRIBUTES]
            values = np.asarray(zarr.open_array(str(folder), mode="r")[...])
            grid = Grid.from_json(said["grid"])
            found = cls(values, tuple(said["classes"]), grid, said["status"] == "complete")
        except (OSError, ValueError, KeyError, TypeError) as error:
            said = error
        expect(
            not isinstance(said, Exception), "The mask is a zarr store as MaskStore writes it.", f"{said!r}.",
            "write it with napari_medlab.models.inference.mask_store.MaskStore.",
        )  # fmt: skip
        return found
