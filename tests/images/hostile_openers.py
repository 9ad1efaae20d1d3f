"""Openers that misbehave, each in its own way: they show that the harness notices."""

from __future__ import annotations

import os
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def raises(path: Path) -> Any:  # noqa: ANN401 - it never returns
    """Raise what is not ours."""
    raise KeyError(path.name)


def nameless(path: Path) -> Any:  # noqa: ANN401 - it never returns
    """Raise one of ours without a code."""
    raise ImageRefusedError(f"{path.name} is not read.", code="")


def hangs(path: Path) -> Any:  # noqa: ANN401 - it never returns in time
    """Never come back."""
    time.sleep(3600)
    return path


def swells(path: Path) -> Any:  # noqa: ANN401 - it never returns in time
    """Take 400 MiB, then refuse."""
    taken = np.ones(400 * MIB, np.uint8)
    time.sleep(0.2)
    raise ImageRefusedError(f"{path.name} took {taken.nbytes} bytes.", code="size")


def dies(path: Path) -> Any:  # noqa: ANN401 - it never returns
    """End the process as a crash does."""
    os._exit(len(path.parts) and 139)


def leaks(path: Path) -> Any:  # noqa: ANN401 - what an image is asked for and no more
    """Show the bytes of whatever file it is given."""
    import dask.array as da

    pixels = np.frombuffer(path.read_bytes(), np.uint8)
    return SimpleNamespace(levels=(da.from_array(pixels, chunks=1000),))  # type: ignore[no-untyped-call]
