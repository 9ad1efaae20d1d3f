"""Prediction: a bundle becomes a detector, a segmenter or a classifier that works on images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_medlab.models.predicting.classifier import BundleClassifier
    from napari_medlab.models.predicting.detector import BundleDetector
    from napari_medlab.models.predicting.opening import Model, open_model
    from napari_medlab.models.predicting.segmenter import BundleSegmenter

__all__ = ["BundleClassifier", "BundleDetector", "BundleSegmenter", "Model", "open_model"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of those names
    """Load what needs torch when it is first asked for: other modules of this room do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from napari_medlab.models.predicting import opening

    return getattr(opening, name)
