"""What is kept out of a training to validate on: a fold of patients, or evenly spaced frames of every sequence."""

from __future__ import annotations

import math
import re
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.folds import VALIDATION, assign_folds, check_no_leak, interval_split

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


__all__ = ["HoldOut", "Split"]

FOLD = re.compile(r"fold:(\d+)/(\d+)")
INTERVAL = re.compile(r"interval:(\d*\.?\d+)(?::(\d+))?")


@dataclass(frozen=True)
class Split:
    """The rows of samples on both sides; those of neither are left out.

    Parameters
    ----------
    training, held_out : int arrays
    """

    training: NDArray[np.intp]
    held_out: NDArray[np.intp]


@dataclass(frozen=True)
class HoldOut:
    """What is held out, in the words of the command line: ``fold:1/5``, ``interval:0.15`` or ``interval:0.15:2``.

    Parameters
    ----------
    fold : (k, n) or None
        The k-th of n folds, from 1. Groups are kept together: see
        :func:`~napari_medlab.models.training.folds.assign_folds`. The folds depend on the groups' names alone, so that all
        configurations and seeds are compared on the same ones.
    interval : float or None
        In place of a fold: this share of the frames of every sequence, evenly spaced. A sequence is a group, its frames are
        in the order of the files' names: see :func:`~napari_medlab.models.training.folds.interval_split`.
    gap : int
        So many frames on both sides of each that is held out are left out.

    Raises
    ------
    InputRefusedError
        Where a fold is none of those that there are, or a share is not between 0 and 1.
    """

    fold: tuple[int, int] | None = None
    interval: float | None = None
    gap: int = 0

    def __post_init__(self) -> None:
        number, count = self.fold or (1, 2)
        is_usable = (self.fold is None) != (self.interval is None) and count >= 2 and 1 <= number <= count
        if not is_usable or not 0 < (0.5 if self.interval is None else self.interval) < 1 or self.gap < 0:
            raise _refused(f"fold {self.fold}, interval {self.interval}, gap {self.gap}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what is written on the command line.

        Raises
        ------
        InputRefusedError
            Where it is nothing of the kind.
        """
        if found := FOLD.fullmatch(text):
            return cls(fold=(int(found[1]), int(found[2])))
        if found := INTERVAL.fullmatch(text):
            return cls(interval=float(found[1]), gap=int(found[2] or 0))
        raise _refused(repr(text))

    def __str__(self) -> str:
        if self.fold is not None:
            return f"fold:{self.fold[0]}/{self.fold[1]}"
        return f"interval:{self.interval}" + (f":{self.gap}" if self.gap else "")

    def split(self, paths: Sequence[Path]) -> Split:
        """Return the rows of files to train on and those that are held out.

        Raises
        ------
        InputRefusedError
            With code ``"leak"`` where one image is on both sides, under whatever name; ``"no-group"`` where a sample names no
            group; and ``"folds"`` where nothing is held out, or nothing is left to train on.
        """
        from napari_medlab.models.training.sample_store import SampleStore

        abouts = SampleStore(paths).abouts
        groups = [about.group for about in abouts]
        if self.fold is not None:
            number, count = self.fold
            folds = assign_folds(groups, [about.has_lesion for about in abouts], count)
            is_held_out = folds == number - 1
            check_no_leak(is_held_out, groups)
            split = Split(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out))
        else:
            split = self._frames(groups, [path.stem for path in paths])
        _check_images(paths, split)
        return split

    def _frames(self, sequences: Sequence[str], names: Sequence[str]) -> Split:
        """Return the split of sequences whose frames are in the order of their names, 2 before 10."""
        if unnamed := sum(not sequence for sequence in sequences):
            raise InputRefusedError(
                f"{unnamed} of {len(sequences)} samples name no group, so that nobody knows which sequence they are of.",
                code="no-group", hint="Give each the name of its sequence as its group.",
            )  # fmt: skip
        order = sorted(range(len(names)), key=lambda row: _by_number(names[row]))
        frames = np.argsort(order)
        sides = interval_split(sequences, frames, self.interval or 0.0, self.gap)
        split = Split(np.flatnonzero(sides == 0), np.flatnonzero(sides == VALIDATION))
        if not len(split.held_out) or not len(split.training):
            raise InputRefusedError(
                f"Of {len(names)} samples in {len(set(sequences))} sequences, {self} leaves {len(split.training)} to train "
                f"on and {len(split.held_out)} to validate on.",
                code="folds",
                hint="Intervals are for sequences of many frames, whose name is the samples' group; else hold out a fold.",
            )
        return split


def _check_images(paths: Sequence[Path], split: Split) -> None:
    """Refuse a split in which one and the same image is on both sides."""
    learnt: defaultdict[tuple[int, int], list[Path]] = defaultdict(list)
    for row in split.training:
        learnt[_checksum(paths[row])].append(paths[row])
    leaking = [
        f"{paths[row].name} as {other.name}"
        for row in split.held_out
        for other in learnt.get(_checksum(paths[row]), ())
        if np.array_equal(_image(paths[row]), _image(other))
    ]
    if leaking:
        raise InputRefusedError(
            f"{len(leaking)} images that are held out are trained on as well: {', '.join(leaking[:5])}.",
            code="leak", hint="Remove the copies, or give them the group of what they are copies of.",
        )  # fmt: skip


def _checksum(path: Path) -> tuple[int, int]:
    """Return the checksum and the size of the image in a file, as its table of contents has them."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo("image.npy")
        return entry.CRC, entry.file_size


def _image(path: Path) -> NDArray[Any]:
    with np.load(path, allow_pickle=False) as stored:
        image: NDArray[Any] = stored["image"]
        return image


def _by_number(name: str) -> list[tuple[float, str]]:
    """Return what a name is ordered by: numbers in it by their values."""
    return [
        (float(part), "") if part.isdecimal() else (math.inf, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]


def _refused(got: str) -> InputRefusedError:
    return InputRefusedError(
        f"Nothing can be held out by {got}.", code="hold-out",
        hint="Give fold:K/N, the K-th of N folds, from 1; or interval:SHARE, or interval:SHARE:GAP, with a share between "
        "0 and 1.",
    )  # fmt: skip
