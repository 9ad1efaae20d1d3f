from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from project_samples import RUN, filled, some_candidates, square

from napari_medlab.annotations import Finding, Region
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project import CaseRecord, Project, Verdict
from napari_medlab.project.edits import (
    Edit,
    add_candidates,
    add_case,
    add_findings,
    group,
    set_fields,
    set_filter,
    set_finding,
    set_region,
    set_verdict,
)
from napari_medlab.project.keep_lists import CONDITIONS, Keys, case_fields, conditions

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.project.records import VerdictName


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    filled(tmp_path / "p", cases=1).close()
    return tmp_path / "p"


def do(folder: Path, reader: str, *edits: Edit) -> None:
    with Project.open(folder, reader=reader) as project:
        for edit in edits:
            project.commit(edit)
        assert project.verify() == []


def refused(folder: Path, reader: str, edit: Edit) -> str:
    with Project.open(folder, reader=reader) as project:
        journal = project.journal()
        with pytest.raises(ProjectError) as caught:
            project.commit(edit)
        assert project.journal() == journal
    return caught.value.code


def some_object(folder: Path) -> tuple[str, str]:
    with Project.open(folder, read_only=True) as project:
        table = project.candidates(RUN)
        return str(table.case_ids[0]), str(table.ids[0])


def some_finding(folder: Path) -> Finding:
    with Project.open(folder, read_only=True) as project:
        finding = project.finding(str(project.findings().ids[0]))
    assert finding is not None
    return finding


def seen(folder: Path) -> list[str | None]:
    """Return the verdict on the object as ann, bob and carl see it, and as it is settled."""
    _, object_id = some_object(folder)
    with Project.open(folder, read_only=True) as project:
        found = [
            project.verdicts(RUN, reader=reader).get(object_id) for reader in ("ann", "bob", "carl", None)
        ]
    return [None if one is None else one.verdict for one in found]


def test_readers_do_not_see_each_other_and_agree_or_wait_for_adjudication(folder: Path) -> None:
    case_id, object_id = some_object(folder)

    def given(after: VerdictName, before: VerdictName | None = None, *, adjudicated: bool = False) -> Edit:
        return set_verdict(case_id, RUN, object_id, before=before, after=after, adjudicated=adjudicated)

    do(folder, "ann", given("agreed"))
    assert seen(folder) == ["agreed", None, None, "agreed"]
    do(folder, "bob", given("ambiguous"))
    assert seen(folder) == ["agreed", "ambiguous", None, None]
    do(folder, "bob", given("agreed", "ambiguous"))
    assert seen(folder) == ["agreed", "agreed", None, "agreed"]
    assert refused(folder, "bob", given("ambiguous")) == "stale"
    do(folder, "ann", given("model wrong", adjudicated=True))
    assert seen(folder) == ["agreed", "agreed", "model wrong", "model wrong"]
    assert refused(folder, "carl", given("ambiguous")) == "stale"
    do(folder, "carl", given("ambiguous", "model wrong"))
    assert seen(folder) == ["agreed", "agreed", "ambiguous", "model wrong"]
    with Project.open(folder, reader="ann") as project:
        assert project.readers() == ["ann", "bob", "carl"]
        by_reader = project.verdicts_by_reader(RUN)
        assert {seat: held[object_id].verdict for seat, held in by_reader.items()} == {
            "ann": "agreed", "bob": "agreed", "carl": "ambiguous", "": "model wrong",
        }  # fmt: skip
        assert by_reader[""][object_id].reader == "ann"
        assert project.verdicts(RUN, reader="")[object_id] == Verdict("model wrong")


def test_who_took_a_verdict_back_disagrees_with_nobody(folder: Path) -> None:
    case_id, object_id = some_object(folder)
    do(folder, "carl", set_verdict(case_id, RUN, object_id, before=None, after="agreed", adjudicated=True))
    do(folder, "ann", set_verdict(case_id, RUN, object_id, before="agreed", after=None))
    assert seen(folder) == [None, "agreed", "agreed", "agreed"]
    with Project.open(folder, reader="carl") as project:
        assert project.undo() is not None
    do(folder, "bob", set_verdict(case_id, RUN, object_id, before=None, after="ambiguous"))
    assert seen(folder) == [None, "ambiguous", None, "ambiguous"]


