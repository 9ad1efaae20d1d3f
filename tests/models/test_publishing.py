"""Judging with the worker, publishing and rolling back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from example_packages import small_bundle
from phantom_projects import add_plain_cases, shipped

from napari_medlab.annotations import new_id
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.jobs import CancelToken
from napari_medlab.models.workflows.judge import JudgeRule
from napari_medlab.models.workflows.predict import register_bundle
from napari_medlab.models.workflows.publishing import (
    current_model,
    judge_bundles,
    newest_proposal,
    publish,
    published_before,
    roll_back,
)
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import add_case, set_current_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.workflows.judge import Judgement


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", reader="ann") as made:
        add_plain_cases(made, 1, 3)
        yield made


@pytest.fixture
def models(project: Project) -> dict[str, Bundle]:
    """Return bundles of the project: two for scans, and one for slides."""
    made = {name: small_bundle(project.folder / "bundles" / name, kind) for name, kind in
            (("scans", "scans"), ("slides", "slides"))}  # fmt: skip
    for bundle in made.values():
        register_bundle(project, bundle, "trained")
    return made


class FindsTheOrigin:
    """A worker whose answer for every case is one candidate, at the origin for one of the bundles and far off for others."""

    def __init__(self, right: str) -> None:
        self.right = right
        self.asked: list[str] = []

    def events(self, request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
        cancel.check()
        if request["op"] == "predict":
            self.asked.append(request["case_id"])
            x = 0.0 if request["bundle"] == self.right else 90.0
            yield {"event": "batch", "candidates": [[new_id(), (x, x, x), 0.9, 8.0, "nodule"]]}
            yield {"event": "seconds", "seconds": 0.1}

    @property
    def is_alive(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is held."""


def judged(project: Project, current: Bundle, proposed: Bundle, worker: FindsTheOrigin) -> Judgement:
    steps = judge_bundles(project, current, proposed, worker, CancelToken())
    while True:
        try:
            next(steps)
        except StopIteration as done:
            judgement: Judgement = done.value
            return judgement


def test_missing_frozen_cases_are_run_first_and_only_once(
    project: Project, models: dict[str, Bundle]
) -> None:
    worker = FindsTheOrigin(str(models["scans"].folder))
    judgement = judged(project, shipped(), models["scans"], worker)
    frozen = {case.case_id for case in project.cases() if case.frozen}
    assert (set(worker.asked), len(worker.asked)) == (frozen, 6)
    assert judgement.may_publish
    assert judgement.figures["difference"] == 1
    again = judged(project, shipped(), models["scans"], worker)
    assert len(worker.asked) == 6
    assert again.figures == judgement.figures
    assert len(project.judgements()) == 2


def test_what_is_worse_is_refused_with_the_reason(project: Project, models: dict[str, Bundle]) -> None:
    worker = FindsTheOrigin(str(shipped().folder))
    judgement = judged(project, shipped(), models["scans"], worker)
    with pytest.raises(ProjectError, match=r"the new model is worse\. CPM 1\.000 → 0\.000") as caught:
        publish(project, models["scans"].hash, judgement)
    assert caught.value.code == "worse"
    assert project.current_bundle() is None


def test_models_for_other_things_are_not_held_against_each_other(
    project: Project, models: dict[str, Bundle]
) -> None:
    worker = FindsTheOrigin("")
    for current, proposed, code in (
        (models["slides"], models["scans"], "task"),
        (models["scans"], models["scans"], "same-model"),
        (models["scans"], models["slides"], "no-frozen-cases"),
    ):
        with pytest.raises(InputRefusedError) as caught:
            judged(project, current, proposed, worker)
        assert caught.value.code == code
    assert worker.asked == []


def test_each_roll_back_goes_one_step_further(project: Project, models: dict[str, Bundle]) -> None:
    assert published_before(project) is None
    first, second = (models[name].hash for name in ("scans", "slides"))
    project.commit(set_current_bundle(None, first))
    assert published_before(project) == ""
    project.commit(set_current_bundle(first, second))
    assert published_before(project) == first
    assert roll_back(project) == first
    assert project.current_bundle() == first
    assert roll_back(project) == ""
    assert project.current_bundle() is None
    with pytest.raises(ProjectError) as caught:
        roll_back(project)
    assert caught.value.code == "nothing-before"


