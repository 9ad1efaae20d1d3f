"""Images with outlines of every kind that formats must carry, and the comparison that knows no tolerance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from napari_medlab.annotations.formats.outline_rows import Outline, box_ring, image_regions, outlines_of
from napari_medlab.geometry import mask_to_rings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations.image_regions import ImageRegions

SHAPE = (24, 31)
FRACTION = 1 << 12
"""Vertices are multiples of one part of this."""

ONE_PIXEL = mask_to_rings(np.asarray([[1]]))
WITH_HOLE = [box_ring(1.5, 1.5, 20.25, 18.0), box_ring(4.0, 4.5, 9.0, 9.5), box_ring(10.5, 11.0, 12.0, 12.5)]
ISLAND_IN_HOLE = [*WITH_HOLE[:2], box_ring(5.0, 5.0, 6.5, 6.5)]
TWO_PARTS = [box_ring(0.0, 0.0, 3.0, 3.0), box_ring(10.5, 10.5, 12.5, 14.5)]
BOW_TIE = [np.asarray([[2.0, 2.0], [10.0, 12.0], [10.0, 2.0], [2.0, 12.0]])]
TOUCHING_ITSELF = [np.asarray([[2.0, 2], [2, 8], [6, 5], [10, 8], [10, 2], [6, 5]])]
CROSSING = [box_ring(2.0, 2.0, 8.0, 8.0), box_ring(5.0, 5.0, 12.0, 12.0)]
SAMPLES = [ONE_PIXEL, WITH_HOLE, ISLAND_IN_HOLE, TWO_PARTS, BOW_TIE, TOUCHING_ITSELF]


@st.composite
def masks(draw: st.DrawFn, shape: tuple[int, int] = SHAPE) -> NDArray[np.bool_]:
    """Draw a mask with at least one pixel: noise with holes and diagonal neighbours in a part of the image."""
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    top, left = draw(st.integers(0, shape[0] - height)), draw(st.integers(0, shape[1] - width))
    bits = draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.zeros(shape, dtype=np.bool_)
    mask[top : top + height, left : left + width] = np.asarray(bits).reshape(height, width)
    mask[top, left] = True
    return mask


def coordinates(size: int) -> st.SearchStrategy[float]:
    """Draw places up to half a pixel around an image's side."""
    return st.integers(-FRACTION // 2, (size - 1) * FRACTION + FRACTION // 2).map(lambda n: n / FRACTION)


@st.composite
def free_rings(draw: st.DrawFn) -> list[NDArray[np.float64]]:
    """Draw one ring of any vertices that has an area, and may cross itself."""
    pairs = st.tuples(coordinates(SHAPE[0]), coordinates(SHAPE[1]))
    vertices = draw(st.lists(pairs, min_size=3, max_size=9, unique=True))
    return [np.asarray(vertices)]


def ring_lists(*, with_crossing: bool = True) -> st.SearchStrategy[list[NDArray[np.float64]]]:
    """Draw the rings of one outline; with ``with_crossing`` also such that share a part of their area."""
    given = [*SAMPLES, CROSSING] if with_crossing else SAMPLES
    return st.one_of(masks().map(mask_to_rings), free_rings(), st.sampled_from(given))


@st.composite
def images(
    draw: st.DrawFn,
    rings: st.SearchStrategy[list[NDArray[np.float64]]] | None = None,
    *,
    scored: bool | None = None,
    excluding: bool = True,
    owned: bool = True,
) -> list[ImageRegions]:
    """Draw up to three images with up to four outlines each."""
    names = draw(
        st.lists(st.sampled_from(["a.png", "b/a.png", "Ünï cødé.tif", "c"]), max_size=3, unique=True)
    )
    scores = (
        st.floats(0, 1)
        if scored
        else st.just(math.nan)
        if scored is False
        else st.floats(0, 1) | st.just(math.nan)
    )
    drawn = []
    count = 0
    for name in names:
        outlines = []
        for _ in range(draw(st.integers(0, 4))):
            count += 1
            outlines.append(
                Outline(
                    draw(rings if rings is not None else ring_lists()),
                    draw(st.sampled_from(["glomerulus", "Tumor: necrotic", "=1+1", "naïve"])),
                    draw(st.sampled_from(["", "0"])) + f"{count:032x}",
                    draw(scores),
                    draw(st.booleans()) and excluding,
                    draw(st.sampled_from(["", "owner-1"])) if owned else "",
                )
            )
        drawn.append(image_regions(name, outlines, shape=SHAPE))
    return drawn


def one_image(
    *rings: Sequence[NDArray[np.float64]],
    label: str = "mass",
    score: float = math.nan,
    is_excluded: bool = False,
) -> ImageRegions:
    """Return one image with outlines of given rings, with the ids 1, 2 and so on."""
    rows = [Outline(each, label, f"{at}", score, is_excluded) for at, each in enumerate(rings, start=1)]
    return image_regions("a.png", rows, shape=SHAPE)


def assert_same(
    got: Sequence[ImageRegions],
    wanted: Sequence[ImageRegions],
    *,
    with_ids: bool = True,
    any_order: bool = False,
) -> None:
    """Compare names, sizes, and every outline with all its vertices, bit for bit; rings in any order if so said."""
    assert [(image.image, image.shape) for image in got] == [(image.image, image.shape) for image in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert len(one) == len(other)
        for row, expected in zip(outlines_of(one), outlines_of(other), strict=True):
            if any_order:
                row, expected = (
                    each._replace(rings=sorted(each.rings, key=np.ndarray.tolist)) for each in (row, expected)
                )
            assert_same_outline(row, expected, with_ids=with_ids)


def assert_same_outline(row: Outline, expected: Outline, *, with_ids: bool = True) -> None:
    """Compare two outlines, bit for bit."""
    if with_ids:
        assert (row.region_id, row.owner_id) == (expected.region_id, expected.owner_id)
    assert (row.label, row.is_excluded) == (expected.label, expected.is_excluded)
    assert row.score == expected.score or (math.isnan(row.score) and math.isnan(expected.score))
    assert [ring.tolist() for ring in row.rings] == [ring.tolist() for ring in expected.rings]
