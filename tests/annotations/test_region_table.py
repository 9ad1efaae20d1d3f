from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Region
from napari_medlab.annotations.region_table import RegionTable

LABELS = st.sampled_from(["a", "b", "c"])
RING = st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=0, max_size=5)
REGION = st.tuples(st.lists(RING, max_size=3), LABELS, st.sampled_from(["", "f" * 32]))
REGIONS = st.lists(REGION, max_size=6)
Drawn = list[tuple[list[list[tuple[float, float]]], str, str]]


def regions_of(drawn: Drawn) -> list[Region]:
    return [
        Region(
            "c", tuple(np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings), owner_id, label
        )
        for rings, label, owner_id in drawn
    ]


def as_json(table: RegionTable) -> list[object]:
    return [table.region(row).as_json() for row in range(len(table))]


@given(drawn=REGIONS)
def test_objects_come_back_as_they_were(drawn: Drawn) -> None:
    regions = regions_of(drawn)
    table = RegionTable.from_regions("c", regions, [n / 7 for n in range(len(regions))])
    assert as_json(table) == [region.as_json() for region in regions]
    assert table.scores.tolist() == [n / 7 for n in range(len(regions))]
    assert table.nbytes > 0


@given(drawn=REGIONS, rows=st.lists(st.integers(0, 5), max_size=8))
def test_rows_are_chosen_in_any_order(drawn: Drawn, rows: list[int]) -> None:
    regions = regions_of(drawn)
    chosen = [row for row in rows if row < len(regions)]
    table = RegionTable.from_regions("c", regions).where(np.asarray(chosen, dtype=np.int64))
    assert as_json(table) == [regions[row].as_json() for row in chosen]


@given(parts=st.lists(REGIONS, min_size=1, max_size=3))
def test_tables_are_joined_in_order(parts: list[Drawn]) -> None:
    regions = [regions_of(part) for part in parts]
    table = RegionTable.joined([RegionTable.from_regions("c", part) for part in regions])
    assert as_json(table) == [region.as_json() for part in regions for region in part]


@given(drawn=REGIONS)
def test_boxes_hold_every_vertex(drawn: Drawn) -> None:
    regions = regions_of(drawn)
    boxes = RegionTable.from_regions("c", regions).boxes
    for region, box in zip(regions, boxes, strict=True):
        vertices = np.concatenate(region.rings) if region.rings else np.zeros((0, 2))
        if len(vertices):
            assert (box == [vertices.min(axis=0), vertices.max(axis=0)]).all()
        else:
            assert np.isnan(box).all()


def test_a_mask_chooses_rows() -> None:
    regions = regions_of([([[(0.0, 1.0)]], "a", ""), ([[(2.0, 3.0)]], "b", "")])
    table = RegionTable.from_regions("c", regions)
    assert as_json(table.where(np.asarray([False, True]))) == [regions[1].as_json()]


def test_columns_must_fit_together() -> None:
    table = RegionTable.from_regions("c", regions_of([([[(0.0, 1.0)]], "a", "")]))
    columns = {name: getattr(table, name) for name in RegionTable.__dataclass_fields__}
    with pytest.raises(ValueError, match="one length"):
        RegionTable(**{**columns, "scores": np.zeros(2)})
    with pytest.raises(ValueError, match="region_rings must rise from 0 to 1"):
        RegionTable(**{**columns, "region_rings": np.asarray([0, 2])})
    with pytest.raises(ValueError, match="ring_starts must rise from 0 to 1"):
        RegionTable(**{**columns, "ring_starts": np.asarray([1, 1])})


def test_an_id_of_any_length_comes_back_whole() -> None:
    ids = ["a", "b" * 32, "c" * 40]
    regions = [Region("case", (np.zeros((3, 2)),), owner_id=each[::-1], region_id=each) for each in ids]
    table = RegionTable.from_regions("case", regions)
    assert [table.region(row).region_id for row in range(3)] == ids
    assert table.region(2).owner_id == "c" * 40
    assert RegionTable.from_regions("case", regions[:2]).ids.dtype == "S32"