def test_a_corrected_reference_stands_beside_the_one_that_was_given(folder: Path) -> None:
    finding = some_finding(folder)
    new = Finding(finding.case_id, (7.0, 8.0, 9.0), 3.0, "mass")
    do(
        folder, "ann",
        set_finding(finding, replace(finding, centre=(5.0, 5.0, 5.0), diameter=9.0, label="mass", is_excluded=True)),
        set_finding(None, new),
    )  # fmt: skip
    with Project.open(folder, read_only=True) as project:
        table, given = project.findings(), project.findings(as_given=True)
        row = table.row_of(finding.finding_id)
        assert (table.centres[row].tolist(), table.diameters[row], table.labels[row]) == (
            [5.0] * 3,
            9.0,
            "mass",
        )
        assert table.is_excluded[row]
        assert project.finding(new.finding_id) == new
        assert (len(given), given.diameters.tolist()) == (2, [6.0, 6.0])
        assert len(project.findings(reader="bob")) == 2
        assert project.findings_by_reader().keys() == {"ann"}
        assert [entry.kind for entry in project.history(finding.finding_id)] == ["finding.add", "finding.set"]
    # a verdict can be given on what a reader added
    do(folder, "ann", set_verdict(finding.case_id, "", new.finding_id, before=None, after="agreed"))
    do(folder, "bob", set_finding(finding, None))
    with Project.open(folder, read_only=True) as project:
        assert finding.finding_id not in project.findings(reader="bob").ids.tolist()
        assert project.finding(finding.finding_id, reader="bob") is None
        assert project.finding(finding.finding_id) == finding  # in dispute
        assert project.findings_by_reader()["bob"] == {finding.finding_id: None}


def test_a_finding_is_corrected_as_it_was_seen(folder: Path) -> None:
    finding = some_finding(folder)
    assert refused(folder, "ann", set_finding(None, finding)) == "stale"
    assert refused(folder, "ann", set_finding(replace(finding, diameter=1.0), finding)) == "stale"
    stranger = Finding("f" * 32, (1.0, 2.0, 3.0), 4.0)
    assert refused(folder, "ann", set_finding(None, stranger)) == "unknown-case"
    new = replace(finding, finding_id="e" * 32)
    do(folder, "ann", set_finding(None, new))
    assert refused(folder, "ann", add_findings([new])) == "exists"
    with pytest.raises(InputRefusedError, match="one finding"):
        set_finding(finding, new)
    with pytest.raises(InputRefusedError, match="at least one"):
        set_finding(None, None)


def test_negative_zero_and_whole_numbers_are_the_same_everywhere(folder: Path) -> None:
    case_id, _ = some_object(folder)
    zero = Finding(case_id, (-0.0, 0.0, 1), 5, finding_id="d" * 32)
    do(folder, "ann", add_findings([zero]), set_finding(zero, replace(zero, diameter=6)))


def test_outlines_of_readers_are_kept_apart(folder: Path) -> None:
    case_id, object_id = some_object(folder)
    drawn = square(case_id, 2.0, object_id)
    do(folder, "ann", set_region(None, drawn))

    def sizes(reader: str | None) -> list[float]:
        with Project.open(folder, read_only=True) as project:
            return [
                float(region.rings[0].max()) for region in project.regions(owner_id=object_id, reader=reader)
            ]

    assert (sizes("ann"), sizes("bob"), sizes(None)) == ([2.0], [], [2.0])
    assert refused(folder, "bob", set_region(drawn, None)) == "stale"
    final = square(case_id, 5.0, object_id, drawn.region_id)
    do(folder, "bob", set_region(None, final, adjudicated=True))
    assert (sizes("ann"), sizes("bob"), sizes(None), sizes("")) == ([2.0], [5.0], [5.0], [5.0])
    do(folder, "bob", set_region(final, None))
    assert (sizes("ann"), sizes("bob"), sizes(None)) == ([2.0], [], [5.0])
    with Project.open(folder, read_only=True) as project:
        held = project.regions_by_reader(case_id)
    assert {seat: one[drawn.region_id] is None for seat, one in held.items()} == {
        "ann": False,
        "bob": True,
        "": False,
    }


def test_only_what_can_be_taken_back_can_be_grouped(folder: Path) -> None:
    case_id, object_id = some_object(folder)
    good = set_verdict(case_id, RUN, object_id, before=None, after="agreed")
    for edits in ([], [add_case(CaseRecord("c", "c", "c"))], [good, group("inner", [good])]):
        with pytest.raises(InputRefusedError) as caught:
            group("outer", edits)
        assert caught.value.code == "group"
    part: dict[str, object] = {"kind": "case.add", "payload": {}, "case_id": None}
    assert refused(folder, "ann", Edit("group", {"title": "", "edits": [part]})) == "group"


def test_filters_are_shared(folder: Path) -> None:
    do(folder, "ann", set_filter("hard", None, {"score": [0.5, None]}))
    do(folder, "bob", set_filter("hard", {"score": [0.5, None]}, {"score": [0.7, None]}))
    assert refused(folder, "ann", set_filter("hard", {"score": [0.5, None]}, None)) == "stale"
    with Project.open(folder, reader="ann") as project:
        assert project.filters() == {"hard": {"score": [0.7, None]}}
        project.commit(set_filter("hard", {"score": [0.7, None]}, None))
        assert project.filters() == {}
    with pytest.raises(InputRefusedError, match="cannot be called"):
        set_filter("", None, {})


