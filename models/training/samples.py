"""Cases as training sees them: a volume at the network's spacing, and where its lesions lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.phantoms.chest_ct import REFERENCE_SITE, Site, chest_phantom

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.models.preprocessing import Preprocessing

__all__ = ["Sample", "phantom_sample", "read_sample", "write_sample"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One volume with its lesions.

    Parameters
    ----------
    volume : float16 array (z, y, x), 0 … 1
    centres : float32 array (n, 3), voxel indices (z, y, x)
    diameters : float32 array (n,), voxels
    is_ignored : bool array (n,)
        Objects that are neither lesion nor background: no loss is counted there.
    weight : float
        How often the sample is drawn, relative to the others.
    """

    volume: NDArray[np.float16]
    centres: NDArray[np.float32]
    diameters: NDArray[np.float32]
    is_ignored: NDArray[np.bool_]
    weight: float = 1.0


def phantom_sample(seed: int, preprocessing: Preprocessing, site: Site = REFERENCE_SITE) -> Sample:
    """Return the chest phantom of a seed as a sample."""
    phantom = chest_phantom(seed, f"phantom-{seed}", site)
    volume, grid = preprocessing.apply_array(phantom.volume, phantom.grid)
    objects = [*phantom.findings, *phantom.excluded]
    world = np.asarray([f.centre for f in objects], dtype=np.float64).reshape(-1, 3)
    diameters = np.asarray([f.diameter for f in objects], dtype=np.float32)
    return Sample(
        volume.astype(np.float16),
        grid.to_index(world).astype(np.float32),
        diameters / np.float32(preprocessing.spacing_mm),
        np.asarray([f.is_excluded for f in objects], dtype=np.bool_),
    )


def write_sample(path: Path, sample: Sample) -> None:
    """Write a sample as one uncompressed ``.npz`` file, whole or not at all."""
    partial = path.with_name(f"{path.stem}.partial.npz")
    np.savez(partial, volume=sample.volume, centres=sample.centres, diameters=sample.diameters,
             is_ignored=sample.is_ignored)  # fmt: skip
    partial.replace(path)


def read_sample(path: Path) -> Sample:
    """Read what :func:`write_sample` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Sample(stored["volume"], stored["centres"], stored["diameters"], stored["is_ignored"])
