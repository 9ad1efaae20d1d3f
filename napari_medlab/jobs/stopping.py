"""A token for those who say that they want to stop by a function that raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.jobs.cancellation import CancelledError, CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StopToken"]


class StopToken(CancelToken):
    """A token that also asks a function, which raises :class:`CancelledError` where the work is to stop.

    Parameters
    ----------
    stop : callable or None
        None where nobody but the token itself can stop the work.
    """

    def __init__(self, stop: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._stop = stop

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        try:
            self.check()
        except CancelledError:
            return True
        return False

    def check(self) -> None:
        """Raise :class:`CancelledError` where the work is to stop."""
        if self._stop is not None:
            self._stop()
        super().check()
