from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from napari_medlab.annotations import Region
from napari_medlab.correcting import regions
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import polygons

SQUARE = np.array([[0.0, 0.0], [0.0, 10.0], [10.0, 10.0], [10.0, 0.0]])


def volume(planes: dict[int, list[np.ndarray[tuple[int, int], np.dtype[np.float64]]]]) -> Region:
    return Region.on_slices("c", planes, "owner", "nodule")


def area_on(region: Region | None, z: int | None) -> float:
    assert region is not None
    return polygons.area(regions.rings_on(region, z))


def test_one_slice_changes_and_the_others_keep_every_bit() -> None:
    before = volume({3: [SQUARE / 3], 4: [SQUARE], 6: [SQUARE / 7]})
    after = regions.with_slice(before, 4, [SQUARE + 1])
    assert after is not None
    assert (after.region_id, after.owner_id, after.label) == (before.region_id, "owner", "nodule")
    assert regions.slices_of(after) == [3, 4, 6]
    assert after.rings[0] is before.rings[0]
    assert after.rings[2] is before.rings[2]
    assert regions.with_slice(volume({4: [SQUARE]}), 4, []) is None


def test_a_planar_region_has_one_slice_without_a_number() -> None:
    planar = Region("c", (SQUARE,))
    assert regions.slices_of(planar) == [None]
    assert area_on(regions.with_slice(planar, None, [SQUARE, SQUARE / 2]), None) == pytest.approx(75)


def test_regions_are_combined_slice_by_slice() -> None:
    first, second = volume({1: [SQUARE], 2: [SQUARE]}), volume({2: [SQUARE + 5], 3: [SQUARE]})
    both = regions.combined(first, second, "union")
    assert [area_on(both, z) for z in (1, 2, 3)] == pytest.approx([100, 175, 100])
    less = regions.combined(first, second, "difference")
    assert [area_on(less, z) for z in (1, 2)] == pytest.approx([100, 75])
    common = regions.combined(first, second, "intersection")
    assert common is not None
    assert regions.slices_of(common) == [2]
    assert area_on(common, 2) == pytest.approx(25)
    assert regions.combined(first, first, "difference") is None
    assert regions.joined([first, second]) is not None


def test_what_is_mended_is_said() -> None:
    bow_tie = np.array([[0.0, 0.0], [10.0, 10.0], [10.0, 0.0], [0.0, 10.0]])
    after, told = regions.mended(volume({1: [SQUARE], 2: [bow_tie]}))
    assert told == ["an outline crosses or touches itself at y 5.0, x 5.0, on slice 2"]
    assert area_on(after, 2) == pytest.approx(50)
    untouched = volume({1: [SQUARE]})
    assert regions.mended(untouched) == (untouched, [])


def test_a_cut_gives_the_largest_piece_the_name() -> None:
    before = volume({1: [SQUARE], 2: [SQUARE]})
    first, second = regions.cut(before, 1, [[3, -1], [3, 11]])
    assert first.region_id == before.region_id != second.region_id
    assert (area_on(first, 1), area_on(first, 2), area_on(second, 1)) == pytest.approx((70, 100, 30))
    assert (second.owner_id, regions.slices_of(second)) == ("owner", [1])
    assert regions.cut(before, 1, [[20, 0], [30, 0]]) == [before]


def test_parts_hang_together_through_the_slices() -> None:
    region = volume({1: [SQUARE, SQUARE + 50], 2: [SQUARE + 52], 3: [SQUARE + 55], 5: [SQUARE]})
    made = regions.parts(region)
    assert [regions.slices_of(part) for part in made] == [[1, 2, 3], [1], [5]]
    assert made[0].region_id == region.region_id
    assert len({part.region_id for part in made}) == 3
    assert regions.parts(Region("c", ())) == []


def test_a_change_is_done_on_the_slices_that_were_asked_for() -> None:
    region = volume({1: [SQUARE], 2: [SQUARE]})
    grown = regions.mapped(region, partial(polygons.offset, distance=-1.0), [2])
    assert (area_on(grown, 1), area_on(grown, 2)) == pytest.approx((100, 64))


def test_a_slice_is_copied_to_another() -> None:
    copied = regions.copied_to(volume({1: [SQUARE]}), 1, 2)
    assert area_on(copied, 2) == pytest.approx(100)
    with pytest.raises(InputRefusedError, match="no outline on slice 7"):
        regions.copied_to(copied, 7, 8)


def test_bounds_are_those_of_the_vertices() -> None:
    low, high = regions.bounds(volume({4: [SQUARE], 9: [SQUARE + 3]}))
    assert (low.tolist(), high.tolist()) == ([4, 0, 0], [9, 13, 13])
    with pytest.raises(InputRefusedError):
        regions.bounds(Region("c", ()))


def test_rings_that_nobody_touched_survive_the_way_to_the_screen_and_back() -> None:
    def turned(
        ring: np.ndarray[tuple[int, int], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        return 17.3 - ring[:, [2, 1, 0]]

    stored = Region("c", tuple(np.insert(SQUARE / 3, 2, x, axis=1) for x in (1.0, 2.0)))
    shown = regions.in_frame(stored, turned)
    assert regions.slices_of(shown) == [15, 16]
    moved = regions.with_slice(shown, 15, [ring + 1 for ring in regions.rings_on(shown, 15)])
    assert moved is not None
    back = regions.back_in_frame(moved, shown, stored, turned)
    assert sum(any(ring is own for own in stored.rings) for ring in back.rings) == 1
