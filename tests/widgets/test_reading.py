"""What the window reads of a project: outlines that fit badly, what readers and models see otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, Finding, Region, RegionTable
from napari_medlab.project import Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_regions,
    add_run,
    finish_case,
    set_verdict,
)
from napari_medlab.project.records import CaseRecord
from napari_medlab.widgets.reading import model_disagreements, planar_of, read_contents, read_review

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RUN, OTHER = "a" * 32, "b" * 32
FINDING, HIT, FALSE = "1" * 32, "2" * 32, "3" * 32


def square(side: float, owner: str) -> Region:
    return Region("one", (np.array([[0, 0], [0, side], [side, side], [side, 0]]) - 0.5,), owner)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """One planar case with a finding that is hit and a false positive; another run finds nothing."""
    grid = {"shape": [64, 64], "affine": np.eye(3).tolist(), "unit": "px"}
    with Project.create(tmp_path / "project", reader="anna") as made:
        made.commit(
            add_case(CaseRecord("one", "images/one.png", "one", "photo", grid=grid, fields={"site": "A"}))
        )
        made.commit(add_findings([Finding("one", (2.0, 2.0), 8.0, finding_id=FINDING)]))
        marks = [
            Candidate("one", (2.0, 2.0), 0.9, candidate_id=HIT),
            Candidate("one", (40.0, 40.0), 0.8, candidate_id=FALSE),
        ]
        for run_id, found in ((RUN, marks), (OTHER, [])):
            made.commit(add_run(run_id, "", {}))
            made.commit(add_candidates(run_id, "one", 0, found))
            made.commit(finish_case(run_id, "one", 1.0))
        yield made


def outline(project: Project, finding_side: float, candidate_side: float) -> None:
    given = RegionTable.from_regions("one", [square(finding_side, FINDING)])
    project.commit(add_regions("one", "reference", given))
    project.commit(
        add_regions("one", "run", RegionTable.from_regions("one", [square(candidate_side, HIT)]), RUN)
    )


def test_an_outline_that_fits_badly_is_an_error(project: Project) -> None:
    outline(project, 6, 3)
    review = read_review(project, RUN)
    (item,) = review.further
    assert (item.kind, item.object_id) == ("poor outline", HIT)
    assert item.overlap == pytest.approx(2 * 9 / (36 + 9))


def test_one_that_fits_is_none_and_without_outlines_there_is_nothing_to_compare(project: Project) -> None:
    assert len(read_review(project, RUN).further) == 0
    outline(project, 6, 6)
    assert len(read_review(project, RUN).further) == 0


def test_what_readers_differ_on_is_listed_and_each_sees_the_own_verdicts(project: Project) -> None:
    project.commit(set_verdict("one", RUN, FALSE, before=None, after="model wrong"))
    folder = project.folder
    project.close()
    with Project.open(folder, reader="ben") as opened:
        assert read_review(opened, RUN).verdicts == {}
        opened.commit(set_verdict("one", RUN, FALSE, before=None, after="reference wrong"))
        review = read_review(opened, RUN)
        assert review.verdicts[FALSE].verdict == "reference wrong"
        (item,) = review.further
        assert (item.kind, item.object_id) == ("disagreement", FALSE)
        assert "anna: model wrong" in item.other
        assert read_review(opened, RUN, is_adjudicating=True).verdicts == {}
        assert read_contents(opened).readers == ["anna", "ben"]


def test_what_another_run_sees_otherwise_is_only_what_can_be_judged_in_this_one(project: Project) -> None:
    review = read_review(project, RUN)
    found = model_disagreements(project, review, OTHER, 8.0)
    assert set(found.object_ids) == {FINDING, FALSE} or set(found.object_ids) == {HIT, FALSE}
    assert len(model_disagreements(project, read_review(project, OTHER), RUN, 8.0)) <= 1


def test_filters_can_look_at_fields_and_names_of_cases(project: Project) -> None:
    context = read_review(project, RUN).context
    assert context.case_names == {"one": "one"}
    assert context.case_fields == {"one": {"site": "A"}}
    assert planar_of(project.cases()) == {"one"}
