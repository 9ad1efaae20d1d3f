"""Very many outlines all over a slide, for the benchmark of outlines."""

from __future__ import annotations

import numpy as np

from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.geometry import Grid
from napari_medlab.widgets.layers.case_view import CaseView

__all__ = ["PIXEL_UM", "SHAPE", "VERTICES", "slide_view", "table_of"]

SHAPE = (80_000, 100_000)
VERTICES, PIXEL_UM = 40, 0.25


def table_of(count: int) -> RegionTable:
    """Return so many outlines of 40 vertices, 20 to 80 pixels wide, all over the slide."""
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, VERTICES, endpoint=False)
    centre, radius = rng.uniform(100, np.asarray(SHAPE) - 100, (count, 2)), rng.uniform(10, 40, (count, 1))
    wave = radius * (1 + 0.15 * np.sin(3 * angle + rng.uniform(0, 6, (count, 1))))
    vertices = np.stack([centre[:, :1] + np.sin(angle) * wave, centre[:, 1:] + np.cos(angle) * wave], axis=2)
    return RegionTable(
        case_id="slide",
        ids=np.char.mod("%032x", np.arange(count)).astype("S32"),
        owner_ids=np.zeros(count, "S32"),
        labels=rng.integers(0, 4, count).astype(np.int32),
        label_names=("a", "b", "c", "d"),
        scores=rng.random(count),
        region_rings=np.arange(count + 1),
        ring_starts=np.arange(count + 1) * VERTICES,
        vertices=vertices.reshape(-1, 2),
    )


def slide_view() -> CaseView:
    """Return the case, of whose pixels nothing is drawn here."""
    grid = Grid.axis_aligned(SHAPE, (PIXEL_UM, PIXEL_UM), unit="um")
    return CaseView("slide", "slide", "slide", [[]], grid, is_rgb=True, order=(0, 1), flips=(1, 1))
