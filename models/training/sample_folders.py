"""Folders of samples: which files there are, what they hash to, and which of them are held out."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SampleFiles", "find_samples", "split"]


@dataclass(frozen=True)
class SampleFiles:
    """The samples of some folders.

    Parameters
    ----------
    paths : list of Path
        In the order of folders and names.
    sha256 : str
        Of the hashes of all files: the same files in other folders have the same.
    """

    paths: list[Path]
    sha256: str


def find_samples(folders: Sequence[Path]) -> SampleFiles:
    """Return the ``.npz`` files of folders.

    Raises
    ------
    InputRefusedError
        Where a folder is missing or holds none.
    """
    paths: list[Path] = []
    for folder in folders:
        found = sorted(folder.glob("*.npz"))
        if not found:
            raise InputRefusedError(
                f"{folder} holds no samples (.npz files).", code="no-samples",
                hint="Write them with napari_medlab.models.training.samples.write_sample.",
            )  # fmt: skip
        paths += found
    digests = sorted(_sha256(path) for path in paths)
    return SampleFiles(paths, hashlib.sha256("\n".join(digests).encode()).hexdigest())


def split(paths: Sequence[Path], fold: Sequence[int] | None) -> tuple[list[Path], list[Path]]:
    """Return the files to train on and those that are held out, patients kept together.

    The folds depend on the patients' names alone, so that all configurations and seeds are compared on the same ones.

    Parameters
    ----------
    paths : files of samples
    fold : (k, n), the k-th of n folds from 0, or None to hold out nothing
    """
    from napari_medlab.models.training.folds import assign_folds
    from napari_medlab.models.training.sample_store import SampleStore

    if fold is None:
        return list(paths), []
    number, count = fold
    abouts = SampleStore(list(paths)).abouts
    folds = assign_folds([about.group for about in abouts], [about.has_lesion for about in abouts], count)
    training = [path for path, of_path in zip(paths, folds, strict=True) if of_path != number]
    return training, [path for path, of_path in zip(paths, folds, strict=True) if of_path == number]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
