"""What the stages of a two-stage detector learn from: which regions they are shown, and what each should have been."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import torch

from napari_medlab.models.detection.matchers import IouMatcher
from napari_medlab.models.detection.sampling import Regions, with_truth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.models.detection.sampling import RegionSampler
    from napari_medlab.models.detection.stages import Said
    from napari_medlab.models.training.samples import Sample

__all__ = ["Aims", "StageBatch", "Truth", "aims_of", "chosen"]


class Truth(NamedTuple):
    """What is really in an image, on the network's device.

    ``boxes`` are float32 (n, 2 · dims) in voxels, ``labels`` int64 (n,), and ``is_ignored`` bool (n,) says which are neither
    object nor background.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    is_ignored: torch.Tensor

    @classmethod
    def of(cls, sample: Sample, device: torch.device) -> Self:
        """Return what a sample says of its image."""
        return cls(
            *(
                torch.from_numpy(known).to(device)
                for known in (sample.boxes, sample.labels, sample.is_ignored)
            )
        )


class Aims(NamedTuple):
    """Regions of one image, or of a batch, and what each should become.

    ``regions`` are (n, 2 · dims) in voxels; ``matched`` (n,) as a matcher says; ``classes`` (n,), background one past the
    last; ``boxes`` (n, 2 · dims) the true ones, of no meaning for background; ``is_truth`` (n,) says which regions are true
    boxes themselves, thrown in.
    """

    regions: torch.Tensor
    matched: torch.Tensor
    classes: torch.Tensor
    boxes: torch.Tensor
    is_truth: torch.Tensor

    @property
    def is_object(self) -> torch.Tensor:
        """Which of them are matched to a box, bool (n,)."""
        return self.matched >= 0

    def where(self, rows: torch.Tensor) -> Aims:
        """Return those that a mask or row numbers name."""
        return Aims(*(values[rows] for values in self))

    @classmethod
    def joined(cls, parts: Sequence[Aims]) -> Aims:
        """Return those of all images, one image after the other; ``matched`` still counts the boxes of each image."""
        return cls(*(torch.cat(values) for values in zip(*parts, strict=True)))


class StageBatch(NamedTuple):
    """What one stage was shown, (n,) regions of the whole batch, which image each lies in, and what it said of them."""

    aims: Aims
    images: torch.Tensor
    said: Said


def aims_of(regions: torch.Tensor, truth: Truth, iou: float, background: int) -> Aims:
    """Return the regions of an image, and its true boxes after them, with what each should become.

    Parameters
    ----------
    regions : float tensor (n, 2 · dims), in voxels
    truth : Truth
    iou : float
        From which overlap a region belongs to a box; below, it is background, or ignored where it lies on an ignored box.
    background : int
        The class of background.
    """
    offered = with_truth(regions, truth.boxes, truth.is_ignored)
    matched = IouMatcher(iou, iou, low_quality=False).match(offered, truth.boxes, truth.is_ignored)
    rows = matched.clamp(min=-1)  # what has no box takes the row that is put behind the boxes
    classes = torch.cat([truth.labels, truth.labels.new_tensor([background])])[rows]
    boxes = torch.cat([truth.boxes, truth.boxes.new_zeros(1, truth.boxes.shape[1])])[rows]
    is_truth = torch.arange(len(offered), device=offered.device) >= len(regions)
    return Aims(offered, matched, classes, boxes, is_truth)


def chosen(offered: Sequence[Aims], sampler: RegionSampler, hardness: torch.Tensor | None) -> list[Aims]:
    """Return what a sampler chooses of each image's regions.

    Parameters
    ----------
    offered : one for each image
    sampler : RegionSampler
    hardness : float tensor (all regions, image by image) or None
    """
    counts = [len(aims.regions) for aims in offered]
    by_image = hardness.split(counts) if hardness is not None else [None] * len(counts)
    return [
        aims.where(sampler.choose(Regions(aims.regions, aims.matched, hard)))
        for aims, hard in zip(offered, by_image, strict=True)
    ]
