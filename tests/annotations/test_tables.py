"""Tables of findings that are corrected one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.annotations.tables import changed_findings


def some(n: int) -> list[Finding]:
    return [
        Finding(f"case {row % 2}", (float(row), 2.0, 3.0), 4.0 + row, "mass", row == 1) for row in range(n)
    ]


def as_objects(table: FindingTable) -> list[Finding]:
    return [table.finding(row) for row in range(len(table))]


def test_a_row_comes_back_as_the_object_that_it_was_made_of() -> None:
    findings = some(3)
    assert as_objects(FindingTable.from_objects(findings)) == findings


def test_a_finding_is_changed_in_its_place() -> None:
    findings = some(4)
    moved = replace(findings[2], centre=(9.0, 9.0, 9.0), label="a much longer label than before")
    table = FindingTable.from_objects(findings).changed(moved.finding_id, moved)
    assert as_objects(table) == [*findings[:2], moved, findings[3]]


def test_a_new_finding_stands_last_and_one_can_be_left_out() -> None:
    findings, new = some(2), Finding("case 7", (0.0, 0.0, 0.0), 1.0)
    table = FindingTable.from_objects(findings)
    assert as_objects(table.changed(new.finding_id, new)) == [*findings, new]
    assert as_objects(table.changed(findings[0].finding_id, None)) == findings[1:]


def test_the_last_one_can_go_and_the_first_one_can_come() -> None:
    only = some(1)[0]
    empty = FindingTable.from_objects([only]).changed(only.finding_id, None)
    assert len(empty) == 0
    assert empty.centres.shape == (0, 3)
    assert as_objects(empty.changed(only.finding_id, only)) == [only]
    assert np.array_equal(empty.changed(only.finding_id, only).centres, [[0.0, 2.0, 3.0]])


def test_what_was_moved_or_added_is_told_from_what_was_given() -> None:
    findings, new = some(3), Finding("case 0", (5.0, 5.0, 5.0), 3.0)
    given = FindingTable.from_objects(findings)
    moved = replace(findings[0], centre=(1.0, 1.0, 1.0))
    now = (
        given.changed(moved.finding_id, moved)
        .changed(new.finding_id, new)
        .changed(findings[2].finding_id, None)
    )
    assert as_objects(changed_findings(given, now)) == [moved, new]
    assert len(changed_findings(given, given)) == 0
