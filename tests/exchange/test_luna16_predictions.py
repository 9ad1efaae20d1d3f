from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.annotations import Finding, new_id
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import froc, match
from napari_medlab.exchange.contents import Wanted
from napari_medlab.exchange.predictions import ImportedPredictions, import_predictions
from napari_medlab.geometry import Grid
from napari_medlab.models.workflows.hard_examples import queue_of_run
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_case, add_findings, set_verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEADER = "seriesuid,coordX,coordY,coordZ,probability\n"
ROWS = "1.2.0,-10.25,20,30.5,0.9\n1.2.0,50,50,20,0.4\n1.2.1,30,30,20,0.7\n9.9,1,2,3,0.1\n"


def add(project: Project, name: str, kind: str = "volume") -> str:
    """Add a case with a finding at (30, 30, 20)."""
    affine = np.asarray([[0, 0, 1, -20], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    case = CaseRecord(
        new_id(), f"images/{name}.mha", name, kind, "CT", grid=Grid((40, 80, 80), affine, "mm").as_json()
    )
    project.commit(add_case(case))
    project.commit(add_findings([Finding(case.case_id, (30.0, 30.0, 20.0), 6.0)]))
    return case.case_id


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A project of three scans that are called 1.2.0, 1.2.1 and 1.2.2."""
    with Project.create(tmp_path / "p", reader="ann") as made:
        for number in range(3):
            add(made, f"1.2.{number}")
        yield made


def take_in(project: Project, table: Path, *, series: Path | None = None, **rest: Any) -> ImportedPredictions:  # noqa: ANN401 - options
    return import_predictions(project, Wanted(table, is_predicted=True, listed=series), **rest)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "submission.csv"
    path.write_text(HEADER + ROWS)
    return path


def test_predictions_become_a_finished_run_without_a_bundle(project: Project, table: Path) -> None:
    steps: list[tuple[int, int]] = []
    done = take_in(project, table, model="nodulenet 2", on_progress=lambda *step: steps.append(step))
    assert (done.candidates, done.cases, done.already, done.unlisted_candidates) == (3, 2, 0, 0)
    assert done.unmatched_series == ("9.9",)
    assert done.outside_image == 0
    assert steps == [(1, 2), (2, 2)]
    (run,) = project.runs()
    assert (run.run_id, run.bundle_hash, run.is_finished) == (done.run_id, "", True)
    assert run.configuration["model"] == "nodulenet 2"
    first, second, _ = project.cases()
    assert project.candidates(run.run_id, first.case_id).centres.tolist() == [
        [-10.25, 20, 30.5],
        [50, 50, 20],
    ]
    assert project.candidates(run.run_id, second.case_id).scores.tolist() == [0.7]
    assert project.cases_done(run.run_id) == {first.case_id, second.case_id}
    assert project.verify() == []


def test_scans_without_candidates_count_where_they_are_listed(
    project: Project, table: Path, tmp_path: Path
) -> None:
    listed = tmp_path / "seriesuids.csv"
    listed.write_text("1.2.2\n1.2.0\n")
    done = take_in(project, table, series=listed)
    first, _, third = project.cases()
    assert project.cases_done(done.run_id) == {first.case_id, third.case_id}
    assert (done.cases, done.candidates, done.unlisted_candidates, done.unmatched_series) == (2, 2, 2, ())


def test_queue_and_evaluation_see_them(project: Project, table: Path) -> None:
    done = take_in(project, table)
    items = queue_of_run(project, done.run_id, 1.0)
    cases = [case.case_id for case in project.cases()]
    # of the two scans that were looked at, one finding was found and one missed; two candidates are wrong
    assert sorted((item.kind, cases.index(item.case_id)) for item in items) == [
        ("fn", 0),
        ("fp", 0),
        ("fp", 0),
    ]
    looked_at = sorted(project.cases_done(done.run_id))
    result = froc(match(project.findings(), project.candidates(done.run_id), looked_at))
    assert result.sensitivity_at(8.0) == 0.5


def test_they_can_be_reviewed(project: Project, table: Path) -> None:
    done = take_in(project, table)
    wrong = str(project.candidates(done.run_id).ids[0])
    case_id = project.cases()[0].case_id
    project.commit(set_verdict(case_id, done.run_id, wrong, before=None, after="model wrong"))
    assert wrong in project.verdicts(done.run_id)


def test_the_same_table_is_recognised(project: Project, table: Path) -> None:
    first = take_in(project, table)
    edits = len(project.journal())
    again = take_in(project, table)
    assert (again.run_id, again.cases, again.candidates, again.already) == (first.run_id, 0, 0, 2)
    assert len(project.journal()) == edits
    with pytest.raises(InputRefusedError, match="imported already") as caught:
        take_in(project, table, model="other")
    assert caught.value.code == "exists"
    assert len(project.journal()) == edits


def test_a_case_that_is_added_later_gets_its_candidates(project: Project, table: Path) -> None:
    take_in(project, table)
    later = add(project, "9.9")
    again = take_in(project, table)
    assert (again.cases, again.candidates, again.already, again.unmatched_series) == (1, 1, 2, ())
    assert project.candidates(again.run_id, later).scores.tolist() == [0.1]


def test_an_import_that_was_cut_short_is_taken_up(project: Project, table: Path) -> None:
    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_in(project, table, on_progress=stop)
    assert [run.is_finished for run in project.runs()] == [False]
    done = take_in(project, table)
    assert (done.cases, done.already) == (1, 1)
    assert [run.is_finished for run in project.runs()] == [True]
    assert len(project.candidates(done.run_id)) == 3


def test_candidates_outside_their_image_are_counted(project: Project, tmp_path: Path) -> None:
    path = tmp_path / "voxels.csv"
    path.write_text(HEADER + "1.2.0,70,20,10,0.9\n1.2.0,59,79,39,0.9\n1.2.0,0,0,-1,0.5\n")
    assert take_in(project, path).outside_image == 2


@pytest.mark.parametrize(
    ("rows", "model", "code"),
    [
        ("", "m", "empty"),
        ("8.8,1,2,3,0.5\n", "m", "no-series"),
        ("1.2.0,1,2,3,high\n", "m", "csv"),
        ("film,1,2,3,0.5\n", "m", "wrong-kind"),
        ("twice,1,2,3,0.5\n", "m", "ambiguous-series"),
        (ROWS, "../m", "name"),
        (ROWS, "", "name"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing(
    project: Project, tmp_path: Path, rows: str, model: str, code: str
) -> None:
    for name, kind in (("film", "mammogram"), ("twice", "volume"), ("twice", "volume")):
        add(project, name, kind)
    path = tmp_path / "table.csv"
    path.write_text(HEADER + rows)
    edits = len(project.journal())
    with pytest.raises(InputRefusedError) as caught:
        take_in(project, path, model=model)
    assert caught.value.code == code
    assert len(project.journal()) == edits
