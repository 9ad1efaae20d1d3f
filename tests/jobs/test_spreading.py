"""Tasks in the thread that asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cluster_parts import begun, shaky, slow, square

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.jobs.spreading import Here, Task

if TYPE_CHECKING:
    from pathlib import Path


def tasks(folder: Path, count: int, **of_one: object) -> list[Task]:
    return [
        Task(
            str(number),
            {
                "name": str(number),
                "array": [number, 2.0],
                "folder": str(folder),
                **(of_one if number == 1 else {}),
            },
        )
        for number in range(count)
    ]


def test_outcomes_come_in_the_order_of_the_tasks_with_progress_before(tmp_path: Path) -> None:
    told: list[tuple[object, ...]] = []
    for outcome in Here().run(
        square, tasks(tmp_path, 3), CancelToken(), on_progress=lambda *now: told.append(now)
    ):
        assert (outcome.error, outcome.attempts) == (None, 1)
        told.append((outcome.key, outcome.value["square"].tolist()))
    assert told == [("0", 1, 2), ("0", [0, 4]), ("1", 1, 2), ("1", [1, 4]), ("2", 1, 2), ("2", [4, 4])]


@pytest.mark.parametrize(("why", "code"), [("odd", "odd"), ("bug", "case-failed")])
def test_a_task_that_fails_stops_no_other(tmp_path: Path, why: str, code: str) -> None:
    first, failed, last = Here().run(square, tasks(tmp_path, 3, **{why: True}), CancelToken())
    assert first.error is last.error is None
    assert failed.value is None
    assert failed.error is not None
    assert failed.error.code == code
    assert isinstance(failed.error, InputRefusedError) == (why == "odd")
    assert isinstance(failed.error.__cause__, ZeroDivisionError) == (why == "bug")


def test_what_the_system_says_is_told_at_once_as_nothing_else_could_do_better(tmp_path: Path) -> None:
    (outcome,) = Here().run(
        shaky, [Task("a", {"name": "a", "folder": str(tmp_path), "fails": 1})], CancelToken()
    )
    assert outcome.error is not None
    assert "Input/output error" in outcome.error.message
    assert len(begun(tmp_path)) == 1


def test_cancelling_stops_within_a_task_and_before_the_next(tmp_path: Path) -> None:
    cancel = CancelToken()
    with pytest.raises(CancelledError):
        list(Here().run(slow, [Task("a", {"name": "a", "folder": str(tmp_path), "seconds": 60})], cancel,
                        on_progress=lambda *_: cancel.cancel()))  # fmt: skip
    assert (tmp_path / "a.stopped").exists()
    with pytest.raises(CancelledError):
        next(Here().run(square, tasks(tmp_path, 1), cancel))
    assert len(begun(tmp_path)) == 1


def test_tasks_that_share_a_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="several tasks are called 0"):
        next(Here().run(square, tasks(tmp_path, 1) * 2, CancelToken()))
