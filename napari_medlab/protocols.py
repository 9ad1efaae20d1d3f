"""What the core asks of a model: three small protocols that it owns itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from napari_medlab.annotations import Candidate
    from napari_medlab.images.image import Image
    from napari_medlab.jobs.cancellation import CancelToken

__all__ = ["Classifier", "Detector", "Segmenter"]


@runtime_checkable
class Detector(Protocol):
    """Proposes candidates on an image."""

    def detect(self, image: Image, case_id: str, cancel: CancelToken) -> Iterator[list[Candidate]]:
        """Yield batches of candidates in world coordinates; raise ``CancelledError`` soon after ``cancel`` is set."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Marks which voxels belong to an object."""

    def segment(self, image: Image, cancel: CancelToken) -> Iterator[tuple[tuple[int, ...], NDArray[np.uint8]]]:
        """Yield tiles: the index of the first voxel, and probabilities 0 to 255 in array order."""
        ...


@runtime_checkable
class Classifier(Protocol):
    """Judges candidates that a detector proposed."""

    def judge(self, image: Image, candidates: list[Candidate], cancel: CancelToken) -> list[float]:
        """Return one probability, 0 to 1, for each candidate."""
        ...
