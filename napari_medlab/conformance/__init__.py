"""What every model has to keep to, as tests that a model of one's own can be run against.

In pytest::

    class TestMyDetector(DetectorContract):
        make = staticmethod(MyDetector)
"""

from __future__ import annotations

from napari_medlab.conformance.classifiers import ClassifierContract
from napari_medlab.conformance.contract import ModelContract, NotKeptError
from napari_medlab.conformance.detectors import DetectorContract
from napari_medlab.conformance.running import CONTRACTS, Check, checks_of
from napari_medlab.conformance.segmenters import SegmenterContract
from napari_medlab.conformance.trials import Trial

__all__ = [
    "CONTRACTS", "Check", "ClassifierContract", "DetectorContract", "ModelContract", "NotKeptError", "SegmenterContract", "Trial",
    "checks_of",
]  # fmt: skip