def test_cases_have_free_columns(folder: Path) -> None:
    case_id, _ = some_object(folder)
    first, second = {"site": "A", "fold": 2}, {"site": "A", "slice_thickness_mm": 1.25}
    do(folder, "ann", set_fields(case_id, {}, first), set_fields(case_id, first, second))  # type: ignore[arg-type]
    do(folder, "ann", add_case(CaseRecord("c" * 32, "c.mha", "c", fields={"fold": 1})))
    with Project.open(folder, read_only=True) as project:
        assert project.case(case_id).fields == second
        assert project.case("c" * 32).fields == {"fold": 1}
        assert [entry.kind for entry in project.history(case_id)] == ["case.fields", "case.fields"]
    assert refused(folder, "ann", set_fields(case_id, {}, {})) == "stale"


@pytest.mark.parametrize(
    "fields",
    [
        {"": 1},
        {"x" * 65: 1},
        {"a\n": 1},
        {"a": "x" * 257},
        {"a": "\x00"},
        {"a": float("nan")},
        {"a": True},
        {"a": None},
    ],
)
def test_a_field_that_cannot_be_stored_is_refused(fields: dict[str, float]) -> None:
    for make in (lambda: set_fields("c", {}, fields), lambda: CaseRecord("c", "c", "c", fields=fields)):  # type: ignore[arg-type]
        with pytest.raises(InputRefusedError) as caught:
            make()
        assert caught.value.code == "field"


def test_what_is_kept_of_fields_and_filters() -> None:
    assert case_fields({"site": "A", "fold": "fold-3", "kvp": 120, "mrn": 4711, "density": "Doe"}) == {
        "fold": "fold-3",
        "kvp": 120,
    }
    assert case_fields({"fold": "Doe^Jane"}) == {}
    keys = Keys()
    kept = conditions(
        {
            "kinds": ["fp", "Doe"], "score": [0.5, None], "overlap": ["Doe", 1], "tags": ["Doe"], "text": "Doe",
            "fields": {"kvp": [80, 120], "mrn": [1, 2], "fold": {"in": ["Doe"]}}, "case_ids": ["a" * 32, "Doe"],
        },
        keys,
    )  # fmt: skip
    assert kept == {
        "kinds": ["fp"], "score": [0.5, None], "fields": {"kvp": [80, 120]}, "case_ids": ["a" * 32, keys.of("Doe")],
    }  # fmt: skip


def test_the_words_of_filters_that_are_kept_are_those_that_filters_have() -> None:
    from napari_medlab.hardcases.errors.filters import CHOICES

    assert {name: tuple(words) for name, words in CHOICES} == CONDITIONS


def test_a_region_id_stays_one_region(folder: Path) -> None:
    case_id, object_id = some_object(folder)
    drawn = square(case_id, 2.0, object_id)
    do(folder, "ann", set_region(None, drawn))
    do(folder, "bob", set_region(None, Region(case_id, drawn.rings, object_id, "mass", drawn.region_id)))
    with Project.open(folder, read_only=True) as project:
        assert project.regions(case_id) == []  # in dispute, and nothing was given
        assert [region.label for region in project.regions(case_id, reader="bob")] == ["mass"]


def test_adjudication_can_settle_that_what_a_reader_added_is_not_there(folder: Path) -> None:
    with Project.open(folder, reader="ann") as project:
        case_id = project.cases()[0].case_id
        given = set(project.findings().ids.tolist())
        added, drawn = Finding(case_id, (1.0, 2.0, 3.0), 5.0), square(case_id, 2.0)
        project.commit(group("both", [set_finding(None, added), set_region(None, drawn)]))
        for edit in (set_finding(None, added, adjudicated=True), set_finding(added, None, adjudicated=True)):
            project.commit(edit)
        for edit in (set_region(None, drawn, adjudicated=True), set_region(drawn, None, adjudicated=True)):
            project.commit(edit)
        assert (set(project.findings().ids.tolist()), project.regions(case_id)) == (given, [])
        assert project.finding(added.finding_id, reader="ann") == added
        project.undo()
        assert [region.region_id for region in project.regions(case_id)] == [drawn.region_id]
        assert project.verify() == []


@pytest.mark.parametrize("count", [3, 20])
def test_verdicts_on_many_candidates_are_one_edit_and_each_is_looked_up(folder: Path, count: int) -> None:
    with Project.open(folder, reader="ann") as project:
        case_id = project.cases()[0].case_id
        found = some_candidates(case_id, count)
        project.commit(add_candidates(RUN, case_id, 7, found))
        edits = [set_verdict(case_id, RUN, one.candidate_id, before=None, after="agreed") for one in found]
        stranger = set_verdict(case_id, RUN, "f" * 32, before=None, after="agreed")
        with pytest.raises(ProjectError, match="neither a finding nor a candidate"):
            project.commit(group("all", [*edits, stranger]))
        project.commit(group("all", edits))
        assert set(project.verdicts(RUN)) >= {one.candidate_id for one in found}


def test_a_filter_of_any_shape_can_be_left_out_of_a_copy() -> None:
    body = {"fields": 3, "case_ids": 5, "object_ids": {"a": 1}, "kinds": 4, "score": "x", "causes": None}
    assert conditions(body, Keys()) == {}
