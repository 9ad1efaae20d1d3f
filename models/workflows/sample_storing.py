"""Samples on the disk, for good before anybody is told of them."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from napari_medlab.durable import writing
from napari_medlab.models.training.samples import write_sample

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.training.samples import Sample

__all__ = ["store_sample"]


def store_sample(path: Path, sample: Sample) -> str:
    """Write a sample, wait until it is on the disk, and return its SHA-256.

    Raises
    ------
    DiskError
    """
    with writing(path):
        write_sample(path, sample)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
            return hashlib.file_digest(file, "sha256").hexdigest()
