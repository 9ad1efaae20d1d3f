"""Folders of samples: which files there are, and what they hash to."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["SampleFiles", "find_samples"]


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
