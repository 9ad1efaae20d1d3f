"""Which case to read next, on made-up runs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, Finding, FindingTable, Region, new_id
from napari_medlab.errors import InputRefusedError, ProjectError
from napari_medlab.hardcases.acquisition import entropy, farthest_first, sum_of_largest
from napari_medlab.models.workflows.describe import RunObjects
from napari_medlab.models.workflows.embed import EmbeddedRun
from napari_medlab.models.workflows.next_cases import NextRule, next_cases, unread_cases
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    set_region,
    set_verdict,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

RUN, OTHER = "1" * 32, "2" * 32
SCORES = {
    "sure": [0.98], "doubtful": [0.5, 0.45], "between": [0.8], "silent": [], "known": [0.6], "read": [0.6], "drawn": [0.6],
    "frozen": [0.5], "tested": [0.5],
}  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p", reader="ann") as made:
        for run_id in (RUN, OTHER):
            made.commit(add_run(run_id, "", {}))
        for number, (name, scores) in enumerate(SCORES.items()):
            is_test = name in ("frozen", "tested")
            case = CaseRecord(
                f"{number:032x}", "", name, split="test" if is_test else "train", frozen=name == "frozen"
            )
            made.commit(add_case(case))
            add_marks(made, RUN, case.case_id, scores)
            add_marks(made, OTHER, case.case_id, [0.0 if name == "sure" else each for each in scores])
        made.commit(add_findings([Finding(id_of(made, "known"), (0.0, 0.0, 0.0), 5.0)]))
        object_id = str(made.candidates(RUN, id_of(made, "read")).ids[0])
        made.commit(set_verdict(id_of(made, "read"), RUN, object_id, before=None, after="agreed"))
        square = Region(id_of(made, "drawn"), (np.eye(3),))
        made.commit(set_region(None, square))
        yield made


def add_marks(project: Project, run_id: str, case_id: str, scores: Sequence[float]) -> None:
    found = [Candidate(case_id, (100.0 * n, 0.0, 0.0), score, 4.0) for n, score in enumerate(scores)]
    project.commit(add_candidates(run_id, case_id, 0, found))
    project.commit(finish_case(run_id, case_id, 0.1))


def id_of(project: Project, name: str) -> str:
    return next(case.case_id for case in project.cases() if case.name == name)


def names(
    project: Project, rule: NextRule, *, others: Sequence[str] = (), embedded: EmbeddedRun | None = None
) -> list[str]:
    return [case.name for case in next_cases(project, RUN, rule, others=others, embedded=embedded).cases]


def test_unread_is_what_nobody_touched_and_nothing_is_known_of(project: Project) -> None:
    assert {case.name for case in unread_cases(project, RUN)} == {"sure", "doubtful", "between", "silent"}
    doubtful = id_of(project, "doubtful")
    object_id = str(project.candidates(RUN, doubtful).ids[0])
    project.commit(set_verdict(doubtful, RUN, object_id, before=None, after="agreed"))
    assert {case.name for case in unread_cases(project, RUN)} == {"sure", "between", "silent"}
    project.undo()
    assert {case.name for case in unread_cases(project, RUN)} == {"sure", "doubtful", "between", "silent"}


def test_the_most_doubtful_case_comes_first_and_what_has_no_candidate_last(project: Project) -> None:
    assert names(project, NextRule()) == ["doubtful", "between", "sure", "silent"]
    found = next_cases(project, RUN, NextRule(per_case=1, count=2))
    assert [(item.kind, item.score) for item in found.queue] == [("unread", 0.5), ("unread", 0.8)]
    first = found.cases[0]
    assert first.as_json() == {
        "case_id": id_of(project, "doubtful"), "case": "doubtful", "doubt": 1.0, "expected_errors": pytest.approx(0.95),
        "candidates": 2,
    }  # fmt: skip
    assert found.reviewed == 0


def test_errors_are_expected_on_both_sides_of_the_operating_point(project: Project) -> None:
    found = next_cases(project, RUN, NextRule(by="errors"))
    assert [case.name for case in found.cases] == ["doubtful", "between", "sure", "silent"]
    # at one false positive per scan everything is marked: what is believed little is expected to be false
    strict = next_cases(project, RUN, NextRule(by="errors", fp_per_scan=1e-3))
    assert {case.name: case.expected_errors for case in strict.cases} == pytest.approx(
        {"sure": 0.98, "doubtful": 0.95, "between": 0.8, "silent": 0.0}
    )


def test_runs_that_differ_put_a_case_first_that_one_of_them_is_sure_about(project: Project) -> None:
    rule = NextRule(measure="variance")
    assert names(project, rule, others=[OTHER])[0] == "sure"
    with pytest.raises(InputRefusedError) as caught:
        next_cases(project, RUN, rule, others=[RUN])
    assert caught.value.code == "members"


def test_the_margin_is_to_the_operating_point_of_what_was_read(project: Project) -> None:
    assert names(project, NextRule(measure="margin"))[0] == "doubtful"


def embedding(project: Project, vectors: dict[str, tuple[float, float]]) -> EmbeddedRun:
    candidates = project.candidates(RUN)
    by_id = {case.case_id: case.name for case in project.cases()}
    shown = candidates.where(np.isin([by_id[each] for each in candidates.case_ids], list(vectors)))
    rows = np.array([vectors[by_id[each]] for each in shown.case_ids], np.float32)
    objects = RunObjects(tuple(project.cases()), FindingTable.from_objects([]), shown)
    return EmbeddedRun(RUN, objects, rows, "made up", {})


def test_a_case_like_one_that_was_read_waits(project: Project) -> None:
    vectors = {"read": (9.0, 0.0), "doubtful": (9.0, 0.0), "between": (-9.0, 1.0), "sure": (0.0, 9.0)}
    made = embedding(project, vectors)
    assert names(project, NextRule(by="diversity"), embedded=made) == [
        "between",
        "sure",
        "silent",
        "doubtful",
    ]
    assert names(project, NextRule(by="mixed"), embedded=made)[0] == "between"
    assert names(project, NextRule(by="mixed"), embedded=made) == names(
        project, NextRule(by="mixed"), embedded=made
    )
    for wrong in (None, replace(made, run_id=OTHER)):
        with pytest.raises(InputRefusedError) as caught:
            next_cases(project, RUN, NextRule(by="mixed"), embedded=wrong)
        assert caught.value.code == "no-embedding"


def test_what_was_reviewed_says_how_much_a_score_is_worth(tmp_path: Path) -> None:
    """Where scores above 0.6 were nearly always right, doubt lies below."""
    with Project.create(tmp_path / "p") as project:
        project.commit(add_run(RUN, "", {}))
        for number in range(24):
            case = CaseRecord(new_id(), "", f"case {number}")
            project.commit(add_case(case))
            project.commit(add_findings([Finding(case.case_id, (0.0, 0.0, 0.0), 9.0)]))
            add_marks(project, RUN, case.case_id, [0.65 + number / 100, 0.05 + number / 100])
        for name, score in (("half", 0.5), ("high", 0.88)):
            project.commit(add_case(CaseRecord(name, "", name)))
            add_marks(project, RUN, name, [score])
        found = next_cases(project, RUN)
        assert found.reviewed == 48
        assert [case.case_id for case in found.cases] == ["half", "high"]
        assert found.cases[0].doubt > 2 * found.cases[1].doubt


def test_what_cannot_be_ranked_is_refused(project: Project) -> None:
    for wrong in ({"by": "chance"}, {"measure": "gut"}, {"per_case": 0}, {"count": 0}, {"fp_per_scan": 0.0}):
        with pytest.raises(InputRefusedError) as caught:
            NextRule(**wrong)
        assert caught.value.code == "option"
    with pytest.raises(ProjectError):
        next_cases(project, "nothing")


def simulated(rng: np.random.Generator) -> tuple[Any, Any, Any, Any]:
    """Return 120 made-up cases: the chances of four candidates each, which of them are findings, kinds and features.

    Most candidates are clearly nothing; one case in three holds some that are in doubt, nearly all of them of one common kind.
    """
    kinds = rng.choice(6, 120, p=[0.75, 0.05, 0.05, 0.05, 0.05, 0.05])
    is_hard = rng.uniform(size=120) < 0.35
    chances = np.where(is_hard[:, None], rng.beta(4, 4, (120, 4)), rng.beta(1, 25, (120, 4)))
    features = 8 * np.eye(6)[kinds] + rng.normal(scale=0.5, size=(120, 6))
    return chances, rng.uniform(size=(120, 4)) < chances, kinds, features


def test_doubt_finds_more_findings_for_each_case_read_than_chance_and_diversity_more_kinds() -> None:
    """A study on made-up cases: 15 of 120 are read, 30 times."""
    gains, kinds_gained = [], []
    for seed in range(30):
        chances, is_finding, kinds, features = simulated(np.random.default_rng(seed))
        doubt = sum_of_largest(entropy(chances.ravel()), np.repeat(np.arange(120), 4), 120, 5)
        by_doubt = np.argsort(-doubt, kind="stable")[:15]
        mixed = farthest_first(features, 15, worth=doubt)
        gains.append(is_finding[mixed].sum() / 15 - is_finding.sum() / 120)
        hard = doubt > 2
        kinds_gained.append(len(set(kinds[mixed[hard[mixed]]])) - len(set(kinds[by_doubt])))
    low, _high = np.percentile(gains, [2.5, 97.5])
    assert low > 0
    assert np.mean(kinds_gained) > 0.5
