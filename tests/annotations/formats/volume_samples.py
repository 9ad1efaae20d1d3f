"""Random grids and label maps, and other libraries' view of what is written on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

NAMES = {1: "nodule", 2: "vessel", 3: "bone"}


@st.composite
def grids(draw: st.DrawFn, *, tilted: bool = False) -> Grid:
    """Draw the grid of a small volume, turned at random and with any of its axes reversed, anywhere within a metre."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    if tilted:  # slices are moved along their own rows, as by a gantry
        turn = turn @ np.asarray([[1, 0, 0], [rng.uniform(-0.4, 0.4), 1, 0], [0, 0, 1]])
        turn[:, 0] /= np.linalg.norm(turn[:, 0])
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform([0.5, 0.3, 0.3], [5.0, 1.2, 1.2])
    affine[:3, 3] = rng.uniform(-1000, 1000, 3)
    return Grid(tuple(rng.integers([1, 3, 3], 9).tolist()), affine, "mm")


@st.composite
def label_maps(draw: st.DrawFn, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw a map of three classes, from empty to full of single voxels that touch at corners."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    filled = rng.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.3, 0.6, 0.95]))
    labels: NDArray[np.uint8] = (filled * rng.integers(1, 4, shape)).astype(np.uint8)
    return labels


def straight_grid(shape: tuple[int, int, int] = (5, 12, 10)) -> Grid:
    """Return a grid whose slices are axial, from the feet up."""
    return Grid.axis_aligned(shape, (2.5, 0.7, 0.6), (-100.125, 30.25, -500.5))
