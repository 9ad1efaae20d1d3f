from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from planted import planted
from project_samples import RUN, filled, outline_table, square

from napari_medlab.annotations import Finding, new_id
from napari_medlab.errors import ProjectError
from napari_medlab.project import CaseRecord, Project, Verdict
from napari_medlab.project.edits import (
    add_case,
    add_findings,
    add_regions,
    add_run,
    group,
    set_filter,
    set_finding,
    set_region,
    set_verdict,
)

if TYPE_CHECKING:
    from pathlib import Path

HOW = ["copied", "shared"]


def make_copies(folder: Path, how: str) -> None:
    """Make a project in which ann gave a verdict, with a batch of outlines, and a copy of it."""
    with filled(folder / "p", cases=2) as project:
        first = project.cases()[0].case_id
        object_id = project.candidates(RUN, first).ids[0]
        project.commit(set_verdict(first, RUN, str(object_id), before=None, after="agreed"))
        project.commit(
            add_regions(project.cases()[1].case_id, "0", outline_table(project.cases()[1].case_id, 3), RUN)
        )
        if how == "shared":
            project.share(folder / "copy")
    if how == "copied":
        shutil.copytree(folder / "p", folder / "copy")


def opened(folder: Path, name: str, reader: str) -> Project:
    return Project.open(folder / name, reader=reader)


def work(project: Project) -> None:
    """Do one of everything that a reader can do."""
    first, second = (case.case_id for case in project.cases())
    ids = [str(one) for one in project.candidates(RUN, first).ids]
    finding = project.finding(str(project.findings(first).ids[0]), reader=project.reader)
    assert finding is not None
    drawn = square(first, 2.0, ids[1])
    project.commit(set_verdict(first, RUN, ids[0], before=None, after="ambiguous"))
    project.commit(set_verdict(first, RUN, ids[1], before=None, after=Verdict("model wrong", "a vessel")))
    project.undo()
    project.redo()
    project.commit(
        group(
            "two", [set_region(None, drawn), set_region(drawn, square(first, 3.0, ids[1], drawn.region_id))]
        )
    )
    project.commit(set_finding(finding, replace(finding, diameter=9.0)))
    table = project.region_table(second, reader=project.reader)
    project.commit(set_region(table.region(1), replace(table.region(1), label="other")))
    project.commit(set_verdict(first, RUN, ids[2], before=None, after="agreed", adjudicated=True))
    project.commit(set_filter("hard", None, {"score": [0.5, None]}))


def held(project: Project, reader: str) -> list[Any]:
    """Return what a reader sees, as values that compare."""
    findings = project.findings(reader=reader)
    return [
        project.verdicts(RUN, reader=reader),
        [region.as_json() for region in project.regions(reader=reader)],
        findings.ids.tolist(),
        findings.diameters.tolist(),
        project.filters(),
    ]


@pytest.mark.parametrize("how", HOW)
def test_another_reader_s_work_is_taken_over_once(tmp_path: Path, how: str) -> None:
    make_copies(tmp_path, how)
    with opened(tmp_path, "copy", "bob") as copy:
        work(copy)
        expected, journal = held(copy, "bob"), copy.journal()
    with opened(tmp_path, "p", "ann") as project:
        before, count = project.verdicts(RUN, reader="ann"), len(project.journal())
        third = project.candidates(RUN).ids[3]
        project.commit(set_verdict(project.cases()[0].case_id, RUN, str(third), before=None, after="agreed"))
        merged = project.merge(tmp_path / "copy")
        assert (merged.edits, merged.readers, merged.already) == (9, ("bob",), 0)
        assert (merged.conflicts, merged.left_out) == ((), {})
        assert held(project, "bob") == expected
        assert project.verdicts(RUN, reader="ann").items() >= before.items()
        assert project.readers() == ["ann", "bob"]
        new = project.journal()[count + 1 :]
        assert [(entry.at, entry.reader, entry.kind) for entry in new] == [
            (entry.at, "bob", entry.kind) for entry in journal[-9:]
        ]
        assert [entry.undoes is None for entry in new] == [entry.undoes is None for entry in journal[-9:]]
        assert project.verify() == []
        again = project.merge(tmp_path / "copy")
        assert (again.edits, again.already, again.conflicts) == (0, 9, ())
        assert len(project.journal()) == count + 10
        undone = project.undo()
        assert undone is not None
        assert undone.reader == "ann"
    with opened(tmp_path, "p", "bob") as project:
        for _ in range(5):
            assert project.undo() is not None
        assert project.verify() == []


