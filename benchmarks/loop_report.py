"""What came of the rules by which examples were chosen: as a table, and as figures with their goals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from figures import Figure, Goal
from loop_tasks import DEFAULT, HARDEST, NONE, ORACLE, RANDOM

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loop_tasks import Task
    from measuring import Record

__all__ = ["Learned", "tell"]

AREA = "Learning from hard examples"
LEAST_SEEDS = 3
"""With fewer, what a rule gains says little, and is for information alone."""


@dataclass(frozen=True)
class Learned:
    """What came of a rule.

    Parameters
    ----------
    examples : how many there were in a package, on average
    mean : over the seeds
    interval : 95 %
    of_seeds : the figure of each
    minus : by the name of another rule, the difference and its interval
    """

    examples: float
    mean: float
    interval: tuple[float, float]
    of_seeds: list[float]
    minus: dict[str, tuple[float, float, float]]


def tell(record: Record, title: str, task: Task, learned: Mapping[str, Learned]) -> None:
    """Print the table of a task and record its figures."""
    what = "mean Dice of a slide" if task.metric == "dice" else "CPM under LUNA16's rules"
    seeds = len(learned[DEFAULT].of_seeds)
    about = f"{title}, {seeds} {'seed' if seeds == 1 else 'seeds'}"
    print(
        f"\n{about}: {what}; {task.patients[1]} test patients, pools of {task.patients[0]}, {task.steps} steps"
    )
    print(f"  {'rule':30}{'examples':>9}{'figure':>8}  {'95 % interval':16}{'minus random':>25}")
    for name, row in learned.items():
        low, high = row.interval
        gain = _words(row.minus[RANDOM]) if RANDOM in row.minus else ""
        print(f"  {name:30}{row.examples:9.0f}{row.mean:8.3f}  [{low:.3f}, {high:.3f}]{gain:>25}")
    for other in (ORACLE, HARDEST, NONE):
        print(f"  default minus {other}: {_words(learned[DEFAULT].minus[other])}")
    record.add(*_figures(about, what, learned))


def _figures(about: str, what: str, learned: Mapping[str, Learned]) -> Iterator[Figure]:
    """Yield the default rule's figure beside every other's, and what it surely gains over random examples and none."""
    default = learned[DEFAULT]
    is_judged = len(default.of_seeds) >= LEAST_SEEDS
    for other in (NONE, RANDOM, ORACLE, HARDEST):
        goal = Goal(1.0, "ratio", "least") if is_judged and other in (NONE, RANDOM) else None
        how = f"{about}; difference {_words(default.minus[other])}"
        yield Figure(
            AREA, f"{what}, default rule", default.mean, "", goal, other, learned[other].mean, how=how
        )
    for other in (NONE, RANDOM) if is_judged else ():
        gain = f"gain of the default rule over {other}, lower end of the 95 % interval"
        yield Figure(AREA, gain, default.minus[other][1], "", Goal(0.0, at="least"), how=about)


def _words(gain: tuple[float, float, float]) -> str:
    return f"{gain[0]:+.3f} [{gain[1]:+.3f}, {gain[2]:+.3f}]"
