"""One sample around any place of a case, for any task: what is known there, as the network learns it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.augmentation.carrying import carried
from napari_medlab.models.training.samples import Sample
from napari_medlab.models.workflows.sample_objects import known_objects, painted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import FindingTable, Region
    from napari_medlab.models.inference.prepared import Prepared
    from napari_medlab.models.preprocessing import Preprocessing
    from napari_medlab.models.workflows.sample_objects import ClassRule, KnownObject, Lattices

__all__ = ["CaseCutter", "Learner", "boxes_of"]


@dataclass(frozen=True)
class Learner:
    """What is to learn from samples.

    Parameters
    ----------
    task : {"detection", "segmentation", "classification"}
    rule : ClassRule
        Which class a label is.
    preprocessing : Preprocessing
    network : dict
        The arguments of the network, which may say how many axes and channels it takes.
    """

    task: str
    rule: ClassRule
    preprocessing: Preprocessing
    network: dict[str, Any]

    def check_fit(self, prepared: Prepared) -> None:
        """Refuse an image that the network could not be trained on.

        Raises
        ------
        InputRefusedError
            ``channels``.
        """
        wanted = (
            int(self.network.get("spatial_dims", prepared.grid.ndim)), int(self.network.get("in_channels", prepared.channels))
        )  # fmt: skip
        if wanted != (prepared.grid.ndim, prepared.channels):
            raise InputRefusedError(
                f"The image has {prepared.grid.ndim} axes and {prepared.channels} channels once it is prepared; the network "
                f"takes {wanted[0]} and {wanted[1]}.",
                code="channels",
                hint="Give the preprocessing the channels that the network takes.",
            )


@dataclass
class CaseCutter:
    """Cuts samples out of prepared images.

    Parameters
    ----------
    learner : Learner

    Attributes
    ----------
    counts : Counter
        How often something happened that the manifest is to tell.
    """

    learner: Learner
    counts: Counter[str] = field(default_factory=Counter)

    def objects(
        self, findings: FindingTable, regions: Sequence[Region], lattices: Lattices
    ) -> list[KnownObject]:
        """Return what is known on the lattice; to a segmenter, what has no outline is neither object nor background."""
        objects, unmeasured = known_objects(findings, regions, lattices, self.learner.rule)
        self.count("objects without a size, ignored", unmeasured)
        if self.learner.task != "segmentation":
            return objects
        outlined = [one if one.outlines else replace(one, is_ignored=True) for one in objects]
        hidden = sum(a.is_ignored != b.is_ignored for a, b in zip(objects, outlined, strict=True))
        self.count("objects without an outline, ignored", hidden)
        return outlined

    def tile(
        self, prepared: Prepared, objects: Sequence[KnownObject], start: Sequence[int], shape: Sequence[int]
    ) -> Sample:
        """Return a box of a prepared image, which may reach beyond it, with the objects that reach into it."""
        stop = [a + size for a, size in zip(start, shape, strict=True)]
        image = prepared.read(start, stop).astype(np.float16)
        mask = None
        if self.learner.task == "segmentation":
            mask = painted(objects, start, shape, len(self.learner.rule.classes))
        boxes = boxes_of(objects, len(shape))
        sample = Sample(
            image, boxes, np.asarray([one.number for one in objects], np.int64),
            np.asarray([one.is_ignored for one in objects], np.bool_), mask=mask,
        )  # fmt: skip
        return carried(sample, image, mask, boxes - np.tile(np.asarray(start, np.float32), 2))

    def count(self, what: str, more: int) -> None:
        """Note how often something happened that the manifest is to tell."""
        if more:
            self.counts[what] += more


def boxes_of(objects: Sequence[KnownObject], dims: int) -> NDArray[np.float32]:
    """Return the boxes of objects, float32 (n, 2 · dims)."""
    return np.asarray([one.box for one in objects], np.float32).reshape(-1, 2 * dims)
