"""Prediction: a bundle becomes a detector, a segmenter or a classifier that works on images."""

from __future__ import annotations

from napari_medlab.models.predicting.classifier import BundleClassifier
from napari_medlab.models.predicting.detector import BundleDetector
from napari_medlab.models.predicting.opening import Model, open_model
from napari_medlab.models.predicting.segmenter import BundleSegmenter

__all__ = ["BundleClassifier", "BundleDetector", "BundleSegmenter", "Model", "open_model"]
