"""Which cases were read, as far as a project can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import Finding, Region, RegionTable
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_case,
    add_findings,
    add_regions,
    add_run,
    set_fields,
    set_finding,
)
from napari_medlab.project.keep_lists import case_fields
from napari_medlab.project.unread import mark_read, reading_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Yield a project of six training cases and a test case."""
    with Project.create(tmp_path / "p", reader="ann") as made:
        for number in range(7):
            made.commit(add_case(CaseRecord(key(number), "", f"case {number}", frozen=number == 6)))
        yield made


def key(number: int) -> str:
    return f"{number:032x}"


def give(project: Project, *numbers: int) -> None:
    project.commit(add_findings([Finding(key(number), (0.0, 0.0, 0.0), 5.0) for number in numbers]))


def unread(project: Project) -> set[int]:
    return {int(case_id, 16) for case_id in reading_of(project).unread}


def assumed(project: Project) -> set[int]:
    return {int(case_id, 16) for case_id in reading_of(project).assumed_normal}


def test_where_few_cases_have_findings_the_others_were_not_read(project: Project) -> None:
    assert unread(project) == {0, 1, 2, 3, 4, 5}
    give(project, 0, 1)
    assert (unread(project), assumed(project)) == ({2, 3, 4, 5}, set())
    project.commit(set_finding(None, Finding(key(2), (0.0, 0.0, 0.0), 5.0)))
    assert (unread(project), assumed(project)) == ({3, 4, 5}, set())


def test_what_readers_draw_one_by_one_never_makes_the_rest_normal(project: Project) -> None:
    for number in range(5):
        project.commit(set_finding(None, Finding(key(number), (0.0, 0.0, 0.0), 5.0)))
    assert (unread(project), assumed(project)) == ({5}, set())


def test_a_reference_of_most_cases_leaves_the_others_normal_that_were_there(project: Project) -> None:
    give(project, 0, 1, 2, 3)
    assert (unread(project), assumed(project)) == (set(), {4, 5})
    project.commit(add_case(CaseRecord(key(7), "", "a later one")))
    assert (unread(project), assumed(project)) == ({7}, {4, 5})
    project.commit(set_fields(key(4), {}, {"read": "no"}))
    assert (unread(project), assumed(project)) == ({4, 7}, {5})


def test_the_column_is_believed_above_all(project: Project) -> None:
    give(project, 0)
    assert mark_read(project, {key(0): False, key(1): True, key(2): False}) == 3
    assert unread(project) == {0, 2, 3, 4, 5}
    assert mark_read(project, {key(0): True, key(1): True}) == 0
    project.undo()
    assert unread(project) == {1, 2, 3, 4, 5}
    assert project.verify() == []


def test_outlines_that_were_given_count_and_those_of_a_model_do_not(project: Project) -> None:
    project.commit(add_run("1" * 32, "", {}))
    square = ((0.0, 0.0, 0.0), (0.0, 0.0, 4.0), (0.0, 4.0, 4.0))
    for number, run_id in ((0, ""), (1, "1" * 32)):
        table = RegionTable.from_regions(key(number), [Region(key(number), (np.asarray(square),))], ndim=3)
        project.commit(add_regions(key(number), "batch", table, run_id))
    assert unread(project) == {1, 2, 3, 4, 5}


def test_a_copy_for_others_keeps_the_words_of_the_column_alone() -> None:
    assert case_fields({"read": "yes", "fold": "fold-3"}) == {"read": "yes", "fold": "fold-3"}
    assert case_fields({"read": "by Dr Doe", "fold": "of Jane", "site": "Ulm", "kvp": 120}) == {"kvp": 120}
