from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from project_samples import RUN, filled, outline_table, square

from napari_medlab.annotations import Region, new_id
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import Edit, add_case, add_regions, add_run, group, set_region
from napari_medlab.project.region_columns import pack_regions, table_of, unpack_regions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAT = "c" * 32
NUMBERS = st.one_of(
    st.integers(-40_000, 40_000).map(float),
    st.integers(-90, 90).map(lambda n: n / 2),
    st.integers(-900, 900).map(lambda n: n / 256),
    st.floats(-1e9, 1e9),
    st.just(-0.0),
)
RINGS = st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=4), max_size=3)
IDS = st.one_of(st.just(""), st.uuids().map(lambda one: one.hex), st.text("abcXYZ-", min_size=1, max_size=32))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with filled(tmp_path / "p", cases=1) as opened:
        opened.commit(add_case(CaseRecord(FLAT, "a.png", "a", "photo")))
        yield opened
        assert opened.verify() == []


def same(first: RegionTable, second: RegionTable) -> bool:
    rows = [[table.region(row).as_json() for row in range(len(table))] for table in (first, second)]
    return bool(rows[0] == rows[1] and np.array_equal(first.scores, second.scores, equal_nan=True))


@settings(max_examples=150, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(RINGS, IDS, IDS.filter(bool), st.one_of(st.floats(0, 1), st.just(float("nan")))), max_size=5
    )
)
def test_columns_come_back_bit_by_bit(
    drawn: list[tuple[list[list[tuple[float, float]]], str, str, float]],
) -> None:
    drawn = list({region_id: one for one in drawn for region_id in [one[2]]}.values())
    regions = [
        Region(
            FLAT,
            tuple(np.asarray(ring).reshape(-1, 2) for ring in rings),
            owner_id,
            f"l{len(rings)}",
            region_id,
        )
        for rings, owner_id, region_id, _ in drawn
    ]
    table = RegionTable.from_regions(FLAT, regions, [score for *_, score in drawn])
    back = table_of(FLAT, unpack_regions(pack_regions(table)))
    assert same(back, table)
    assert (back.vertices.view(np.int64) == table.vertices.view(np.int64)).all()
    assert [back.label_names[code] for code in back.labels] == [
        table.label_names[code] for code in table.labels
    ]


@pytest.mark.parametrize(
    ("step", "scale", "width"), [(1, 1, 1), (0.5, 2, 1), (1 / 256, 256, 1), (1 / 3, 0, 8), (300, 1, 2)]
)
def test_whole_numbers_are_stored_as_such(step: float, scale: int, width: int) -> None:
    ring = np.asarray([[0.0, 0.0], [0.0, step], [step, step]]) + 4096
    packed = pack_regions(RegionTable.from_regions(FLAT, [Region(FLAT, (ring,))]))
    assert (packed["scale"], packed["width"]) == (scale, width)


def test_outlines_are_added_in_batches_and_read_as_columns_or_objects(project: Project) -> None:
    first, second = outline_table(FLAT, 5), outline_table(FLAT, 4, "e" * 32)
    journal_id = project.commit(add_regions(FLAT, "a", first, RUN))
    project.commit(add_regions(FLAT, "b", second))
    assert project.commit(add_regions(FLAT, "a", second, RUN)) == journal_id  # sent again
    assert same(project.region_table(FLAT), RegionTable.joined([first, second]))
    assert same(project.region_table(FLAT, run_id=RUN), first)
    assert same(project.region_table(FLAT, run_id=""), second)
    assert len(project.region_table(FLAT, run_id="other")) == 0
    assert [one.as_json() for one in project.regions(owner_id="e" * 32)] == [
        second.region(n).as_json() for n in range(4)
    ]
    assert len(project.regions(FLAT)) == 9
    assert project.regions(project.cases()[0].case_id) == []


