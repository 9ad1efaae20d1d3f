"""Models of other packages: found by entry points, refused until a person allowed their very code, run like any bundle."""

from __future__ import annotations

from napari_medlab.models.plugins.found import Found
from napari_medlab.models.plugins.own import own_model

__all__ = ["Found", "own_model"]
