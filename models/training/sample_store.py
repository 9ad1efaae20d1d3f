"""Samples in memory or on disk, read when they are needed, the last ones kept within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.patches import lesion_places
from napari_medlab.models.training.samples import NO_CLASS, Sample, read_sample

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.lib.npyio import NpzFile
    from numpy.typing import NDArray

__all__ = ["About", "SampleStore"]

MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class About:
    """What is known of a sample without its image.

    Parameters
    ----------
    label : its class, -1 where it has none
    has_lesion : whether a box that counts, or a voxel of the mask, or a class above 0 makes it a positive
    weight, group : as in :class:`~napari_medlab.models.training.samples.Sample`
    folder : the name of the folder that its file lies in; empty where it was handed in as it is
    shape : of its image, (channel, …spatial)
    """

    label: int
    has_lesion: bool
    weight: float
    group: str
    folder: str = ""
    shape: tuple[int, ...] = ()

    @property
    def of_class(self) -> int:
        """The class by which samplers balance: its own, else 1 where there is a lesion and 0 where there is none."""
        return self.label if self.label != NO_CLASS else int(self.has_lesion)


class SampleStore:
    """A row of samples, some of which may lie in ``.npz`` files.

    Parameters
    ----------
    samples : sequence of Sample or Path
        Files are those of :func:`~napari_medlab.models.training.samples.write_sample`.
    most_bytes : int
        What is kept of samples that were read; those handed in as they are do not count.
    factors : sequence of float, optional
        How much more often each is drawn than its own weight says; 1 by default.

    Raises
    ------
    InputRefusedError
        Where there is no sample.
    """

    def __init__(
        self,
        samples: Sequence[Sample | Path],
        most_bytes: int = MOST_BYTES,
        factors: Sequence[float] | None = None,
    ) -> None:
        if not len(samples):
            raise InputRefusedError("There is no sample to draw from.", code="no-samples")
        self._samples = list(samples)
        self._most_bytes = most_bytes
        self._kept: OrderedDict[int, Sample] = OrderedDict()
        self._places: dict[int, NDArray[np.float32]] = {}
        self.used_bytes = 0
        """The size of the samples that are kept."""
        self._factors = np.ones(len(self._samples)) if factors is None else np.asarray(factors, np.float64)
        self.abouts = [
            replace(about, weight=about.weight * float(factor))
            for about, factor in zip(map(_about, self._samples), self._factors, strict=True)
        ]
        """What is known of each without its image."""

    @classmethod
    def of(cls, samples: SampleStore | Sequence[Sample | Path]) -> SampleStore:
        """Return the same store, or one made of samples."""
        return samples if isinstance(samples, SampleStore) else cls(samples)

    def part(self, rows: NDArray[np.bool_]) -> SampleStore:
        """Return a store of the samples that a mask names."""
        chosen = [self._samples[row] for row in np.flatnonzero(rows)]
        return SampleStore(chosen, self._most_bytes // 2, self._factors[rows].tolist())

    @property
    def entries(self) -> list[Sample | Path]:
        """The samples as they were handed in."""
        return list(self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, row: int) -> Sample:
        sample = self._samples[row]
        if isinstance(sample, Sample):
            return sample
        if row in self._kept:
            self._kept.move_to_end(row)
            return self._kept[row]
        read = read_sample(sample)
        self._keep(row, read)
        return read

    def places(self, row: int, sample: Sample) -> NDArray[np.float32]:
        """Return where the lesions of the sample in a row are, (n, dims), found once."""
        if row not in self._places:
            self._places[row] = lesion_places(sample)
        return self._places[row]

    def weights(self) -> NDArray[np.float64]:
        """Return how often each is drawn, relative to others."""
        return np.array([about.weight for about in self.abouts], dtype=np.float64)

    def classes(self) -> NDArray[np.int64]:
        """Return the class by which each is balanced."""
        return np.array([about.of_class for about in self.abouts], dtype=np.int64)

    def _keep(self, row: int, sample: Sample) -> None:
        """Keep a sample, and give up those that were used longest ago; one larger than the budget is never kept."""
        size = _size(sample)
        if size > self._most_bytes:
            return
        self._kept[row] = sample
        self.used_bytes += size
        while self.used_bytes > self._most_bytes:
            _, oldest = self._kept.popitem(last=False)
            self.used_bytes -= _size(oldest)


def _size(sample: Sample) -> int:
    return int(sample.image.nbytes) + (0 if sample.mask is None else int(sample.mask.nbytes))


def _about(sample: Sample | Path) -> About:
    if isinstance(sample, Sample):
        label, is_ignored, mask = sample.label, sample.is_ignored, sample.mask
        has_lesion = _has_lesion(label, is_ignored, mask)
        return About(label, has_lesion, sample.weight, sample.group, shape=sample.image.shape)
    with np.load(sample, allow_pickle=False) as stored:
        label, is_ignored = int(stored["label"]), stored["is_ignored"]
        # of a file, only what is asked for is read; the mask is large
        needs_mask = label == NO_CLASS and not len(is_ignored)
        mask = stored.get("mask") if needs_mask else None
        return About(
            label, _has_lesion(label, is_ignored, mask), float(stored["weight"]), str(stored["group"]),
            sample.resolve().parent.name, _shape_in(stored),
        )  # fmt: skip


def _shape_in(stored: NpzFile) -> tuple[int, ...]:
    """Return the shape of the image in a file, without reading the image."""
    archive = stored.zip
    if archive is None:  # it is open here
        raise ValueError("the file is closed")
    with archive.open("image.npy") as file:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, _ = read(file)
        return tuple(int(size) for size in shape)


def _has_lesion(label: int, is_ignored: NDArray[np.bool_], mask: NDArray[np.uint8] | None) -> bool:
    if label != NO_CLASS:
        return label > 0
    if len(is_ignored):
        return bool((~is_ignored).any())
    return mask is not None and bool(mask.any())
