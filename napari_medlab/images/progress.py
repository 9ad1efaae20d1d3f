"""How far the reading of an image has come, told to whoever asked for it, who may stop it."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["listening", "report"]

_listener: ContextVar[Callable[[int, int], None] | None] = ContextVar("listener", default=None)


def report(done: int, total: int) -> None:
    """Tell that ``done`` of ``total`` pieces are read; raises where nobody wants the rest."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)


@contextmanager
def listening(listener: Callable[[int, int], None] | None) -> Iterator[None]:
    """Send what is reported within the context to ``listener``."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)
