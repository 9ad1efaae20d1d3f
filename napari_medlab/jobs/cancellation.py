"""Cancellation as a value: a token that is set once and handed down to whoever works."""

from __future__ import annotations

import threading

from napari_medlab.errors import MedlabError

__all__ = ["CancelToken", "CancelledError"]


class CancelledError(MedlabError):
    """The work was stopped because somebody asked for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Cancelled: {reason}.", code="cancelled")
        self.reason = reason


class CancelToken:
    """A flag that goes up once; the first reason given is the one that stays.

    Threads are never killed: whoever works calls :meth:`check` between small pieces of work.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._reason = ""

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def cancel(self, reason: str = "stopped by the user") -> None:
        """Ask everyone who holds this token to stop."""
        with self._lock:
            if not self._event.is_set():
                self._reason = reason
                self._event.set()

    def check(self) -> None:
        """Raise :class:`CancelledError` where the work is to stop."""
        if self._event.is_set():
            raise CancelledError(self._reason)

    def wait(self, seconds: float) -> bool:
        """Sleep at most ``seconds``; return True at once when cancelled."""
        return self._event.wait(seconds)
