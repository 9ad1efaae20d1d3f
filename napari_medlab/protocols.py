"""What the core asks of a model: three small protocols that it owns itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_medlab.annotations import Candidate, Region
    from napari_medlab.images.image import Image
    from napari_medlab.jobs.cancellation import CancelToken

    Progress = Callable[[int, int], None]
    """Called with (tiles done, tiles in all) of a case; tiles that are skipped count as done."""

    Focus = Sequence[float]
    """A point in the world, (x, y[, z]): what is near it is looked at first."""

__all__ = ["Batch", "Classifier", "Detector", "MaskPart", "Segmenter"]


@dataclass(frozen=True)
class Batch:
    """Candidates that were found together, and outlines of them.

    Parameters
    ----------
    candidates : list of Candidate
        In world coordinates.
    regions : list of Region
        In indices of the image's level 0; each is owned by one of the candidates. Empty for models that give centres
        and sizes alone.
    """

    candidates: list[Candidate]
    regions: list[Region] = field(default_factory=list)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)

    def __len__(self) -> int:
        return len(self.candidates)


@dataclass(frozen=True)
class MaskPart:
    """A part of a mask that is finished and written.

    Parameters
    ----------
    start, stop : tuple of int
        The box in voxels of the mask, in array order.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]


@runtime_checkable
class Detector(Protocol):
    """Proposes candidates on an image."""

    def detect(
        self, image: Image, case_id: str, cancel: CancelToken, *, focus: Focus | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[Batch]:  # fmt: skip
        """Yield batches of candidates; raise ``CancelledError`` soon after ``cancel`` is set."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """Marks which voxels belong to an object."""

    def segment(
        self, image: Image, case_id: str, mask: Path, cancel: CancelToken, *, focus: Focus | None = None,
        on_progress: Progress | None = None,
    ) -> Iterator[MaskPart | Batch]:  # fmt: skip
        """Write probabilities into a new store at ``mask``; yield the parts as they are done, and then the objects.

        A store that is left before its end says that it is partial.
        """
        ...


@runtime_checkable
class Classifier(Protocol):
    """Judges candidates that a detector proposed."""

    def judge(self, image: Image, candidates: Sequence[Candidate], cancel: CancelToken) -> list[float]:
        """Return one probability, 0 to 1, for each candidate."""
        ...