def test_beside_the_reference_stand_the_outlines_of_one_run_and_what_was_edited_of_others(
    project: Project,
) -> None:
    ours, others, reference = (
        outline_table(FLAT, 3),
        outline_table(FLAT, 2, "e" * 32),
        outline_table(FLAT, 1, "f" * 32),
    )
    project.commit(add_regions(FLAT, "a", ours, RUN))
    project.commit(add_run("other run", "", {}))
    project.commit(add_regions(FLAT, "b", others, "other run"))
    project.commit(add_regions(FLAT, "c", reference))
    assert same(project.region_table(FLAT, beside=RUN), RegionTable.joined([ours, reference]))
    before = others.region(0)
    after = replace(before, rings=(before.rings[0] + 1.0,))
    project.commit(set_region(before, after))
    shown = project.region_table(FLAT, reader=project.reader, beside=RUN)
    assert len(shown) == 5
    assert before.region_id in {shown.region(row).region_id for row in range(len(shown))}


def test_single_edits_take_the_place_of_outlines_of_a_batch(project: Project) -> None:
    table = outline_table(FLAT, 5)
    project.commit(add_regions(FLAT, "a", table))
    project.commit(add_regions(FLAT, "b", outline_table(FLAT, 2)))
    changed = Region(
        FLAT, (np.asarray([[1.1, 2.2], [3.3, 4.4], [5.5, 6.6]]),), "d" * 32, "new", table.region(3).region_id
    )
    drawn = Region(FLAT, (np.eye(2),))
    for before, after in ((table.region(3), changed), (table.region(1), None), (None, drawn)):
        project.commit(set_region(before, after))
    now = project.region_table(FLAT)
    expected = [
        table.region(0),
        table.region(2),
        changed,
        table.region(4),
        *project.regions(FLAT)[3:5],
        drawn,
    ]
    assert [now.region(row).as_json() for row in range(len(now))] == [region.as_json() for region in expected]
    assert now.scores[2] == table.scores[3]
    assert len(project.region_table(FLAT, reader="bob")) == 7
    assert {one.region_id for one in project.regions(FLAT)} == {one.region_id for one in expected}
    assert project.regions(owner_id="d" * 32)[0].as_json() == changed.as_json()
    for _ in range(3):
        assert project.undo() is not None
    assert same(project.region_table(FLAT).where(np.arange(5)), table)


def test_readers_in_dispute_leave_the_outline_of_the_batch(tmp_path: Path) -> None:
    table = outline_table(FLAT, 2)
    with Project.create(tmp_path / "q", reader="ann") as project:
        project.commit(add_case(CaseRecord(FLAT, "a.png", "a", "photo")))
        project.commit(add_regions(FLAT, "a", table))
        project.commit(set_region(table.region(0), None))
        assert len(project.region_table(FLAT)) == 1
    with Project.open(tmp_path / "q", reader="bob") as project:
        project.commit(set_region(table.region(0), replace(table.region(0), label="other")))
        assert same(project.region_table(FLAT), table)
        assert project.region_table(FLAT, reader="bob").label_names != project.region_table(FLAT).label_names
        assert project.verify() == []


def refused(project: Project, edit: Edit) -> str:
    with pytest.raises((ProjectError, InputRefusedError)) as caught:
        project.commit(edit)
    return caught.value.code


