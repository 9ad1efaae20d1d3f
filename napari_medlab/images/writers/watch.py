"""How far a file has come, and whether it is still wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from napari_medlab.errors import MedlabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    T = TypeVar("T")

__all__ = ["Watch"]


class Watch:
    """Counts the pieces of what is written, and stops between two of them where nobody wants the rest.

    Parameters
    ----------
    progress : callable, optional
        Called with (pieces read so far, total).
    cancel : callable, optional
        Asked before each piece whether to stop.
    """

    def __init__(
        self, progress: Callable[[int, int], None] | None = None, cancel: Callable[[], bool] | None = None
    ) -> None:
        self._progress, self._cancel = progress, cancel
        self._done = self._total = 0

    def expect(self, total: int) -> None:
        """Say how many pieces there will be in all."""
        self._total = total

    def over(self, pieces: Iterable[T]) -> Iterator[T]:
        """Pass pieces on, and count each that is handed out.

        Raises
        ------
        MedlabError
            With code ``cancelled``, where it was asked to stop.
        """
        for piece in pieces:
            if self._cancel is not None and self._cancel():
                raise MedlabError("Cancelled: nothing was written.", code="cancelled")
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._total)
            yield piece
