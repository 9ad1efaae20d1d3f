from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import numpy as np
import pytest
from project_samples import RUN, filled, some_candidates, square

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.project import BundleRecord, CaseRecord, ExportRecord, Project, Verdict
from napari_medlab.project.edits import (
    Edit,
    add_bundle,
    add_candidates,
    add_case,
    add_export,
    add_findings,
    add_run,
    finish_case,
    finish_run,
    set_current_bundle,
    set_region,
    set_verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with filled(tmp_path / "p") as opened:
        yield opened
        assert opened.verify() == []


def refused(project: Project, edit: Edit) -> str:
    before = project.journal()
    with pytest.raises(ProjectError) as caught:
        project.commit(edit)
    assert project.journal() == before
    return caught.value.code


def test_a_case_comes_back_as_it_was_added(project: Project, tmp_path: Path) -> None:
    outside = CaseRecord(
        new_id(), str(tmp_path / "a b.svs"), "slide", "slide", "SM", "k", "test", True, "f00", None
    )
    project.commit(add_case(outside))
    assert project.case(outside.case_id) == outside
    assert project.cases()[-1] == outside
    assert project.case_path(outside.case_id) == tmp_path / "a b.svs"
    inside = project.cases()[0]
    assert project.case_path(inside.case_id) == project.folder / "images" / "0.mha"
    assert project.stored_path(project.folder / "images" / "0.mha") == "images/0.mha"


def test_a_stored_path_that_leads_out_of_the_project_is_refused(project: Project) -> None:
    case = CaseRecord(new_id(), "../../etc/passwd", "x")
    project.commit(add_case(case))
    with pytest.raises(ProjectError) as caught:
        project.case_path(case.case_id)
    assert caught.value.code == "path"


def test_findings_come_back_as_columns(project: Project) -> None:
    case = project.cases()[0]
    table = project.findings(case.case_id)
    assert table.centres.tolist() == [[0.0, -2.5, 0.1], [1.0, -2.5, 0.1]]
    assert table.diameters.tolist() == [6.0, 6.0]
    assert not table.is_excluded.any()
    assert len(project.findings()) == 4


def test_findings_on_planar_images_have_two_coordinates_or_lie_at_zero_beside_volumes(tmp_path: Path) -> None:
    with Project.create(tmp_path / "q") as planar:
        flat, deep = CaseRecord(new_id(), "a.png", "a", "photo"), CaseRecord(new_id(), "b.mha", "b")
        planar.commit(add_case(flat))
        planar.commit(add_findings([Finding(flat.case_id, (3.0, 4.0), 1.0)]))
        assert planar.findings().centres.tolist() == [[3.0, 4.0]]
        planar.commit(add_case(deep))
        planar.commit(add_findings([Finding(deep.case_id, (5.0, 6.0, 7.0), 1.0)]))
        assert planar.findings().centres.tolist() == [[3.0, 4.0, 0.0], [5.0, 6.0, 7.0]]
        assert planar.findings(flat.case_id).centres.tolist() == [[3.0, 4.0]]


def test_candidates_come_back_exactly(project: Project) -> None:
    case_id = project.cases()[1].case_id
    given = [
        Candidate(case_id, (0.1 + n, 1e-300, -1e17), score=0.1 * n, label="mass" if n else "nodule")
        for n in range(3)
    ]
    project.commit(add_candidates(RUN, case_id, 1, given))
    table = project.candidates(RUN, case_id)
    assert table.ids[-3:].tolist() == [c.candidate_id for c in given]
    assert table.centres[-3:].tolist() == [list(c.centre) for c in given]
    assert table.scores[-3:].tolist() == [c.score for c in given]
    assert table.labels[-3:].tolist() == ["nodule", "mass", "mass"]
    assert set(table.case_ids.tolist()) == {case_id}
    assert table.centres.dtype == np.float64
    assert len(project.candidates(RUN)) == 11


def test_no_candidates_is_an_empty_table(project: Project) -> None:
    project.commit(add_run("empty", "", {}))
    project.commit(add_candidates("empty", project.cases()[0].case_id, 0, []))
    table = project.candidates("empty")
    assert (len(table), table.centres.shape) == (0, (0, 3))


def test_the_same_batch_sent_twice_is_kept_once(project: Project) -> None:
    case_id = project.cases()[0].case_id
    edit = add_candidates(RUN, case_id, 7, some_candidates(case_id, 3))
    first = project.commit(edit)
    assert project.commit(edit) == first
    assert len(project.candidates(RUN, case_id)) == 7


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused(project: Project, score: float) -> None:
    case_id = project.cases()[0].case_id
    with pytest.raises(InputRefusedError, match="stored"):
        project.commit(add_candidates(RUN, case_id, 9, [Candidate(case_id, (1, 2, 3), score)]))
    assert len(project.candidates(RUN, case_id)) == 4


def test_candidates_need_ids_of_32_digits(project: Project) -> None:
    case_id = project.cases()[0].case_id
    with pytest.raises(InputRefusedError, match="32"):
        project.commit(
            add_candidates(RUN, case_id, 9, [Candidate(case_id, (1, 2, 3), 1.0, candidate_id="7")])
        )


def test_a_case_without_candidates_is_known_to_be_done(project: Project) -> None:
    case_id = project.cases()[0].case_id
    assert project.cases_done(RUN) == set()
    first = project.commit(finish_case(RUN, case_id, 1.5))
    assert project.commit(finish_case(RUN, case_id, 9.0)) == first
    assert project.cases_done(RUN) == {case_id}


def test_a_run_is_open_until_it_is_finished(project: Project) -> None:
    assert not project.run(RUN).is_finished
    project.commit(finish_run(RUN))
    assert project.runs() == [project.run(RUN)]
    assert project.run(RUN).is_finished
    assert project.run(RUN).configuration == {"threshold": 0.5}


def test_a_verdict_is_read_back_with_who_and_when(project: Project) -> None:
    candidates = project.candidates(RUN)
    object_id, case_id = str(candidates.ids[2]), str(candidates.case_ids[2])
    after = Verdict("model wrong", "vessel", ("hilum",))
    journal_id = project.commit(set_verdict(case_id, RUN, object_id, before=None, after=after))
    stored = project.verdicts(RUN)[object_id]
    assert stored == after
    assert (stored.reader, stored.at) == ("ann", project.journal(limit=1)[0].at)
    assert [entry.id for entry in project.history(object_id)] == [journal_id]
    # what was read can be handed back as what was seen
    project.commit(set_verdict(case_id, RUN, object_id, before=stored, after=None))
    assert project.verdicts(RUN) == {}


def test_a_verdict_on_a_finding_needs_no_run(project: Project) -> None:
    finding = project.findings()
    edit = set_verdict(
        str(finding.case_ids[0]), "", str(finding.ids[0]), before=None, after=Verdict("reference wrong")
    )
    project.commit(edit)
    assert list(project.verdicts("")) == [str(finding.ids[0])]


def test_a_verdict_on_what_is_not_there_is_refused(project: Project) -> None:
    here, there = (case.case_id for case in project.cases())
    elsewhere = str(project.candidates(RUN, there).ids[0])
    for object_id in (new_id(), elsewhere, "no id"):
        assert (
            refused(project, set_verdict(here, RUN, object_id, before=None, after="agreed"))
            == "unknown-object"
        )
    assert refused(project, set_verdict(there, "r", elsewhere, before=None, after="agreed")) == "unknown-run"


def test_a_verdict_has_one_of_four_names() -> None:
    with pytest.raises(InputRefusedError) as caught:
        Verdict("maybe")  # type: ignore[arg-type]  # as it comes from a file
    assert caught.value.code == "unknown-verdict"


def test_a_stale_verdict_is_refused(project: Project) -> None:
    table = project.candidates(RUN)
    object_id, case_id = str(table.ids[0]), str(table.case_ids[0])
    project.commit(set_verdict(case_id, RUN, object_id, before=None, after="agreed"))
    assert refused(project, set_verdict(case_id, RUN, object_id, before=None, after="ambiguous")) == "stale"
    assert project.verdicts(RUN)[object_id] == Verdict("agreed")


def test_a_region_comes_back_with_the_same_digest(project: Project) -> None:
    finding = project.findings()
    case_id, owner_id = str(finding.case_ids[0]), str(finding.ids[0])
    first = square(case_id, 1 / 3, owner_id)
    second = square(case_id, 7.1, owner_id, first.region_id)
    project.commit(set_region(None, first))
    assert [region.digest() for region in project.regions(case_id)] == [first.digest()]
    project.commit(set_region(first, second))
    assert [region.digest() for region in project.regions(owner_id=owner_id)] == [second.digest()]
    assert refused(project, set_region(first, second)) == "stale"
    assert [entry.kind for entry in project.history(owner_id)] == ["finding.add", "region.set", "region.set"]
    project.commit(set_region(second, None))
    assert project.regions() == []


def test_two_regions_are_not_one_edit(project: Project) -> None:
    case_id = project.cases()[0].case_id
    with pytest.raises(InputRefusedError, match="one region"):
        set_region(square(case_id, 1), square(case_id, 2))


def test_bundles_and_exports_are_listed(project: Project) -> None:
    first = BundleRecord("a" * 64, "bundles/a", "nodules", None, "shipped", {"cpm": 0.7})
    second = BundleRecord("b" * 64, "bundles/b", "nodules", first.hash, "trained")
    for bundle in (first, second):
        project.commit(add_bundle(bundle))
    assert project.bundles() == [first, second]
    assert project.current_bundle() is None
    project.commit(set_current_bundle(None, first.hash))
    project.commit(set_current_bundle(first.hash, second.hash))
    assert project.current_bundle() == second.hash
    assert refused(project, set_current_bundle(first.hash, None)) == "stale"
    assert refused(project, set_current_bundle(second.hash, "c" * 64)) == "unknown-bundle"
    export = ExportRecord("exports/1", "hard", "d" * 64, (3, 4))
    project.commit(add_export(export))
    assert project.exports() == [export]


def test_a_failing_edit_leaves_nothing(project: Project) -> None:
    case_id = project.cases()[0].case_id
    good, bad = Finding(case_id, (0, 0, 0), 1.0), Finding(new_id(), (0, 0, 0), 1.0)
    assert refused(project, add_findings([good, bad])) == "unknown-case"
    assert len(project.findings()) == 4
    twice = Finding(case_id, (0, 0, 0), 1.0)
    assert refused(project, add_findings([twice, twice])) == "exists"
    assert len(project.findings()) == 4


@pytest.mark.parametrize(
    "edit",
    [
        add_findings([Finding("nobody", (0, 0, 0), 1.0)]),
        add_candidates("nothing", "nobody", 0, []),
        finish_run("nothing"),
        Edit("invented", {}),
    ],
)
def test_an_edit_about_nothing_known_is_refused(project: Project, edit: Edit) -> None:
    assert refused(project, edit).startswith("unknown-")


def test_the_journal_cannot_be_changed_or_shortened(project: Project) -> None:
    with sqlite3.connect(project.folder / "project.sqlite") as intruder:
        for statement in (
            "UPDATE journal SET reader = 'bob'",
            "DELETE FROM journal WHERE id = 2",
            "INSERT OR REPLACE INTO journal SELECT * FROM journal WHERE id = 2",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                intruder.execute(statement)
    intruder.close()


def test_the_journal_is_read_by_case_and_newest(project: Project) -> None:
    first, second = project.cases()
    assert [entry.id for entry in project.journal(limit=2)] == [6, 7]
    assert {entry.case_id for entry in project.journal(case_id=second.case_id)} == {second.case_id}
    assert [entry.kind for entry in project.journal(case_id=first.case_id)] == [
        "case.add",
        "finding.add",
        "candidates.add",
    ]
