"""Drawing in small helpings: one piece of work for each turn of the event loop, so that keys and mouse get in between."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Turns"]

HELPING_MS = 12.0
"""No piece of work is begun after so much of a turn."""


class Turns(QObject):
    """A queue of work on the GUI thread in which a later piece of the same name takes the place of an earlier one.

    Each turn does as much as there is time for: every turn that changes something has the whole window put together
    anew, which costs more than most pieces of work.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._pending: dict[str, Callable[[], None]] = {}
        self._is_closed = False
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._take)

    @property
    def is_done(self) -> bool:
        """Whether nothing waits."""
        return not self._pending

    def put(self, name: str, work: Callable[[], None]) -> None:
        """Do this in a turn of its own, after what waits already; what waits under the same name is not done."""
        if self._is_closed:
            return
        self._pending.pop(name, None)
        self._pending[name] = work
        self._timer.start()

    def put_first(self, works: list[tuple[str, Callable[[], None]]]) -> None:
        """Do these next, in this order, each in a turn of its own, before all that waits."""
        if not self._is_closed:
            self._pending = {**dict(works), **self._pending}
            self._timer.start()

    def clear(self) -> None:
        """Do nothing of what waits."""
        self._pending.clear()

    def close(self) -> None:
        """Do nothing any more: what would be drawn on goes; the timer may have gone with the window before."""
        self._is_closed = True
        self._pending.clear()
        with suppress(RuntimeError):
            self._timer.stop()

    def _take(self) -> None:
        until = time.perf_counter() + HELPING_MS / 1000
        while self._pending and time.perf_counter() < until:
            self._pending.pop(next(iter(self._pending)))()
        if not self._pending:
            self._timer.stop()
