"""Small cases in memory that count how often they are opened, and can be made to wait or to fail."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np

from napari_medlab.errors import ImageRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.images import Image, Window

__all__ = ["GREY", "Cases", "Place"]

GREY = 180
HANG = 30.0


class Place(NamedTuple):
    """An item of a gallery."""

    case_id: str
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    diameter: float = 6.0


class Cases:
    """Opens volumes of one grey; cases named "broken" are refused."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, case_id: str) -> Image:
        self.opened.append(case_id)
        self.threads.add(threading.current_thread().name)
        if not self.gate.wait(HANG):
            raise TimeoutError
        if case_id == "broken":
            raise ImageRefusedError("Slices are missing.", code="gap", hint="Look for them.")
        pixels = np.full((20, 64, 64), GREY, np.uint8)
        grid = Grid.axis_aligned(pixels.shape, (2.0, 1.0, 1.0), (-32.0, -32.0, -20.0))
        return Image.of_arrays([pixels], grid, windows=(Window("all", 0, 255),))
