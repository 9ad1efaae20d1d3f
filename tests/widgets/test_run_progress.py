"""Cases, tiles and time of a run, and the cases that are not done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_medlab.models.workflows.predict import RunEvent
from napari_medlab.widgets.run_progress import RunProgress, Trouble, time_left


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def event(kind: Any, case_id: str = "", done: int = 0, total: int = 4, **more: Any) -> RunEvent:  # noqa: ANN401 - as events are
    return RunEvent(kind, "run", case_id, done, total, **more)


def test_time_is_told_from_what_this_run_has_done_itself() -> None:
    clock = Clock()
    progress = RunProgress(clock)
    progress.take(event("started", done=2))
    assert progress.share == 0
    assert progress.seconds_left is None
    clock.seconds += 10
    progress.take(event("progress", "a", done=2, tiles_done=50, tiles_total=100))
    assert progress.share == pytest.approx(0.25)
    assert progress.seconds_left == pytest.approx(30)
    clock.seconds += 10
    progress.take(event("case done", "a", done=3))
    assert progress.seconds_left == pytest.approx(20)
    progress.take(event("case done", "b", done=4))
    assert progress.share == 1
    assert progress.seconds_left is None


def test_a_stopped_case_is_partial_and_says_how_far_it_came() -> None:
    progress = RunProgress()
    progress.take(event("started"))
    progress.take(event("progress", "a", tiles_done=5, tiles_total=20))
    progress.take(event("mask", "a", mask=Path("m"), is_partial=True))
    progress.stop()
    assert progress.troubles == [
        Trouble("a", "partial", "partial: stopped after 5 of 20 tiles; run again to finish it")
    ]
    assert progress.partial_masks == {"a"}
    assert progress.tiles_total == 0
    assert progress.summary() == "Stopped: 0 of 4 cases are done, 1 is partial."


def test_a_stop_between_two_cases_leaves_none_half_done() -> None:
    progress = RunProgress()
    progress.take(event("started"))
    progress.take(event("batch", "a"))
    progress.take(event("case done", "a", done=1))
    progress.stop()
    assert progress.troubles == []
    assert progress.summary() == "Stopped: 1 of 4 cases is done."


def test_a_failed_case_says_why_and_the_others_go_on() -> None:
    progress = RunProgress()
    progress.take(event("started", total=2))
    progress.take(event("mask", "a", total=2))
    progress.take(event("case failed", "a", done=1, total=2, error="no memory", is_partial=True))
    progress.take(event("case done", "b", done=2, total=2))
    (trouble,) = progress.troubles
    assert (trouble.case_id, trouble.kind) == ("a", "failed")
    assert trouble.text == "failed: no memory; what was found of it so far is kept as partial"
    assert progress.partial_masks == {"a"}
    assert progress.summary() == "1 of 2 cases is done, 1 failed."


def test_tiles_begin_anew_with_each_case() -> None:
    progress = RunProgress()
    progress.take(event("started"))
    progress.take(event("progress", "a", tiles_done=9, tiles_total=10))
    progress.take(event("batch", "b"))
    assert (progress.case_id, progress.tiles_done, progress.tiles_total) == ("b", 0, 0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (1, "about 5 s left"), (43, "about 45 s left"), (100, "about 2 min left"), (1000, "about 17 min left"),
        (9000, "about 2.5 h left"),
    ],
)  # fmt: skip
def test_the_time_left_is_told_as_roughly_as_it_is_known(seconds: float | None, text: str) -> None:
    assert time_left(seconds) == text
