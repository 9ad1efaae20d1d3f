"""The rules by which candidates are paired with findings, one module for each."""

from __future__ import annotations

from napari_medlab.evaluation.rules.camelyon import CAMELYON_POINTS, CamelyonRule
from napari_medlab.evaluation.rules.luna16 import Luna16Rule
from napari_medlab.evaluation.rules.overlap import OverlapRule
from napari_medlab.evaluation.rules.shapes import Shapes

__all__ = ["CAMELYON_POINTS", "CamelyonRule", "Luna16Rule", "OverlapRule", "Shapes"]
