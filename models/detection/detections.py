"""What detectors return, before it has a place in the world: boxes in voxels with scores and classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["DecodeSettings", "Detections"]


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found in one array, in no order that matters.

    Parameters
    ----------
    boxes : float64 array (n, 2 · dims)
        The corners where a box starts, in array order, then those where it stops: (z0, y0, x0, z1, y1, x1) or
        (y0, x0, y1, x1), as voxel indices with 0 at a voxel's centre. A box around voxel i alone is i - 0.5 … i + 0.5.
    scores : float64 array (n,), 0 … 1
    classes : int64 array (n,)
        Which of the bundle's classes.
    """

    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]

    @classmethod
    def none(cls, dims: int) -> Self:
        """Return no detection at all."""
        return cls(np.zeros((0, 2 * dims)), np.zeros(0), np.zeros(0, np.int64))

    @classmethod
    def of_centres(
        cls, centres: NDArray[np.float64], diameters: NDArray[np.float64], scores: NDArray[np.float64],
        classes: NDArray[np.int64],
    ) -> Self:  # fmt: skip
        """Return cubes around centres (n, dims) with sides as long as the diameters (n,)."""
        reach = diameters[:, None] / 2
        return cls(np.concatenate([centres - reach, centres + reach], axis=1), scores, classes)

    @classmethod
    def joined(cls, parts: Sequence[Detections]) -> Self:
        """Return the detections of several parts, one after the other; ``parts`` is not empty."""
        return cls(
            np.concatenate([part.boxes for part in parts]), np.concatenate([part.scores for part in parts]),
            np.concatenate([part.classes for part in parts]),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def dims(self) -> int:
        """2 or 3."""
        return int(self.boxes.shape[1]) // 2

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middles of the boxes, (n, dims)."""
        return (self.boxes[:, : self.dims] + self.boxes[:, self.dims :]) / 2

    @property
    def diameters(self) -> NDArray[np.float64]:
        """The mean lengths of the sides, (n,)."""
        mean: NDArray[np.float64] = (self.boxes[:, self.dims :] - self.boxes[:, : self.dims]).mean(axis=1)
        return mean

    def where(self, rows: NDArray[Any]) -> Detections:
        """Return those that a mask or an array of row numbers names."""
        return Detections(self.boxes[rows], self.scores[rows], self.classes[rows])

    def moved(self, offset: Sequence[float]) -> Detections:
        """Return them shifted by an offset in voxels, one number for each axis."""
        return Detections(self.boxes + np.tile(np.asarray(offset, np.float64), 2), self.scores, self.classes)


@dataclass(frozen=True)
class DecodeSettings:
    """How a network's maps become detections; part of a bundle's post-processing.

    Parameters
    ----------
    threshold : float
        The least score.
    most : int
        At most this many detections of one tile, the best.
    overlap : {"nms", "soft-nms", "wbf", "none"}
        What becomes of boxes of one class that overlap: see :mod:`napari_medlab.models.detection.suppression`.
    iou : float
        From which intersection over union boxes overlap.
    options : dict
        Further settings of that rule, such as ``{"sigma": 0.5}``.
    """

    threshold: float = 0.05
    most: int = 100
    overlap: str = "nms"
    iou: float = 0.3
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, postprocessing: Mapping[str, Any]) -> DecodeSettings:
        """Read the settings out of a bundle's ``postprocessing``; what it does not name stays as it is by default.

        ``most_per_tile`` is what older bundles call ``most``.
        """
        given = dict(postprocessing)
        given.setdefault("most", given.get("most_per_tile", cls.most))
        return cls(**{name: given[name] for name in cls.__dataclass_fields__ if name in given})
