from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from phantom_projects import add_plain_cases, cases_of, made_up_run

from napari_medlab.errors import ProjectError
from napari_medlab.models.workflows.judge import compare_runs, judge, match_run, publish
from napari_medlab.project import BundleRecord, Project
from napari_medlab.project.edits import add_bundle, set_current_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", reader="ann") as made:
        add_plain_cases(made, 2, 12)
        for bundle_hash, parent in ((OLD, None), (NEW, OLD)):
            made.commit(add_bundle(BundleRecord(bundle_hash, f"bundles/{bundle_hash[:4]}", "model", parent)))
        made.commit(set_current_bundle(None, OLD))
        yield made


def everything(project: Project) -> set[str]:
    return {case.case_id for case in project.cases()}


def test_a_worse_model_is_refused_and_cannot_be_published(project: Project) -> None:
    current = made_up_run(project, OLD, everything(project))
    proposed = made_up_run(project, NEW, set())
    judgement = judge(project, current, proposed)
    assert not judgement.may_publish
    assert judgement.reason.startswith("Refused: the new model is worse. CPM 1.000 → 0.000, difference -1.000")
    assert "12 frozen test cases" in judgement.reason
    with pytest.raises(ProjectError) as caught:
        publish(project, NEW, judgement)
    assert caught.value.code == "worse"
    assert project.current_bundle() == OLD


def test_an_equal_model_may_be_published_and_the_step_undone(project: Project) -> None:
    current = made_up_run(project, OLD, everything(project))
    proposed = made_up_run(project, NEW, everything(project))
    judgement = judge(project, current, proposed)
    assert judgement.may_publish
    assert "not shown to be worse" in judgement.reason
    publish(project, NEW, judgement)
    assert project.current_bundle() == NEW
    undone = project.undo()
    assert undone is not None
    assert undone.kind == "bundle.current"
    assert project.current_bundle() == OLD
    project.redo()
    assert project.current_bundle() == NEW


def test_a_better_model_is_called_better(project: Project) -> None:
    current = made_up_run(project, OLD, set())
    judgement = judge(project, current, made_up_run(project, NEW, everything(project)))
    assert judgement.may_publish
    assert "is better" in judgement.reason


def test_a_little_worse_is_not_told_from_chance(project: Project) -> None:
    current = made_up_run(project, OLD, everything(project))
    proposed = made_up_run(project, NEW, everything(project) - {cases_of(project, "test")[0]})
    judgement = judge(project, current, proposed)
    assert judgement.comparison.difference < 0
    assert judgement.may_publish


def test_training_cases_have_no_say(project: Project) -> None:
    current = made_up_run(project, OLD, everything(project))
    proposed = made_up_run(project, NEW, set(cases_of(project, "test")), dict.fromkeys(cases_of(project, "train"), 0.99))
    judgement = judge(project, current, proposed)
    assert judgement.comparison.difference == 0
    assert judgement.may_publish
    trained = compare_runs(project, current, proposed, "train")
    assert (trained.n_cases, trained.difference) == (2, -1)


def test_a_false_positive_on_a_frozen_case_counts(project: Project) -> None:
    test = cases_of(project, "test")
    run_id = made_up_run(project, NEW, set(), dict.fromkeys(test[:3], 0.7))
    counts = match_run(project, run_id, test).counts
    assert (counts["fp"], counts["fn"]) == (3, 12)


def test_runs_without_a_case_in_common_are_not_compared(project: Project) -> None:
    from napari_medlab.project.edits import add_run

    current = made_up_run(project, OLD, everything(project))
    project.commit(add_run("empty", NEW, {}))
    with pytest.raises(ProjectError) as caught:
        judge(project, current, "empty")
    assert caught.value.code == "nothing-to-compare"


def test_a_test_set_without_findings_tells_nothing(tmp_path: Path) -> None:
    from napari_medlab.annotations import new_id
    from napari_medlab.project import CaseRecord
    from napari_medlab.project.edits import add_case

    with Project.create(tmp_path / "empty") as project:
        project.commit(add_case(CaseRecord(new_id(), "images/1.mha", "one", split="test", frozen=True)))
        runs = [made_up_run(project, bundle_hash, set()) for bundle_hash in (OLD, NEW)]
        judgement = judge(project, *runs)
    assert not judgement.may_publish
    assert "holds no finding" in judgement.reason
