"""The index of outlines answers as looking at each of them would."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outline_samples import is_inside, random_table, star, tables

from napari_medlab.annotations import Region
from napari_medlab.annotations.region_edges import edges_of, longest_edges
from napari_medlab.annotations.region_index import RegionIndex
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.annotations.region_tree import BoxTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEEDS = st.integers(0, 2**32 - 1)


def rows_meeting(
    boxes: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[int]:
    """Look at every box."""
    return [row for row, (first, last) in enumerate(boxes) if (first <= high).all() and (last >= low).all()]


@given(seed=SEEDS, count=st.sampled_from([0, 1, 15, 64, 65, 300, 2000]))
@settings(deadline=None, max_examples=60)
def test_the_tree_finds_every_box_that_meets_a_box_and_no_other(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    # whole numbers, so that borders often touch
    low = rng.integers(0, 60, (count, 2)).astype(np.float64)
    boxes = np.stack([low, low + rng.integers(0, 9, (count, 2))], axis=1)
    boxes[rng.random(count) < 0.05] = np.nan
    wanted = np.sort(rng.integers(-5, 70, (2, 2)), axis=0).astype(np.float64)
    found = BoxTree(boxes).meeting(*wanted)
    assert sorted(found.tolist()) == rows_meeting(boxes, *wanted)


@given(table=tables(most=40), seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_the_innermost_outline_around_a_point_is_picked(table: RegionTable, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = RegionIndex.of(table)
    for y, x in rng.uniform(-5, 55, (20, 2)).tolist():
        around = [row for row in range(len(table)) if is_inside(table.region(row), (y, x))]
        sides = np.diff(table.boxes, axis=1)[:, 0].prod(axis=1)
        assert index.at((y, x)) == min(around, key=lambda row: float(sides[row]), default=-1)


def test_holes_are_outside_and_what_lies_in_them_is_picked() -> None:
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    ring = Region("c", (20 * square, 10 * square + 5))
    nested = Region("c", (2 * square + 9,))
    index = RegionIndex.of(RegionTable.from_regions("c", [ring, nested]))
    assert [index.at(point) for point in ((2, 2), (7, 7), (10, 10), (30, 30))] == [0, -1, 1, -1]


def test_within_reach_the_nearest_outline_is_picked() -> None:
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    index = RegionIndex.of(
        RegionTable.from_regions("c", [Region("c", (square,)), Region("c", (square + 10,))])
    )
    assert index.at((8.0, 8.0)) == -1
    assert index.at((8.0, 8.0), reach=4.0) == 1
    assert index.at((8.0, 8.0), reach=3.0) == -1
    assert index.at((4.0, 4.0), reach=50.0) == 0


@given(table=tables(most=40), seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_a_lasso_takes_the_outlines_whose_middle_lies_inside(table: RegionTable, seed: int) -> None:
    lasso = star(np.random.default_rng(seed), np.array([25.0, 25.0]), 30.0)
    shape = Region("case", (lasso,))
    middles = table.boxes.mean(axis=1)
    wanted = [row for row, (y, x) in enumerate(middles.tolist()) if is_inside(shape, (y, x))]
    assert RegionIndex.of(table).in_lasso(lasso).tolist() == wanted


def test_a_lasso_of_two_points_takes_nothing() -> None:
    index = RegionIndex.of(random_table(np.random.default_rng(0), 5))
    assert index.in_lasso([(0, 0), (50, 50)]).tolist() == []


@given(table=tables(most=20), seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_an_index_after_edits_answers_as_one_made_anew(table: RegionTable, seed: int) -> None:
    rng = np.random.default_rng(seed)
    index = RegionIndex.of(table)
    wanted = {table.region(row).region_id: table.region(row) for row in range(len(table))}
    for step in range(12):
        ids = sorted(wanted)
        rings = (star(rng, rng.uniform(0, 50, 2), rng.uniform(1, 10)),)
        match rng.integers(3) if ids else 0:
            case 0:
                region = Region("case", rings, "", "new kind", f"new {step}")
                wanted[region.region_id] = region
                index = index.with_region(region)
            case 1:
                region = replace(wanted[str(rng.choice(ids))], rings=rings)
                wanted[region.region_id] = region
                index = index.with_region(region)
            case _:
                gone = str(rng.choice(ids))
                del wanted[gone]
                index = index.without(index.row_of(gone))
                assert index.row_of(gone) == -1
    anew = RegionIndex.of(RegionTable.from_regions("case", list(wanted.values())))
    assert len(index) == len(anew) == len(wanted)
    low, high = np.sort(rng.uniform(0, 50, (2, 2)), axis=0)
    assert {index.region(row).region_id for row in index.in_box(low, high).tolist()} == {
        anew.region(row).region_id for row in anew.in_box(low, high).tolist()
    }
    for point in rng.uniform(0, 50, (10, 2)):
        found, again = index.at(point), anew.at(point)
        assert (found < 0) == (again < 0)
        assert found < 0 or index.region(found).digest() == anew.region(again).digest()
    for region_id, region in wanted.items():
        assert index.region(index.row_of(region_id)).digest() == region.digest()
        assert index.region(index.row_of(region_id)).label == region.label


@given(table=tables(most=40), seed=SEEDS)
@settings(deadline=None, max_examples=40)
def test_the_outlines_of_an_object_are_found_after_edits(table: RegionTable, seed: int) -> None:
    rng = np.random.default_rng(seed)
    regions = [replace(table.region(row), owner_id=str(rng.integers(3))) for row in range(len(table))]
    index = RegionIndex.of(RegionTable.from_regions(table.case_id, regions))
    for row in rng.permutation(len(regions))[: len(regions) // 2].tolist():
        regions[row] = replace(regions[row], owner_id=str(rng.integers(3)))
        index = index.with_region(regions[row])
    if regions:
        index = index.without(index.row_of(regions.pop().region_id))
    for owner in "0123":
        found = {index.region(int(row)).region_id for row in index.owned_by(owner)}
        assert found == {region.region_id for region in regions if region.owner_id == owner}


def test_an_edit_leaves_the_index_before_it_as_it_was() -> None:
    table = random_table(np.random.default_rng(3), 6)
    index = RegionIndex.of(table)
    moved = replace(table.region(2), rings=tuple(ring + 1000 for ring in table.region(2).rings))
    later = index.with_region(moved)
    assert index.in_box((900, 900), (2000, 2000)).tolist() == []
    assert later.in_box((900, 900), (2000, 2000)).tolist() == [6]
    assert (index.row_of(moved.region_id), later.row_of(moved.region_id)) == (2, 6)
    assert later.score(6) == index.score(2)
    assert later.later.table.label_names == table.label_names


def test_an_outline_without_vertices_is_nowhere() -> None:
    index = RegionIndex.of(RegionTable.from_regions("c", [Region("c", ())]))
    assert index.in_box((-np.inf, -np.inf), (np.inf, np.inf)).tolist() == []
    assert index.at((0, 0), reach=1e9) == -1


def test_outlines_of_volumes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 axes"):
        RegionIndex.of(RegionTable.from_regions("c", [], ndim=3))


@given(table=tables(most=20))
@settings(deadline=None, max_examples=40)
def test_edges_join_each_vertex_to_the_next_and_the_last_to_the_first(table: RegionTable) -> None:
    rows = np.arange(len(table))[::-1].copy()
    edges = edges_of(table, rows)
    wanted = [
        (owner, *start, *end)
        for owner, row in enumerate(rows.tolist())
        for ring in table.region(row).rings
        for start, end in zip(ring, np.roll(ring, -1, axis=0), strict=True)
    ]
    found = np.column_stack([edges.owners, edges.vertices, edges.vertices[edges.after]])
    assert np.array_equal(found, np.asarray(wanted).reshape(-1, 5))


@given(table=tables(most=20), short=st.floats(0.1, 20))
@settings(deadline=None, max_examples=40)
def test_vertices_are_left_out_only_where_they_hardly_matter(table: RegionTable, short: float) -> None:
    longest = longest_edges(table)
    for row in range(len(table)):
        few = edges_of(table, np.asarray([row]), longest, short).vertices
        for number, ring in enumerate(table.region(row).rings):
            sides = np.hypot(*(np.roll(ring, -1, axis=0) - ring).T)
            assert longest[table.region_rings[row] + number] == pytest.approx(sides.max(), rel=1e-5)
            away = np.hypot(*(ring[:, None] - few[None]).transpose(2, 0, 1)).min(axis=1)
            assert away.max() <= short