def test_copies_are_merged_both_ways_and_come_out_the_same(tmp_path: Path) -> None:
    make_copies(tmp_path, "copied")
    for name, reader in (("copy", "bob"), ("p", "carl")):
        with opened(tmp_path, name, reader) as project:
            object_id = str(project.candidates(RUN).ids[1])
            project.commit(
                set_verdict(project.cases()[0].case_id, RUN, object_id, before=None, after="agreed")
            )
    for name, other in (("p", "copy"), ("copy", "p")):
        with opened(tmp_path, name, "ann") as project:
            merged = project.merge(tmp_path / other)
            assert (merged.edits, merged.already) == ((1, 0) if name == "p" else (1, 1))
    with opened(tmp_path, "p", "ann") as ours, opened(tmp_path, "copy", "ann") as theirs:
        assert ours.verdicts_by_reader(RUN) == theirs.verdicts_by_reader(RUN)
        assert ours.verdicts_by_reader(RUN).keys() == {"ann", "bob", "carl"}


@pytest.mark.parametrize("how", HOW)
def test_work_of_one_reader_that_contradicts_is_told_and_left_out(tmp_path: Path, how: str) -> None:
    make_copies(tmp_path, how)
    with opened(tmp_path, "copy", "reader-1" if how == "shared" else "ann") as copy:
        first = copy.cases()[0].case_id
        ids = [str(one) for one in copy.candidates(RUN, first).ids]
        for object_id, after in zip(ids[1:], ("agreed", "ambiguous", "model wrong"), strict=True):
            copy.commit(set_verdict(first, RUN, object_id, before=None, after=after))  # type: ignore[arg-type]
    with opened(tmp_path, "p", "ann") as project:
        project.commit(set_verdict(first, RUN, ids[1], before=None, after="ambiguous"))
        project.commit(set_verdict(first, RUN, ids[2], before=None, after="ambiguous"))
        merged = project.merge(tmp_path / "copy")
        assert (merged.edits, merged.readers, merged.already) == (1, ("ann",), 1)
        (conflict,) = merged.conflicts
        assert conflict.startswith("ann at 20")
        assert conflict.endswith(f"verdict.set on {ids[1]} of case {first}")
        assert {object_id: one.verdict for object_id, one in project.verdicts(RUN).items()} == {
            ids[0]: "agreed", ids[1]: "ambiguous", ids[2]: "ambiguous", ids[3]: "model wrong",
        }  # fmt: skip
        assert project.verify() == []


def test_what_was_adjudicated_since_does_not_keep_out_a_reader_s_own_work(tmp_path: Path) -> None:
    make_copies(tmp_path, "copied")
    with opened(tmp_path, "copy", "bob") as copy:
        first = copy.cases()[0].case_id
        object_id = str(copy.candidates(RUN, first).ids[1])
        copy.commit(set_verdict(first, RUN, object_id, before=None, after="agreed"))
    with opened(tmp_path, "p", "ann") as project:
        project.commit(set_verdict(first, RUN, object_id, before=None, after="ambiguous", adjudicated=True))
        assert project.merge(tmp_path / "copy").edits == 1
        assert project.verdicts(RUN)[object_id] == Verdict("ambiguous")
        assert project.verdicts(RUN, reader="bob")[object_id] == Verdict("agreed")
    with opened(tmp_path, "p", "bob") as project:
        assert project.undo() is not None
        assert project.verdicts(RUN, reader="bob")[object_id] == Verdict("ambiguous")


