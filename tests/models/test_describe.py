from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from phantom_projects import cases_of, made_up_run, make_phantom_project

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.errors import ProjectError
from napari_medlab.evaluation import match, match_at
from napari_medlab.hardcases.failures.slices import SliceSearch
from napari_medlab.images.slides.tile_store import cache_folder
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.workflows import describe
from napari_medlab.models.workflows.describe import describe_run, facts_of, objects_of_run, where_it_fails
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_candidates, add_run, finish_case

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def phantom_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_phantom_project(tmp_path_factory.mktemp("projects") / "phantoms")


@pytest.fixture
def project(phantom_project: Path, tmp_path: Path) -> Iterator[Project]:
    shutil.copytree(phantom_project, tmp_path / "project")
    with Project.open(tmp_path / "project") as opened:
        yield opened


def run_with_findings_hit(project: Project) -> str:
    """Add a run that marks each finding and, in every case, a place where there is none."""
    everywhere = {case.case_id for case in project.cases()}
    return made_up_run(project, "", everywhere, dict.fromkeys(everywhere, 0.7))


def no_description(*_: object, **__: object) -> None:
    raise AssertionError("it was described again")


def test_training_cases_are_described_and_frozen_ones_never(project: Project) -> None:
    run_id = run_with_findings_hit(project)
    described = describe_run(project, run_id)
    train = set(cases_of(project, "train"))
    assert (
        set(described.objects.findings.case_ids.tolist())
        | set(described.objects.candidates.case_ids.tolist())
        == train
    )
    assert len(described.findings) == len(described.objects.findings) > 0
    assert len(described.candidates) == len(described.objects.candidates) > 0
    assert described.skipped == {}
    included = ~described.objects.findings.is_excluded
    assert (described.findings.numbers["contrast"][included] > 50).all()
    assert described.findings.categories["label"].tolist() == described.objects.findings.labels.tolist()
    assert described.findings.title("mean_intensity").unit == "HU"


def test_rows_are_those_of_their_objects(project: Project) -> None:
    run_id = run_with_findings_hit(project)
    described = describe_run(project, run_id)
    on_findings = {
        tuple(centre): row for row, centre in enumerate(described.objects.candidates.centres.tolist())
    }
    for row, centre in enumerate(described.objects.findings.centres.tolist()):
        mark = on_findings[tuple(centre)]
        for name in ("position_z", "position_y", "position_x", "spacing"):
            here, there = described.findings.numbers[name][row], described.candidates.numbers[name][mark]
            assert here == there


def test_a_second_call_reads_the_cache(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = run_with_findings_hit(project)
    first = describe_run(project, run_id)
    monkeypatch.setattr(describe, "describe", no_description)
    again = describe_run(project, run_id)
    for name, column in first.findings.numbers.items():
        np.testing.assert_array_equal(again.findings.numbers[name], column)
    for name, texts in first.candidates.categories.items():
        assert again.candidates.categories[name].tolist() == texts.tolist()
    assert again.findings.title("edge_distance") == first.findings.title("edge_distance")


@pytest.mark.parametrize("damage", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_a_damaged_cache_is_computed_again(project: Project, damage: bytes) -> None:
    run_id = run_with_findings_hit(project)
    first = describe_run(project, run_id)
    kept = list(cache_folder().with_name("descriptors").glob("*.npz"))
    assert kept
    for path in kept:
        path.write_bytes(damage)
    again = describe_run(project, run_id)
    np.testing.assert_array_equal(again.findings.numbers["contrast"], first.findings.numbers["contrast"])


def test_a_case_whose_image_is_gone_is_told_and_left_out(project: Project) -> None:
    run_id = run_with_findings_hit(project)
    gone, kept = cases_of(project, "train")
    project.case_path(gone).unlink()
    described = describe_run(project, run_id)
    assert list(described.skipped) == [gone]
    assert [case.case_id for case in described.objects.cases] == [kept]
    assert set(described.objects.candidates.case_ids.tolist()) == {kept}


def test_progress_counts_all_objects_and_a_stop_is_obeyed(project: Project) -> None:
    run_id = run_with_findings_hit(project)
    objects = objects_of_run(project, run_id)
    told: list[tuple[int, int]] = []
    describe_run(project, run_id, on_progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(objects.ids()), len(objects.ids()))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    token = CancelToken()
    token.cancel()
    with pytest.raises(CancelledError):
        describe_run(project, run_id, stop=token.check)


def test_a_run_that_is_not_there_is_refused(project: Project) -> None:
    with pytest.raises(ProjectError, match="knows no run"):
        describe_run(project, new_id())


def test_a_run_without_a_finished_case_has_nothing_to_describe(project: Project) -> None:
    run_id = new_id()
    project.commit(add_run(run_id, "", {}))
    described = describe_run(project, run_id)
    assert (len(described.findings), len(described.candidates)) == (0, 0)
    outcome = where_it_fails(described, match(project.findings(), project.candidates(run_id), []))
    assert (outcome.findings, outcome.candidates, outcome.undescribed) == ([], [], 0)


def test_wrong_marks_of_one_kind_are_a_slice(project: Project) -> None:
    run_id = new_id()
    project.commit(add_run(run_id, "", {}))
    rng = np.random.default_rng(0)
    for case_id in cases_of(project, "train"):
        centres = np.repeat(project.findings(case_id).centres[:1], 12, axis=0)
        right = [
            Candidate(case_id, tuple(c + rng.normal(0, 0.1, 3)), 0.9 - 0.01 * k, 8.0)
            for k, c in enumerate(centres)
        ]
        wrong = [Candidate(case_id, (float(rng.uniform(-20, 20)), 0.0, 0.0), 0.5, 20.0) for _ in range(6)]
        project.commit(add_candidates(run_id, case_id, 0, [*right, *wrong]))
        project.commit(finish_case(run_id, case_id, 0.1))
    described = describe_run(project, run_id)
    cases = [case.case_id for case in described.objects.cases]
    table = match_at(match(project.findings(), project.candidates(run_id), cases), 0.1)
    # few patients are enough here: what is tried is the way from the match table to the rows
    lenient = SliceSearch(level=1.0, least_rows=2, least_patients=1, replicates=19)
    outcome = where_it_fails(described, table, search=lenient)
    assert outcome.undescribed == 0
    for one in outcome.candidates:
        ids = set(described.objects.candidates.ids[one.rows].tolist())
        kinds = [
            str(kind) for kind, key in zip(table.kind, table.candidate_id, strict=True) if str(key) in ids
        ]
        assert set(kinds) <= {"tp", "fp"}
        assert one.rate == pytest.approx(kinds.count("tp") / len(one.rows))
    assert outcome.candidates


def test_a_view_is_told_as_side_and_projection() -> None:
    case = CaseRecord(new_id(), "a.dcm", "a", kind="mammogram", modality="MG", view="LMLO")
    assert facts_of(case) == {"modality": "MG", "view": "MLO", "side": "left"}
    assert facts_of(CaseRecord(new_id(), "a.mha", "a", modality="CT")) == {
        "modality": "CT",
        "view": "",
        "side": "",
    }
