"""Pictures made in the background, those in sight first; what is out of sight again is given up."""

from __future__ import annotations

import queue
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer

from napari_medlab.jobs import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from napari_medlab.images import Image

    Key = Hashable
    Read = Callable[[Hashable, Sequence[Any], Callable[[], None]], Iterator[tuple[Any, Any]]]

__all__ = ["Fetcher", "OpenImages", "Pictures"]

THREADS = 2
POLL_MS = 10
HELPING_MS = 4.0
"""Pictures are taken over for at most this long at a time, so that keys and mouse get in between."""


class Fetcher(QObject):
    """Reads what is wanted now, group by group, and hands it over on the GUI thread.

    What to read next is decided on the GUI thread alone. Threads only put what they have into an inbox, which a timer
    empties, so that no Qt object is ever touched from another thread.

    Parameters
    ----------
    read : callable
        ``read(group, keys, stop)`` yields (key, result) in any order, in a thread; ``stop`` raises where nobody wants
        any of the keys any more.
    group_of : callable
        Keys of one group are read together, and by one thread at a time.
    take : callable
        ``take(key, result)`` on the GUI thread; the result is the error for keys that could not be read.
    """

    def __init__(
        self, read: Read, group_of: Callable[[Any], Hashable], take: Callable[[Any, Any], None],
        *, parent: QObject | None = None,
    ) -> None:  # fmt: skip
        super().__init__(parent)
        self._read, self._group_of, self._take = read, group_of, take
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="medlab-pictures")
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._tiers: list[dict[Key, None]] = []
        self._wanted: frozenset[Key] = frozenset()
        self._underway: set[Key] = set()
        self._busy: set[Hashable] = set()
        self._generation = 0
        self._is_closed = False
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._empty_inbox)

    def want(self, *tiers: Iterable[Key]) -> None:
        """Read these, the first tier before the second; nothing else is wanted any more."""
        self._tiers = [dict.fromkeys(tier) for tier in tiers]
        self._wanted = frozenset(chain(*self._tiers))
        self._dispatch()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being read."""
        return not self._busy

    def forget(self) -> None:
        """Want nothing, and drop what is still being read."""
        self._generation += 1
        self._underway.clear()
        self.want()

    def close(self) -> None:
        """Read no more; what runs is let go on to its next look at whether it is wanted."""
        self._is_closed = True
        self.forget()
        with suppress(RuntimeError):  # the timer may have gone with the window before
            self._timer.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _dispatch(self) -> None:
        while not self._is_closed and len(self._busy) < THREADS:
            batch = self._next()
            if batch is None:
                return
            self._start(*batch)

    def _next(self) -> tuple[Hashable, list[Key]] | None:
        for tier in self._tiers:
            free = [
                key for key in tier if key not in self._underway and self._group_of(key) not in self._busy
            ]
            if free:
                group = self._group_of(free[0])
                return group, [key for key in free if self._group_of(key) == group]
        return None

    def _start(self, group: Hashable, keys: list[Key]) -> None:
        self._busy.add(group)
        self._underway.update(keys)
        left = dict.fromkeys(keys)
        future = self._pool.submit(self._work, group, left, self._generation)
        finish = partial(self._finish, group, left, self._generation, future)
        future.add_done_callback(lambda _: self._inbox.put(finish))
        self._timer.start()

    def _work(self, group: Hashable, left: dict[Key, None], generation: int) -> None:
        def stop() -> None:
            if generation != self._generation or self._wanted.isdisjoint(tuple(left)):
                raise CancelledError("the pictures are out of sight")

        stop()
        for key, result in self._read(group, tuple(left), stop):
            left.pop(key)
            self._inbox.put(partial(self._hand_over, key, result, generation))

    def _finish(self, group: Hashable, left: dict[Key, None], generation: int, future: Future[None]) -> None:
        self._busy.discard(group)
        error = None if future.cancelled() else future.exception()
        for key in left:
            if error is not None and not isinstance(error, CancelledError):
                self._hand_over(key, error, generation)
            elif generation == self._generation:
                self._underway.discard(key)
        self._dispatch()

    def _hand_over(self, key: Key, result: Any, generation: int) -> None:
        if generation != self._generation:
            return
        self._underway.discard(key)
        for tier in self._tiers:
            tier.pop(key, None)
        self._take(key, result)

    def _empty_inbox(self) -> None:
        until = time.perf_counter() + HELPING_MS / 1000
        while time.perf_counter() < until:
            try:
                call = self._inbox.get_nowait()
            except queue.Empty:
                break
            call()
        if not self._busy and self._inbox.empty():
            self._timer.stop()


class Pictures:
    """Keeps the pictures used last, and never more than ``limit_bytes`` of them."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0
        self._kept: OrderedDict[Key, tuple[Any, int]] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._kept

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Any:
        """Return what is kept, or None."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: Key, picture: Any, size: int) -> None:
        """Keep a picture of this many bytes in place of what was kept under its key."""
        if key in self._kept:
            self.used_bytes -= self._kept.pop(key)[1]
        self._kept[key] = picture, size
        self.used_bytes += size
        while self.used_bytes > self.limit_bytes and len(self._kept) > 1:
            self.used_bytes -= self._kept.popitem(last=False)[1][1]

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self.used_bytes = 0


class OpenImages:
    """Opens images of cases, and keeps the last few open; each is used by one thread at a time."""

    def __init__(self, open_case: Callable[[str], Image], most: int = 4) -> None:
        self._open_case, self._most = open_case, most
        self._images: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, case_id: str) -> Image:
        """Return the image of a case."""
        with self._lock:
            image = self._images.pop(case_id, None)
        image = image or self._open_case(case_id)
        with self._lock:
            self._images[case_id] = image
            while len(self._images) > self._most:
                self._images.popitem(last=False)
        return image

    def clear(self) -> None:
        """Let all of them go."""
        with self._lock:
            self._images.clear()
