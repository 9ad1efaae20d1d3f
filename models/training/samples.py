"""What training sees: an array at the network's spacing, with boxes, a mask or a class of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["Sample", "read_sample", "write_sample"]

NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class Sample:
    """One array with what is known about it.

    Parameters
    ----------
    image : array (channel, z, y, x) or (channel, y, x), float16 or float32
        Prepared as the network wants it: resampled, windowed, normalised.
    boxes : float32 array (n, 2 · dims)
        Start corners, then stop corners, as in :class:`~napari_medlab.models.detection.detections.Detections`.
    labels : int64 array (n,)
        Which of the classes each box is.
    is_ignored : bool array (n,)
        Objects that are neither lesion nor background: no loss is counted there.
    mask : uint8 array (class, z, y, x) or (class, y, x), or None
        1 where an object of the class is; for segmenters.
    label : int
        The class of the whole sample, for classifiers: 1 for a lesion, 0 for none; -1 where it has none.
    weight : float
        How often the sample is drawn, relative to others.
    group : str
        The patient; splits keep groups together.
    """

    image: NDArray[Any]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    is_ignored: NDArray[np.bool_]
    mask: NDArray[np.uint8] | None = None
    label: int = NO_CLASS
    weight: float = 1.0
    group: str = ""

    @classmethod
    def without_boxes(cls, image: NDArray[Any], **rest: Any) -> Sample:  # noqa: ANN401 - the other fields
        """Return a sample that holds no box, such as one for a segmenter or a classifier, or a healthy image."""
        dims = image.ndim - 1
        return cls(
            image, np.zeros((0, 2 * dims), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_), **rest
        )

    @property
    def dims(self) -> int:
        """2 or 3."""
        return self.image.ndim - 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The spatial shape."""
        return self.image.shape[1:]

    @property
    def centres(self) -> NDArray[np.float32]:
        """The middles of the boxes, (n, dims)."""
        middles: NDArray[np.float32] = (self.boxes[:, : self.dims] + self.boxes[:, self.dims :]) / np.float32(
            2
        )
        return middles

    @property
    def diameters(self) -> NDArray[np.float32]:
        """The mean lengths of the boxes' sides, (n,)."""
        mean: NDArray[np.float32] = (self.boxes[:, self.dims :] - self.boxes[:, : self.dims]).mean(axis=1)
        return mean


def write_sample(path: Path, sample: Sample) -> None:
    """Write a sample as one uncompressed ``.npz`` file, whole or not at all."""
    partial = path.with_name(f"{path.stem}.partial.npz")
    mask: dict[str, Any] = {} if sample.mask is None else {"mask": sample.mask}
    np.savez(
        partial, image=sample.image, boxes=sample.boxes, labels=sample.labels, is_ignored=sample.is_ignored,
        label=sample.label, weight=sample.weight, group=sample.group, **mask,
    )  # fmt: skip
    partial.replace(path)


def read_sample(path: Path) -> Sample:
    """Read what :func:`write_sample` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return Sample(
            stored["image"], stored["boxes"], stored["labels"], stored["is_ignored"],
            stored.get("mask"), int(stored["label"]), float(stored["weight"]),
            str(stored["group"]),
        )  # fmt: skip
