from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from error_tables import error_table
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.error_kinds import CAUSES
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.errors.filters import (
    STATUSES,
    FilterContext,
    QueueFilter,
    SortKey,
    Span,
    sorted_rows,
)
from napari_medlab.hardcases.errors.places import PLACES, fractions_of
from napari_medlab.hardcases.errors.table import ERROR_KINDS, ErrorTable
from napari_medlab.project import Verdict

TABLE = replace(
    error_table("fp:a fn:b fp:c duplicate:d fp:e"),
    case_id=np.array(["one", "one", "two", "two", "three"]),
    label=np.array(["mass", "calc", "mass", "mass", "calc"]),
    score=np.array([0.9, 0.0, 0.6, 0.4, 0.2]),
    diameter=np.array([4.0, 12.0, -1.0, 6.0, 8.0]),
    overlap=np.array([np.nan, 0.5, 0.7, np.nan, np.nan]),
    distance=np.array([30.0, np.inf, 10.0, 1.0, 20.0]),
    cause=np.array(["background", "missed", "localisation", "duplicate", "class"]),
)
CONTEXT = FilterContext(
    case_names={"one": "CT 0007", "two": "CT 0012 Follow-up", "three": "MG 1"},
    case_fields={
        "one": {"site": "A", "slice_thickness_mm": 0.625, "fold": 1},
        "two": {"site": "B", "slice_thickness_mm": 2.5, "fold": 2},
        "three": {"site": "C"},
    },
    verdicts={
        "a": Verdict("model wrong", tags=("vessel", "apex"), reader="ann"),
        "b": Verdict("agreed", reader="bob"),
        "elsewhere": Verdict("agreed", reader="ann"),
    },
)


def kept(conditions: dict[str, Any]) -> str:
    return "".join(TABLE.where(QueueFilter(**conditions).mask(TABLE, CONTEXT)).object_ids)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, "abcde"),
        ({"kinds": ["fp"]}, "ace"),
        ({"kinds": ["fn", "duplicate"]}, "bd"),
        ({"causes": ["background", "class"]}, "ae"),
        ({"labels": ["calc"]}, "be"),
        ({"score": Span(0.4, 0.6)}, "cd"),
        ({"score": Span(low=0.6)}, "ac"),
        ({"diameter": Span(high=6.0)}, "ad"),
        ({"overlap": Span(0.0, 0.6)}, "b"),
        ({"fields": {"site": ["A", "C"]}}, "abe"),
        ({"fields": {"slice_thickness_mm": Span(1.0, 3.0)}}, "cd"),
        ({"fields": {"fold": [1.0]}}, "ab"),
        ({"fields": {"fold": Span(2, 2)}}, "cd"),
        ({"fields": {"site": Span()}}, ""),
        ({"fields": {"site": ["A"], "fold": [2]}}, ""),
        ({"status": ["open"]}, "cde"),
        ({"status": ["judged"]}, "ab"),
        ({"status": ["agreed", "open"]}, "bcde"),
        ({"tags": ["vessel", "scar"]}, "a"),
        ({"readers": ["bob"]}, "b"),
        ({"status": ["open"], "readers": ["bob"]}, ""),
        ({"case_ids": ["two", "three"]}, "cde"),
        ({"case_ids": []}, ""),
        ({"object_ids": ["e", "a", "gone"]}, "ae"),
        ({"text": "follow-UP"}, "cd"),
        ({"kinds": ["fp"], "score": Span(0.5), "text": "CT"}, "ac"),
        ({"places": ["left"]}, ""),
    ],
)
def test_what_a_condition_keeps(conditions: dict[str, Any], expected: str) -> None:
    assert kept(conditions) == expected


def test_without_a_context_only_the_table_speaks() -> None:
    assert QueueFilter(status=frozenset(["open"])).mask(TABLE).all()
    assert not QueueFilter(fields={"site": frozenset("A")}).mask(TABLE).any()
    assert QueueFilter(text="two").mask(TABLE).tolist() == [False, False, True, True, False]
    assert len(QueueFilter(kinds=frozenset(["fp"])).mask(ErrorTable.empty())) == 0


def errors_at_places(case: str, *centres: tuple[float, ...]) -> ErrorTable:
    return ErrorTable.about(
        FindingTable.from_objects([Finding(case, centre, 5.0) for centre in centres]), "fn"
    )


def at(table: ErrorTable, grid: Grid, *places: str) -> list[int]:
    context = FilterContext(fractions=fractions_of(table, {"c": grid}))
    return np.flatnonzero(QueueFilter(places=frozenset(places)).mask(table, context)).tolist()


@pytest.mark.parametrize("flipped", [False, True])
def test_places_in_a_volume_are_the_patients(flipped: bool) -> None:
    grid = Grid.axis_aligned((101, 101, 101), (1.0, 1.0, 1.0))
    if flipped:
        grid = grid.reordered((2, 0, 1), (-1, 1, -1))
    # world x grows to the patient's left, y backwards, z to the head
    table = errors_at_places("c", (90.0, 50.0, 50.0), (10.0, 90.0, 10.0), (50.0, 10.0, 90.0))
    assert at(table, grid, "left") == [0]
    assert at(table, grid, "right") == [1]
    assert at(table, grid, "left", "right") == [0, 1]
    assert at(table, grid, "upper", "midline") == [2]
    assert at(table, grid, "upper", "left") == []
    assert at(table, grid, "back", "lower") == [1]
    assert at(table, grid, "front") == [2]
    assert at(table, grid, "middle", "central") == [0]


