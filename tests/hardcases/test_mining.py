from __future__ import annotations

from dataclasses import replace

import pytest

from napari_medlab.annotations import Finding, FindingTable
from napari_medlab.hardcases.errors.building import QueueItem
from napari_medlab.hardcases.mining import Example, MiningRule, mine

CASES = [f"case{number}" for number in range(6)]
RULE = MiningRule(budget=8, per_case=3, replay_share=0.5, seed=4)

MISSED = [f"{case}-missed" for case in CASES]


def queue() -> list[QueueItem]:
    """Return five errors of each case, the cases taking turns: a miss, then false positives."""
    return [
        QueueItem("fn" if place == 0 else "fp", MISSED[n] if place == 0 else f"{case}-fp{place}", case,
                  (float(n), float(place), 0.0), 6.0, 0.9 - place / 10, 20.0, "nodule")
        for place in range(5)
        for n, case in enumerate(CASES)
    ]  # fmt: skip


def findings() -> FindingTable:
    rows = [Finding(case, (0.0, 0.0, 9.0), 6.0, finding_id=f"{case}-found") for case in CASES]
    rows += [Finding(case, (9.0, 9.0, 9.0), 6.0, finding_id=missed) for case, missed in zip(CASES, MISSED, strict=True)]
    rows.append(Finding("case0", (5.0, 5.0, 5.0), 2.0, is_excluded=True, finding_id="excluded"))
    return FindingTable.from_objects(rows)


def mined(rule: MiningRule = RULE, verdicts: dict[str, str] | None = None) -> list[Example]:
    return mine(queue(), findings(), [(case, (1.0, 2.0, 3.0)) for case in CASES], verdicts or {}, rule)


def errors(examples: list[Example]) -> list[Example]:
    return [example for example in examples if example.reason != "replay"]


def test_errors_come_from_the_front_of_the_queue() -> None:
    chosen = errors(mined())
    assert [example.object_id for example in chosen] == [item.object_id for item in queue()[:8]]
    assert [example.reason for example in chosen] == ["miss"] * 6 + ["false positive"] * 2
    assert [example.centre for example in chosen] == [item.centre for item in queue()[:8]]


@pytest.mark.parametrize("budget", [0, 1, 5, 100])
def test_the_budget_holds(budget: int) -> None:
    assert len(errors(mined(replace(RULE, budget=budget)))) == min(budget, 3 * len(CASES))


def test_no_case_gives_more_than_its_share() -> None:
    chosen = errors(mined(replace(RULE, budget=100, per_case=2)))
    counts = {case: sum(example.case_id == case for example in chosen) for case in CASES}
    assert set(counts.values()) == {2}


@pytest.mark.parametrize("verdict", ["ambiguous", "reference wrong"])
def test_an_error_whose_label_is_in_doubt_is_left_out(verdict: str) -> None:
    chosen = mined(replace(RULE, replay_share=0.9), verdicts={"case0-missed": verdict, "case1-fp1": verdict})
    assert not {"case0-missed", "case1-fp1"} & {example.object_id for example in chosen}
    assert len(errors(chosen)) == 8


def test_verdicts_are_told() -> None:
    chosen = {e.object_id: e for e in mined(verdicts={"case0-missed": "model wrong"})}
    assert chosen["case0-missed"].verdict == "model wrong"


@pytest.mark.parametrize(("share", "replayed"), [(0.0, 0), (0.2, 2), (0.5, 8), (0.6, 12)])
def test_the_replay_has_its_share(share: float, replayed: int) -> None:
    examples = mined(replace(RULE, replay_share=share))
    assert len(examples) - len(errors(examples)) == replayed
    assert examples[: len(errors(examples))] == errors(examples)


def test_the_replay_is_of_findings_that_the_model_had_right_and_of_random_places() -> None:
    replay = [example for example in mined() if example.reason == "replay"]
    of_findings = [example for example in replay if example.object_id]
    assert len(of_findings) == 4
    assert {example.object_id for example in of_findings} <= {f"{case}-found" for case in CASES}
    assert {example.centre for example in replay if not example.object_id} == {(1.0, 2.0, 3.0)}


def test_the_same_seed_gives_the_same_examples() -> None:
    assert mined() == mined()
    others = [mined(replace(RULE, seed=seed)) for seed in range(5)]
    assert any(other != mined() for other in others)
    assert all(errors(other) == errors(mined()) for other in others)


def test_nothing_comes_from_a_case_that_was_not_given() -> None:
    given = CASES[:3]
    kept = findings()
    kept = kept.where([case in given for case in kept.case_ids])
    front = [item for item in queue() if item.case_id in given]
    examples = mine(front, kept, [(case, (1.0, 2.0, 3.0)) for case in given], {}, replace(RULE, replay_share=0.9))
    assert {example.case_id for example in examples} <= set(given)


def test_without_errors_there_is_nothing_to_replay() -> None:
    assert mine([], findings(), [(case, (0.0, 0.0, 0.0)) for case in CASES], {}, RULE) == []


def test_an_object_that_is_an_error_twice_is_one_example() -> None:
    twice = [item for item in queue() for item in (item, replace(item, kind="duplicate"))]
    chosen = errors(mine(twice, findings(), [], {}, RULE))
    assert chosen == errors(mine(queue(), findings(), [], {}, RULE))