def test_what_the_project_does_not_know_is_counted_and_named(tmp_path: Path) -> None:
    make_copies(tmp_path, "copied")
    with opened(tmp_path, "copy", "bob") as copy:
        case_id, finding_id = new_id(), new_id()
        copy.commit(add_case(CaseRecord(case_id, "new.mha", "new")))
        copy.commit(add_findings([Finding(case_id, (1.0, 2.0, 3.0), 4.0, finding_id=finding_id)]))
        copy.commit(add_run("r" * 32, "", {}))
        for run_id in ("", "r" * 32):
            copy.commit(set_verdict(case_id, run_id, finding_id, before=None, after="agreed"))
        copy.commit(set_region(None, square(case_id, 1.0)))
    with opened(tmp_path, "p", "ann") as project:
        merged = project.merge(tmp_path / "copy")
        assert merged.edits == 0
        assert merged.left_out == {
            "edits of the kind case.add": 1,
            "edits of the kind finding.add": 1,
            "edits of the kind run.add": 1,
            f"Case {case_id} has neither a finding nor a candidate {finding_id} of run (none).": 1,
            f"The project knows no run {'r' * 32}.": 1,
            f"The project knows no case {case_id}.": 1,
        }


def test_the_ids_of_a_shared_copy_are_those_of_the_project_again(tmp_path: Path) -> None:
    planted(tmp_path / "p")
    with Project.open(tmp_path / "p", read_only=True) as project:
        project.share(tmp_path / "copy")
        names = [
            finding_id
            for finding_id in project.findings().ids.tolist()
            if finding_id.startswith("annotations")
        ]
        run_id = project.runs()[0].run_id
    with opened(tmp_path, "copy", "carl") as copy:
        finding = copy.finding(str(copy.findings().ids[0]))
        assert finding is not None
        assert finding.finding_id not in names
        copy.commit(
            set_verdict(
                finding.case_id, copy.runs()[0].run_id, finding.finding_id, before=None, after="agreed"
            )
        )
        copy.commit(set_finding(finding, replace(finding, diameter=7.0)))
        for drawn in copy.regions():
            copy.commit(set_region(None, replace(drawn, region_id=new_id())))
    with opened(tmp_path, "p", "ann") as project:
        merged = project.merge(tmp_path / "copy")
        assert (merged.edits, merged.conflicts, merged.left_out) == (4, (), {})
        assert project.verdicts(run_id, reader="carl")[names[0]] == Verdict("agreed")
        assert project.findings(reader="carl").diameters[project.findings().row_of(names[0])] == 7.0
        owners = sorted(region.owner_id for region in project.regions())
        assert sorted(region.owner_id for region in project.regions(reader="carl")) == owners[1:]
        assert owners == [names[0], names[0], owners[2], owners[2]]
        assert project.verify() == []
        assert project.merge(tmp_path / "copy").edits == 0


def test_another_project_is_refused(tmp_path: Path) -> None:
    make_copies(tmp_path, "copied")
    filled(tmp_path / "foreign").close()
    with opened(tmp_path, "p", "ann") as project:
        journal = project.journal()
        with pytest.raises(ProjectError) as caught:
            project.merge(tmp_path / "foreign")
        assert caught.value.code == "other-project"
        assert project.journal() == journal
    with Project.open(tmp_path / "p", read_only=True) as project, pytest.raises(ProjectError) as caught:
        project.merge(tmp_path / "copy")
    assert caught.value.code == "read-only"


def test_the_same_filter_stored_in_both_copies_contradicts_nothing(tmp_path: Path) -> None:
    make_copies(tmp_path, "copied")
    for name, reader in (("p", "ann"), ("copy", "bob")):
        with opened(tmp_path, name, reader) as project:
            project.commit(set_filter("hard", None, {"kinds": ["fp"]}))
    with opened(tmp_path, "p", "ann") as project:
        merged = project.merge(tmp_path / "copy")
    assert (merged.edits, merged.already, merged.conflicts) == (0, 1, ())


def test_an_outline_that_fits_the_image_no_longer_is_left_out_and_told(tmp_path: Path) -> None:
    make_copies(tmp_path, "copied")
    with opened(tmp_path, "p", "ann") as project:
        first = project.cases()[0].case_id
        project.commit(add_regions(first, "0", outline_table(first, 2)))
    with opened(tmp_path, "copy", "bob") as copy:
        copy.commit(set_region(None, square(first, 2.0)))
        object_id = str(copy.candidates(RUN, first).ids[1])
        copy.commit(set_verdict(first, RUN, object_id, before=None, after="agreed"))
    with opened(tmp_path, "p", "ann") as project:
        merged = project.merge(tmp_path / "copy")
        assert (merged.edits, merged.conflicts, sum(merged.left_out.values())) == (1, (), 1)
        assert "coordinates a vertex" in next(iter(merged.left_out))
        assert project.verify() == []