def test_places_in_a_picture_are_the_pictures() -> None:
    grid = Grid.axis_aligned((101, 201), (1.0, 1.0), unit="px")
    table = errors_at_places("c", (10.0, 10.0), (190.0, 90.0), (100.0, 50.0))
    assert at(table, grid, "left") == at(table, grid, "upper") == [0]
    assert at(table, grid, "right", "lower") == [1]
    assert at(table, grid, "middle", "midline") == [2]
    assert at(table, grid, "front") == []


def test_fractions_are_0_at_the_first_and_1_at_the_last_voxel() -> None:
    grid = Grid.axis_aligned((11, 21, 31), (2.0, 1.0, 0.5), (5.0, 6.0, 7.0))
    table = errors_at_places("c", (5.0, 6.0, 7.0), (20.0, 26.0, 27.0))
    assert fractions_of(table, {"c": grid}) == pytest.approx(np.array([[0.0] * 3, [1.0] * 3]))
    assert np.isnan(fractions_of(table, {})).all()


spans = st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e6)).map(
    lambda ends: Span(ends[0], ends[0] + ends[1])
) | st.floats(allow_nan=False, allow_infinity=False).map(Span)
values = st.text(max_size=5) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
words = st.frozensets(st.text(max_size=5), max_size=3)


def some(choices: tuple[str, ...]) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(choices))


filters = st.builds(
    QueueFilter,
    kinds=some(ERROR_KINDS),
    causes=some(CAUSES),
    labels=words,
    score=st.none() | spans,
    diameter=st.none() | spans,
    overlap=st.none() | spans,
    places=some(PLACES),
    fields=st.dictionaries(st.text(max_size=5), st.frozensets(values, max_size=3) | spans, max_size=3),
    status=some(STATUSES),
    tags=words,
    readers=words,
    case_ids=st.none() | words,
    object_ids=st.none() | words,
    text=st.text(max_size=5),
)


@given(filters)
def test_a_filter_comes_back_as_it_was(wanted: QueueFilter) -> None:
    stored = json.dumps(wanted.as_json(), allow_nan=False)
    assert QueueFilter.from_json(json.loads(stored)) == wanted
    assert wanted.describe()
    assert wanted.is_empty == (wanted.as_json() == {})


@given(filters, filters)
def test_each_condition_only_takes_away(wanted: QueueFilter, other: QueueFilter) -> None:
    both = replace(wanted, kinds=other.kinds)
    expected = replace(wanted, kinds=frozenset()).mask(TABLE, CONTEXT) & QueueFilter(kinds=other.kinds).mask(
        TABLE
    )
    assert (both.mask(TABLE, CONTEXT) == expected).all()


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ([], "must be an object of conditions, got list"),
        ({"kind": ["fp"]}, "there is no condition 'kind'; the conditions are case_ids, causes"),
        ({"kinds": ["miss"]}, "kinds holds 'miss'; expected some of 'fp', 'fn'"),
        ({"kinds": "fp"}, "kinds must be a list of strings, got 'fp'"),
        ({"status": ["done"]}, "status holds 'done'; expected some of 'open', 'judged', 'model wrong'"),
        ({"score": [1]}, "a range must be \\[low, high\\]"),
        ({"score": [True, 2]}, "a range must be \\[low, high\\]"),
        ({"score": [2, 1]}, "got 2.0 to 1.0"),
        ({"score": [float("nan"), None]}, "a range must be"),
        ({"fields": ["site"]}, "fields must be an object"),
        ({"fields": {"site": {"not in": ["A"]}}}, "field 'site' must be"),
        ({"fields": {"site": {"in": [None]}}}, "field 'site' must be"),
        ({"fields": {"site": {"in": [True]}}}, "field 'site' must be"),
        ({"text": 3}, "text must be a string, got 3"),
    ],
)
def test_what_is_no_filter_is_refused(stored: object, said: str) -> None:
    with pytest.raises(InputRefusedError, match=said) as caught:
        QueueFilter.from_json(stored)
    assert caught.value.code == "filter"


def test_a_filter_in_words() -> None:
    wanted = QueueFilter(
        kinds=frozenset(["fp"]),
        score=Span(0.5, 0.9),
        fields={"site": frozenset("A")},
        status=frozenset(["open"]),
    )
    assert wanted.describe() == "false positives, score 0.5 to 0.9, site = A, still open"
    assert QueueFilter().describe() == "everything"
    further = QueueFilter(
        kinds=frozenset(["fn", "fp"]),
        diameter=Span(high=6.0),
        places=frozenset(["left", "upper", "lower"]),
        fields={"slice_thickness_mm": Span(low=1.0)},
        tags=frozenset(["apex"]),
        readers=frozenset(["bob", "ann"]),
        object_ids=frozenset(["x"]),
        text="CT",
    )
    assert further.describe() == (
        "false positives or misses, size at most 6, left, upper or lower, slice_thickness_mm at least 1, tagged apex, "
        "judged by ann or bob, 1 chosen object, case name with “CT”"
    )


@pytest.mark.parametrize(
    ("key", "descending", "expected"),
    [
        ("worst first", False, "abcde"),
        ("worst first", True, "edcba"),
        ("score", False, "bedca"),
        ("score", True, "acdeb"),
        ("size", False, "adebc"),
        ("size", True, "bedac"),
        ("overlap", False, "bcade"),
        ("distance", True, "aecdb"),
        ("case", False, "abcde"),
        ("case", True, "ecdab"),
    ],
)
def test_other_orders(key: SortKey, descending: bool, expected: str) -> None:
    rows = sorted_rows(TABLE, key, descending=descending, context=CONTEXT)
    assert "".join(TABLE.where(rows).object_ids) == expected