def test_a_roll_back_is_undone_like_any_edit(project: Project, models: dict[str, Bundle]) -> None:
    first, second = (models[name].hash for name in ("scans", "slides"))
    project.commit(set_current_bundle(None, first))
    project.commit(set_current_bundle(first, second))
    roll_back(project)
    project.undo()
    assert project.current_bundle() == second
    assert published_before(project) == first
    project.undo()
    assert published_before(project) == ""


def test_a_model_whose_files_are_gone_is_not_rolled_back_to(
    project: Project, models: dict[str, Bundle]
) -> None:
    first, second = models["scans"], models["slides"]
    project.commit(set_current_bundle(None, first.hash))
    project.commit(set_current_bundle(first.hash, second.hash))
    first.folder.rename(project.folder / "elsewhere")
    with pytest.raises(ProjectError, match="scans") as caught:
        roll_back(project)
    assert caught.value.code == "missing"
    assert project.current_bundle() == second.hash


def test_what_ships_for_most_images_is_current_until_something_is_published(
    project: Project, models: dict[str, Bundle]
) -> None:
    assert current_model(project).name == "lung-nodules"
    assert newest_proposal(project).hash == models["slides"].hash
    project.commit(set_current_bundle(None, models["slides"].hash))
    assert newest_proposal(project).hash == models["scans"].hash


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        ({}, "lung-nodules"),
        ({"photo": 2}, "glomeruli"),
        ({"slide": 1, "photo": 2, "volume": 2}, "glomeruli"),
        ({"slide": 1, "photo": 1, "volume": 2}, "lung-nodules"),
        ({"mammogram": 1}, "mammography"),
    ],
)
def test_what_ships_is_chosen_by_all_kinds_that_it_reads(
    tmp_path: Path, kinds: dict[str, int], name: str
) -> None:
    with Project.create(tmp_path / "kinds") as made:
        for kind, count in kinds.items():
            for number in range(count):
                made.commit(add_case(CaseRecord(new_id(), f"{number}.png", f"{kind} {number}", kind=kind)))
        assert current_model(made).name == name


def without_reference(folder: Path, **fields: str | float) -> Project:
    project = Project.create(folder, reader="ann")
    for number in range(2):
        project.commit(add_case(CaseRecord(
            new_id(), f"{number}.mha", str(number), split="test", frozen=True, fields=fields,
        )))  # fmt: skip
    return project


def test_nothing_is_run_where_the_frozen_cases_have_no_reference(
    tmp_path: Path, models: dict[str, Bundle]
) -> None:
    worker = FindsTheOrigin("")
    with without_reference(tmp_path / "bare") as bare:
        with pytest.raises(InputRefusedError, match="The 2 frozen cases have no reference") as caught:
            judged(bare, shipped(), models["scans"], worker)
        assert "project import-reference DIR FILE" in caught.value.hint
        assert (caught.value.code, worker.asked, bare.runs()) == ("no-reference", [], [])


def test_frozen_cases_that_were_read_and_are_normal_are_run(
    tmp_path: Path, models: dict[str, Bundle]
) -> None:
    worker = FindsTheOrigin("")
    with without_reference(tmp_path / "normal", read="yes") as normal:
        judgement = judged(normal, shipped(), models["scans"], worker)
    assert len(worker.asked) == 4
    assert "holds no finding" in judgement.reason


def test_a_rule_of_outlines_is_refused_first_where_there_are_findings_alone(
    project: Project, models: dict[str, Bundle]
) -> None:
    worker = FindsTheOrigin("")
    steps = judge_bundles(project, shipped(), models["scans"], worker, CancelToken(), JudgeRule("dice"))
    with pytest.raises(InputRefusedError, match="the reference has none") as caught:
        next(steps)
    assert (caught.value.code, worker.asked) == ("no-outlines", [])


def test_without_a_trained_model_there_is_no_proposal(project: Project) -> None:
    with pytest.raises(InputRefusedError) as caught:
        newest_proposal(project)
    assert caught.value.code == "no-proposal"
