"""How long the GUI thread was held: a timer that notices when it could not tick."""

from __future__ import annotations

import time
from dataclasses import dataclass

from qtpy.QtCore import QObject, Qt, QTimer

__all__ = ["Heartbeat", "HeldTimes"]

BEAT_MS = 10


@dataclass(frozen=True)
class HeldTimes:
    """Milliseconds by which beats came late: the longest, the 99th percentile, and how many beats there were."""

    longest_ms: float
    p99_ms: float
    beats: int


class Heartbeat(QObject):
    """Beats every 10 ms on the GUI thread and keeps by how much each beat was late."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(self._beat)
        self._late: list[float] = []
        self._last = 0.0

    def start(self) -> None:
        """Begin anew."""
        self._late.clear()
        self._last = time.perf_counter()
        self._timer.start()

    def stop(self) -> HeldTimes:
        """Stop and return what was seen since the start."""
        self._timer.stop()
        late = sorted(self._late) or [0.0]
        return HeldTimes(late[-1], late[min(len(late) - 1, int(0.99 * len(late)))], len(self._late))

    def _beat(self) -> None:
        now = time.perf_counter()
        self._late.append(max(0.0, (now - self._last) * 1000 - BEAT_MS))
        self._last = now
