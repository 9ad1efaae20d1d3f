from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from error_tables import KINDS, error_table, errors
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.hardcases.errors.table import ErrorTable, QueueItem


def test_a_table_is_a_sequence_of_items() -> None:
    table = error_table("fp:a fn:b fp:c")
    assert isinstance(table, Sequence)
    assert [item.object_id for item in table] == ["a", "b", "c"]
    assert isinstance(table[1], QueueItem)
    assert table[-1].object_id == "c"
    assert table[0] in table
    assert table.index(table[2]) == 2
    assert [item.object_id for item in table[1:]] == ["b", "c"]
    with pytest.raises(IndexError, match=r"no row 3 in a table of 3"):
        table[3]


def test_an_item_holds_plain_values() -> None:
    item = error_table("fp:a")[0]
    assert item == QueueItem("fp", "a", "case-a", (0.0, 1.0, 2.0), 5.0, 0.5, 12.0, "nodule", "background")
    assert item.as_json() == json.loads(json.dumps(item.as_json()))
    assert item.as_json()["overlap"] is None
    assert [type(value) for value in (item.kind, item.score, item.centre[0])] == [str, float, float]


def test_rows_are_chosen_by_mask_or_by_number() -> None:
    table = error_table("fp:a fn:b fp:c")
    assert table.where([True, False, True]).object_ids == ["a", "c"]
    assert table.where([2, 0]).object_ids == ["c", "a"]
    assert len(table.where([])) == 0


def test_the_row_of_an_object_is_its_first() -> None:
    table = error_table("fp:a fn:b fp:a")
    assert (table.row_of("a"), table.row_of("b"), table.row_of("elsewhere")) == (0, 1, -1)


def test_joined_kinds_take_turns_and_keep_their_order() -> None:
    joined = ErrorTable.joined(
        [
            error_table("fp:1 fn:2 fp:3 fp:4"),
            error_table("low confidence:5"),
            error_table("duplicate:6 duplicate:7"),
        ]
    )
    assert errors(joined) == "fp:1 fn:2 duplicate:6 low confidence:5 fp:3 duplicate:7 fp:4"


def test_tables_of_one_kind_take_turns_too() -> None:
    joined = ErrorTable.joined([error_table("disagreement:1 disagreement:2"), error_table("disagreement:3")])
    assert errors(joined) == "disagreement:1 disagreement:3 disagreement:2"


def test_nothing_joined_is_an_empty_table() -> None:
    assert len(ErrorTable.joined([])) == 0
    assert len(ErrorTable.joined([ErrorTable.empty(2), ErrorTable.empty(3)])) == 0
    assert list(ErrorTable.empty()) == []


def test_planar_errors_join_those_in_volumes() -> None:
    planar = ErrorTable.about(FindingTable.from_objects([Finding("photo", (3.0, 4.0), 2.0)]), "fn")
    joined = ErrorTable.concatenated([error_table("fp:a"), planar])
    assert joined.centre.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 0.0]]


def test_errors_about_whole_tables() -> None:
    candidates = CandidateTable.from_objects([Candidate("one", (1.0, 2.0), 0.7, 3.0, "mass", "c")])
    (item,) = ErrorTable.about(candidates, "low confidence")
    assert item == QueueItem("low confidence", "c", "one", (1.0, 2.0), 3.0, 0.7, math.inf, "mass")


def test_columns_of_different_lengths_are_refused() -> None:
    table = error_table("fp:a fp:b")
    with pytest.raises(ValueError, match="must have one length"):
        ErrorTable(**{**vars(table), "score": np.zeros(1)})


@given(st.lists(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5)), max_size=12), max_size=3))
def test_joining_loses_nothing_and_is_fair(rows: list[list[tuple[str, int]]]) -> None:
    tables = [error_table(" ".join(f"{kind}:{n}" for kind, n in each)) for each in rows]
    joined = ErrorTable.joined(tables)
    assert sorted(errors(joined).split()) == sorted(" ".join(errors(table) for table in tables).split())
    assert sum(joined.counts.values()) == len(joined)
    for at in range(len(joined)):
        shown = {kind: int((joined.kind[:at] == kind).sum()) for kind in joined.counts}
        left = {kind for kind, total in joined.counts.items() if total > shown[kind]}
        # no kind that still has errors falls behind another by more than one turn of all tables
        assert max(shown.values()) - min((shown[kind] for kind in left), default=max(shown.values())) <= len(
            tables
        )
