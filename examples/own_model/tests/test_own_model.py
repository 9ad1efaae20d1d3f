"""The three models keep to what napari-medlab expects of any model."""

from napari_medlab.conformance import ClassifierContract, DetectorContract, SegmenterContract
from napari_medlab.models.plugins import own_model


class TestSpots(DetectorContract):
    """Runs every check of a detector."""

    make = staticmethod(lambda: own_model("own-spots"))


class TestOutlines(SegmenterContract):
    """Runs every check of a segmenter."""

    make = staticmethod(lambda: own_model("own-outlines"))


class TestRoundness(ClassifierContract):
    """Runs every check of a classifier."""

    make = staticmethod(lambda: own_model("own-roundness"))
