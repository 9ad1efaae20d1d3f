"""A package of hard examples on the disk: whole or not at all, every file with its hash."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import new_folder, write_file
from napari_medlab.models.training.packages import MANIFEST
from napari_medlab.models.workflows.sample_storing import store_sample

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from napari_medlab.models.training.samples import Sample

__all__ = ["PackageWriter", "new_package"]

FOLDER = "examples"


@dataclass
class PackageWriter:
    """Writes into the folder of a package that is being made.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    records : list of dict
        What the manifest tells of each example, in the order in which they were added.
    """

    folder: Path
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, sample: Sample, about: Mapping[str, Any]) -> None:
        """Write a sample under the next number; it is on the disk then."""
        name = f"{FOLDER}/{len(self.records):05d}.npz"
        self.records.append({"file": name, "sha256": store_sample(self.folder / name, sample), **about})

    def finish(self, about: Mapping[str, Any]) -> bytes:
        """Write the manifest, and return what is in it."""
        text = json.dumps({**about, "examples": self.records}, indent=1, allow_nan=False).encode()
        write_file(self.folder / MANIFEST, text)
        return text


@contextmanager
def new_package(folder: Path) -> Iterator[PackageWriter]:
    """Make a package in a folder that must not exist; nothing is left of one that is not finished.

    Raises
    ------
    InputRefusedError
        ``exists``.
    DiskError
    """
    with new_folder(folder) as partial:
        (partial / FOLDER).mkdir()
        yield PackageWriter(partial)
