"""Driving a window from a benchmark: letting it draw, waiting for what it does, and ending with it."""

from __future__ import annotations

import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["leave", "settle", "turn", "wait"]


def leave(work: Callable[[], object]) -> NoReturn:
    """Do what needs a window, and end the process at once: napari's threads outlive its window."""
    status = 0
    try:
        work()
    except BaseException:  # noqa: BLE001 - the outermost frame: told, and then the process ends
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def settle(milliseconds: float) -> None:
    """Let the window work for a while."""
    until = time.perf_counter() + milliseconds / 1000
    wait(lambda: time.perf_counter() >= until, milliseconds / 1000 + 5)


def turn() -> None:
    """Let the window draw what waits."""
    from qtpy.QtWidgets import QApplication

    QApplication.processEvents()


def wait(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Let the window work until something is so.

    Raises
    ------
    TimeoutError
        Where it is not so in time.
    """
    from qtpy.QtCore import QEventLoop
    from qtpy.QtWidgets import QApplication

    until = time.perf_counter() + seconds
    while not condition():
        if time.perf_counter() > until:
            raise TimeoutError("the window did not get there")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents, 5)
