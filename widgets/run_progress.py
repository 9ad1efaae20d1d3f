"""How far a run is: cases and tiles, the time that is left, and which cases failed or stopped half way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.models.workflows.predict import RunEvent

__all__ = ["RunProgress", "Trouble", "time_left"]

LEAST_SECONDS, LEAST_SHARE = 3.0, 0.02
"""What is left cannot be told before so much time, and so much of the work, has gone by."""
ROUGHLY = ((90, 5, "s", 1), (5400, 60, "min", 60), (float("inf"), 1800, "h", 3600))
"""Up to so many seconds, rounded to these, told in that unit of so many seconds."""


@dataclass(frozen=True)
class Trouble:
    """A case that is not done.

    Parameters
    ----------
    case_id : str
    kind : {"failed", "partial"}
        The model could not do it, or it was stopped half way.
    text : str
        Why, or how far it came.
    """

    case_id: str
    kind: Literal["failed", "partial"]
    text: str


class RunProgress:
    """Takes the events of a run and says what they come to.

    Parameters
    ----------
    now : callable
        A clock in seconds.

    Attributes
    ----------
    done, total : int
        Cases finished, and in all.
    case_id : str
        The case at work, on a cluster the one that was heard of last; empty for none.
    workers : int or None
        Of a cluster; None without one.
    troubles : list of Trouble
        One for each case that is not done though the model was at it.
    partial_masks : set of str
        The cases whose mask holds only a part of the image.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._began = now()
        self._done_before = 0
        self.run_id = self.case_id = ""
        self.done = self.total = 0
        self.workers: int | None = None
        self._tiles: dict[str, tuple[int, int]] = {}
        self.is_stopped = False
        self.troubles: list[Trouble] = []
        self.partial_masks: set[str] = set()

    def take(self, event: RunEvent) -> None:
        """Take note of an event."""
        self.run_id = event.run_id
        self.done, self.total = event.done, event.total
        if event.kind == "started":
            self._began, self._done_before = self._now(), event.done
        elif event.kind == "workers":
            self.workers = event.workers
        elif event.kind in ("case done", "case failed"):
            self._finish(event)
        else:
            if event.case_id != self.case_id and self.workers is None:
                self._tiles.clear()
            self.case_id = event.case_id
            if event.kind == "progress":
                self._tiles[event.case_id] = (event.tiles_done, event.tiles_total)
            if event.kind == "mask":
                self.partial_masks.add(event.case_id)

    def stop(self) -> None:
        """Take note that the run ended before its end: what was done of the case at work is only a part."""
        self.is_stopped = True
        if not self.case_id or self.workers is not None:  # a cluster keeps nothing of a case that is not done
            self._forget_case()
            return
        how_far = f" after {self.tiles_done} of {self.tiles_total} tiles" if self.tiles_total else ""
        self._add(Trouble(self.case_id, "partial", f"partial: stopped{how_far}; run again to finish it"))
        self._forget_case()

    @property
    def tiles_done(self) -> int:
        """Of the cases at work; 0 where nothing is known."""
        return sum(done for done, _ in self._tiles.values())

    @property
    def tiles_total(self) -> int:
        """As many as there are of the cases at work."""
        return sum(total for _, total in self._tiles.values())

    @property
    def share(self) -> float:
        """How much of what was to be done is done, 0 … 1."""
        ahead = self.total - self._done_before
        within = sum(done / total for done, total in self._tiles.values() if total)
        return min(1.0, (self.done - self._done_before + within) / ahead) if ahead > 0 else 1.0

    @property
    def seconds_left(self) -> float | None:
        """About how long it will take, the cases taken to be alike; None where that cannot be told yet."""
        passed, share = self._now() - self._began, self.share
        if passed < LEAST_SECONDS or share < LEAST_SHARE or share >= 1:
            return None
        return passed * (1 - share) / share

    def spread(self) -> str:
        """Return how many workers of a cluster are at it; empty without one."""
        if self.workers is None:
            return ""
        said = (
            f"{self.workers} worker{'' if self.workers == 1 else 's'}"
            if self.workers
            else "waiting for a worker"
        )
        return f"{self.done} of {self.total} cases, {said}"

    def summary(self) -> str:
        """Return at the end what came out, in a sentence."""
        counts = {kind: sum(one.kind == kind for one in self.troubles) for kind in ("failed", "partial")}
        done = self.done - counts["failed"]
        said = [
            f"{done} of {self.total} {'case' if self.total == 1 else 'cases'} {'is' if done == 1 else 'are'} done"
        ]
        said += [f"{counts['failed']} failed"] if counts["failed"] else []
        said += [f"{counts['partial']} is partial"] if counts["partial"] else []
        return f"{'Stopped: ' if self.is_stopped else ''}{', '.join(said)}."

    def _finish(self, event: RunEvent) -> None:
        self._tiles.pop(event.case_id, None)
        if self.case_id == event.case_id:
            self.case_id = ""
        self.troubles = [one for one in self.troubles if one.case_id != event.case_id]
        self.partial_masks.discard(event.case_id)
        if event.kind == "case failed":
            part = "; what was found of it so far is kept as partial" if event.is_partial else ""
            self._add(Trouble(event.case_id, "failed", f"failed: {event.error}{part}"))
            if event.is_partial:
                self.partial_masks.add(event.case_id)

    def _forget_case(self) -> None:
        self.case_id = ""
        self._tiles.clear()

    def _add(self, trouble: Trouble) -> None:
        self.troubles = [*(one for one in self.troubles if one.case_id != trouble.case_id), trouble]


def time_left(seconds: float | None) -> str:
    """Return how long it will take, no more exactly than that is known: ``"about 2 min left"``; empty for None."""
    if seconds is None:
        return ""
    step, unit, size = next((step, unit, size) for most, step, unit, size in ROUGHLY if seconds <= most)
    rounded = max(step, round(seconds / step) * step) / size
    return f"about {rounded:.3g} {unit} left"
