from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from phantom_projects import add_plain_cases, cases_of, made_up_run

from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.models.workflows.judge import JudgeRule, compare_runs, judge, match_run
from napari_medlab.models.workflows.publishing import publish
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
    assert judgement.reason.startswith(
        "Refused: the new model is worse. CPM 1.000 → 0.000, difference -1.000"
    )
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
    proposed = made_up_run(
        project, NEW, set(cases_of(project, "test")), dict.fromkeys(cases_of(project, "train"), 0.99)
    )
    judgement = judge(project, current, proposed)
    assert judgement.comparison.difference == 0
    assert judgement.may_publish
    train = [case for case in project.cases() if case.split == "train"]
    trained = compare_runs(project, (current, proposed), train)
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
        judgement = judge(project, runs[0], runs[1])
    assert not judgement.may_publish
    assert "holds no finding" in judgement.reason


def test_one_patient_is_no_test_set(tmp_path: Path) -> None:
    with Project.create(tmp_path / "one", reader="ann") as project:
        add_plain_cases(project, 2, 1)
        current, proposed = made_up_run(project, OLD, set()), made_up_run(project, NEW, everything(project))
        judgement = judge(project, current, proposed)
    assert not judgement.may_publish
    assert "of one patient" in judgement.reason


def test_a_judgement_is_recorded_with_its_rule_and_figures(project: Project) -> None:
    current = made_up_run(project, OLD, everything(project))
    proposed = made_up_run(project, NEW, set())
    judgement = judge(project, current, proposed, JudgeRule(margin=0.1))
    (record,) = project.judgements()
    assert (record.bundle_hash, record.against_hash) == (NEW, OLD)
    assert (record.run_id, record.against_run_id) == (proposed, current)
    assert record.rule == judgement.rule.as_json()
    assert record.figures == judgement.figures
    assert (record.figures["current"], record.figures["proposed"], record.figures["cases"]) == (1, 0, 12)
    assert record.reason == judgement.reason
    assert not record.may_publish


def a_third_worse(project: Project) -> tuple[str, str]:
    """Return the runs of a model that finds all and of one that misses a third."""
    missed = set(cases_of(project, "test")[:4])
    return made_up_run(project, OLD, everything(project)), made_up_run(
        project, NEW, everything(project) - missed
    )


@pytest.mark.parametrize(
    ("rule", "may_publish", "words"),
    [
        (JudgeRule(), False, "is worse. CPM"),
        (
            JudgeRule(margin=0.2),
            True,
            "is not shown to be worse by more than 0.2, though its figure is lower",
        ),
        (JudgeRule(needs="not inferior", margin=0.2), False, "may be worse by more than 0.2"),
        (JudgeRule(needs="not inferior", margin=0.9), True, "is shown not to be worse by more than 0.9"),
        (JudgeRule(needs="better"), False, "is worse"),
        (
            JudgeRule("sensitivity", at_fp_per_scan=0.5),
            False,
            "sensitivity at 0.5 false positives per scan 1.000 → 0.667",
        ),
        (JudgeRule(confidence=0.9), False, "(90 % interval"),
    ],
)
def test_the_rule_decides(project: Project, rule: JudgeRule, may_publish: bool, words: str) -> None:
    judgement = judge(project, *a_third_worse(project), rule)
    assert judgement.may_publish is may_publish
    assert words in judgement.reason


def test_better_has_to_be_shown_where_it_is_asked_for(project: Project) -> None:
    current, proposed = a_third_worse(project)
    assert judge(project, proposed, current, JudgeRule(needs="better")).may_publish
    same = judge(project, current, current, JudgeRule(needs="better"))
    assert not same.may_publish
    assert "is not shown to be better" in same.reason


def test_the_same_seed_judges_alike(project: Project) -> None:
    runs = a_third_worse(project)
    first, second, other = (judge(project, *runs, JudgeRule(seed=seed)).figures for seed in (1, 1, 2))
    assert first == second
    assert first["difference"] == other["difference"]


@pytest.mark.parametrize(
    "settings",
    [
        {"metric": "mean"}, {"needs": "luck"}, {"margin": -0.1}, {"confidence": 0.4}, {"at_fp_per_scan": 0},
        {"needs": "not inferior"}, {"replicates": 3},
    ],
)  # fmt: skip
def test_a_rule_that_cannot_judge_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputRefusedError) as caught:
        JudgeRule(**settings)
    assert caught.value.code == "judge-rule"


def test_dice_needs_outlines(project: Project) -> None:
    with pytest.raises(InputRefusedError) as caught:
        judge(project, *a_third_worse(project), JudgeRule("dice"))
    assert caught.value.code == "no-outlines"
    assert project.judgements() == []


def test_frozen_cases_of_other_kinds_have_no_say(project: Project) -> None:
    from napari_medlab.annotations import new_id
    from napari_medlab.project import CaseRecord
    from napari_medlab.project.edits import add_case

    runs = a_third_worse(project)
    slide = CaseRecord(new_id(), "images/s.tif", "slide", kind="slide", split="test", frozen=True)
    project.commit(add_case(slide))
    assert "a part of them is no judge" in judge(project, *runs).reason
    assert "is worse" in judge(project, *runs, kinds=("volume",)).reason


def test_a_judgement_about_another_pair_publishes_nothing(project: Project) -> None:
    runs = [made_up_run(project, each, everything(project)) for each in (OLD, NEW)]
    judgement = judge(project, runs[0], runs[1])
    with pytest.raises(ProjectError) as caught:
        publish(project, OLD, judgement)
    assert caught.value.code == "other-current"
    project.commit(set_current_bundle(OLD, NEW))
    with pytest.raises(ProjectError):
        publish(project, NEW, judgement)
