"""Augmentation: random changes of samples that carry boxes and masks along, in 2D and 3D."""

from __future__ import annotations

from napari_medlab.models.augmentation.symmetries import Symmetry
from napari_medlab.models.augmentation.table import STANDARD, BatchTransform, Transform, build_transforms

__all__ = ["STANDARD", "BatchTransform", "Symmetry", "Transform", "build_transforms"]