def test_what_does_not_fit_is_refused(project: Project) -> None:
    table = outline_table(FLAT, 3)
    project.commit(add_regions(FLAT, "a", table))
    drawn = Region(FLAT, (np.eye(2),))
    project.commit(set_region(None, drawn))
    assert refused(project, add_regions(FLAT, "b", table.where([1]))) == "exists"
    assert refused(project, add_regions(FLAT, "b", RegionTable.from_regions(FLAT, [drawn]))) == "exists"
    assert refused(project, add_regions(FLAT, "b", outline_table(FLAT, 1), "nothing")) == "unknown-run"
    assert refused(project, add_regions("b" * 32, "b", outline_table("b" * 32, 1))) == "unknown-case"
    volume = square(FLAT, 2.0)
    assert refused(project, add_regions(FLAT, "b", RegionTable.from_regions(FLAT, [volume]))) == "shape"
    assert refused(project, set_region(None, volume)) == "shape"
    assert refused(project, set_region(None, table.region(0))) == "stale"
    assert len(project.region_table(FLAT)) == 4


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ids": np.asarray([b"a", b"a"], dtype="S32")}, "id"),
        ({"ids": np.asarray([b"a", b""], dtype="S32")}, "id"),
        ({"scores": np.asarray([0.0, np.inf])}, "shape"),
        ({"vertices": np.full((8, 2), np.nan)}, "shape"),
        ({"case_id": "b" * 32}, "other-case"),
    ],
)
def test_a_table_that_cannot_be_stored_is_refused(change: dict[str, Any], code: str) -> None:
    with pytest.raises(InputRefusedError) as caught:
        add_regions(FLAT, "a", replace(outline_table(FLAT, 2), **change))
    assert caught.value.code == code


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE region_batches SET run_id = 'x'",
        "UPDATE region_batches SET vertices = 0",
        "DELETE FROM journal WHERE id = ?",
    ],
)
def test_damaged_batches_are_never_served(tmp_path: Path, statement: str) -> None:
    with Project.create(tmp_path / "q", reader="ann") as project:
        project.commit(add_case(CaseRecord(FLAT, "a.png", "a", "photo")))
        journal_id = project.commit(add_regions(FLAT, "a", outline_table(FLAT, 2)))
        with closing(sqlite3.connect(project.folder / "project.sqlite", isolation_level=None)) as db:
            db.execute("DROP TRIGGER journal_never_deleted")
            db.execute(statement, (journal_id,) if "?" in statement else ())
        with pytest.raises(ProjectError) as caught:
            project.region_table(FLAT)
        assert caught.value.code == "bit-rot"
        assert project.verify() != []


def test_a_shared_copy_has_the_same_outlines(project: Project, tmp_path: Path) -> None:
    named = RegionTable.from_regions(FLAT, [Region(FLAT, (np.eye(2),), "", "cell", "Doe^Jane")])
    project.commit(add_regions(FLAT, "Doe", named))
    table = outline_table(FLAT, 3, new_id())
    project.commit(add_regions(FLAT, "7", table))
    project.commit(set_region(table.region(1), None))
    project.share(tmp_path / "copy")
    with Project.open(tmp_path / "copy", read_only=True) as copy:
        found = copy.region_table(FLAT)
        assert same(found.where([1, 2]), table.where([0, 2]))
        assert b"Doe" not in found.ids[0]
        assert copy.verify() == []


def test_an_id_stands_for_one_outline_of_the_whole_project(project: Project) -> None:
    """Edits name an outline by its id alone: the same id on two cases could be edited on one of them only."""
    other = "d" * 32
    project.commit(add_case(CaseRecord(other, "b.png", "b", "photo")))
    table = outline_table(FLAT, 3)
    project.commit(add_regions(FLAT, "0", table))
    with pytest.raises(ProjectError, match="already") as caught:
        project.commit(add_regions(other, "0", replace(table, case_id=other)))
    assert caught.value.code == "exists"


def test_a_batch_has_as_many_coordinates_as_what_was_drawn(project: Project) -> None:
    drawn = square(FLAT, 2.0)
    project.commit(set_region(None, drawn))
    with pytest.raises(InputRefusedError, match="3 coordinates a vertex, got 2"):
        project.commit(add_regions(FLAT, "0", outline_table(FLAT, 3)))
    assert len(project.region_table(FLAT)) == 1


def test_many_outlines_of_a_batch_are_changed_as_one_edit(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is read once, not once for each."""
    from napari_medlab.project import lookups
    from napari_medlab.project.bulk_regions import batch_table

    table = outline_table(FLAT, 12)
    project.commit(add_regions(FLAT, "0", table))
    read: list[object] = []

    def counted(*given: Any) -> RegionTable:  # noqa: ANN401 - whatever it is given
        read.append(given)
        return batch_table(*given)

    monkeypatch.setattr(lookups, "batch_table", counted)
    project.commit(group("gone", [set_region(table.region(row), None) for row in range(12)]))
    assert len(read) == 1
    assert len(project.region_table(FLAT)) == 0
    project.undo()
    assert same(project.region_table(FLAT), table)
