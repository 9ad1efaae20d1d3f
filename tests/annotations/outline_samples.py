"""Random outlines, and the plain way to do what the index and the painter do for all of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from napari_medlab.annotations import Region
from napari_medlab.annotations.region_table import RegionTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

LABELS = ("glomerulus", "nucleus", "vessel")


@st.composite
def tables(draw: st.DrawFn, *, most: int = 12, size: float = 50.0) -> RegionTable:
    """Draw a table of stars with holes and parts, some of them tiny, some partly outside of (0, size)²."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_table(rng, draw(st.integers(0, most)), size)


def random_table(rng: np.random.Generator, count: int, size: float = 50.0) -> RegionTable:
    """Return so many outlines of one to three rings each; every second one has a hole."""
    regions = []
    for number in range(count):
        centre, radius = rng.uniform(-0.05 * size, 1.05 * size, 2), size * 10.0 ** rng.uniform(-2.5, -0.5)
        rings = [star(rng, centre, radius)]
        if rng.random() < 0.5:
            rings.append(star(rng, centre, radius / 3)[::-1])
        if rng.random() < 0.3:
            rings.append(star(rng, centre + 2.5 * radius, radius))
        regions.append(Region("case", tuple(rings), "", str(rng.choice(LABELS)), f"{number:032x}"))
    return RegionTable.from_regions("case", regions, rng.random(count).tolist())


def star(rng: np.random.Generator, centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return a ring of three to fourteen vertices around a centre."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 15)))
    reach = radius * rng.uniform(0.5, 1, len(angles))
    ring: NDArray[np.float64] = centre + reach[:, None] * np.column_stack([np.sin(angles), np.cos(angles)])
    return ring


def is_inside(region: Region, point: tuple[float, float]) -> bool:
    """Tell whether a point lies inside an odd number of rings, edge by edge."""
    odd = False
    for ring in region.rings:
        for (y0, x0), (y1, x1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            if (y0 > point[0]) != (y1 > point[0]) and point[1] < x0 + (point[0] - y0) * (x1 - x0) / (y1 - y0):
                odd = not odd
    return odd
