"""Frames, spacings and half pixels: the one place that converts coordinates.

Arrays are (z, y, x) or (y, x[, channel]) with index 0 at a voxel's centre. World is DICOM patient space (LPS, mm) for
volumes and micrometres from the centre of level 0's first pixel for slides.
"""

from __future__ import annotations

from napari_medlab.geometry.frames import Grid, Unit
from napari_medlab.geometry.halfpixel import centres_to_corners, corners_to_centres
from napari_medlab.geometry.levels import index_at_level, index_at_level0, level_factors
from napari_medlab.geometry.outlines import Ring, mask_to_rings, ring_area, rings_to_mask
from napari_medlab.geometry.resampling import isotropic_grid, resample

__all__ = [
    "Grid",
    "Ring",
    "Unit",
    "centres_to_corners",
    "corners_to_centres",
    "index_at_level",
    "index_at_level0",
    "isotropic_grid",
    "level_factors",
    "mask_to_rings",
    "resample",
    "ring_area",
    "rings_to_mask",
]
