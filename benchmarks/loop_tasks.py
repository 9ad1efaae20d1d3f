"""What the benchmark of learning trains, on which patients, and by which rules examples are chosen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.phantoms.chest_ct import SECOND_SITE
from napari_medlab.phantoms.mammogram import THIRD_MAMMOGRAPHY
from napari_medlab.phantoms.slide import FADED_SLIDES, SECOND_SLIDES

if TYPE_CHECKING:
    from napari_medlab.project.sample import AnySite

__all__ = ["DEFAULT", "HALF", "HARDEST", "NONE", "ORACLE", "RANDOM", "TASKS", "Task", "rules", "shortened"]

NONE, RANDOM, DEFAULT, HALF = "no new data", "random", "default", "default, half the examples"
ORACLE, HARDEST = "random, positives by oracle", "hardest only"


@dataclass(frozen=True)
class Task:
    """One model, where its new patients come from, and how much it is given.

    Parameters
    ----------
    bundle : the shipped model's name
    pool, test : the sites that patients come from in turn
    patients : how many in a pool, and how many frozen for testing
    budget : examples in a package
    steps : of the training
    label : of the findings that are judged; all where empty
    metric : {"cpm", "dice"}
    rule : the default one; its budget is that of the task
    """

    bundle: str
    pool: tuple[AnySite, ...]
    test: tuple[AnySite, ...]
    patients: tuple[int, int]
    budget: int
    steps: int
    label: str = ""
    metric: str = "cpm"
    rule: MiningRule = field(default_factory=MiningRule)


MAMMOGRAPHY = replace(THIRD_MAMMOGRAPHY, healthy=0.1)
"""More lesions than in life, so that there is something to judge by."""

TASKS = {
    "nodules": Task("lung-nodules", (SECOND_SITE,), (SECOND_SITE,), (30, 40), 60, 160),
    "masses": Task("mammography", (MAMMOGRAPHY,), (MAMMOGRAPHY,), (16, 12), 40, 120, "mass"),
    "glomeruli": Task(
        "glomeruli", (*(SECOND_SLIDES,) * 7, FADED_SLIDES), (SECOND_SLIDES, FADED_SLIDES), (16, 16), 6, 60, metric="dice",
        rule=MiningRule(kinds=("fp", "fn", "poor outline")),
    ),
}  # fmt: skip


def rules(task: Task) -> dict[str, MiningRule]:
    """Return the rules that are compared, all with the same number of examples but the last."""
    default = replace(task.rule, budget=task.budget)
    without_replay = replace(default, replay_share=0.0)
    return {
        RANDOM: replace(without_replay, strategy="random"),
        ORACLE: replace(without_replay, strategy="random balanced"),
        HARDEST: replace(without_replay, strategy="hardest"),
        DEFAULT: default,
        HALF: replace(default, budget=task.budget // 2),
    }


def shortened(task: Task, share: float) -> Task:
    """Return a task with a share of its patients, examples and steps."""
    pool, test = (max(2, round(count * share)) for count in task.patients)
    return replace(
        task,
        patients=(pool, test),
        budget=max(4, round(task.budget * share)),
        steps=max(4, round(task.steps * share)),
    )
