"""One cache for the tiles of all images, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_medlab.images.budget import memory_budget_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from numpy.typing import NDArray

__all__ = ["TileCache", "shared_cache"]

SHARE = 4
LIMIT_BYTES = 1 << 30


class TileCache:
    """Keeps the tiles used last, never more than ``limit_bytes`` of them; safe to use from any thread.

    Parameters
    ----------
    limit_bytes : int
        A tile larger than this is handed through and not kept.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._tiles: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._pending: dict[Hashable, Future[NDArray[Any]]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def used_bytes(self) -> int:
        """How many bytes of pixels are kept."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._tiles)

    def peek(self, key: Hashable) -> NDArray[Any] | None:
        """Return a tile that is kept, or None; nothing is read and nobody waits for a decoder."""
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
            return tile

    def get(self, key: Hashable, read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return a tile, read where it is not kept; whoever asks for one that is being read waits for that reading.

        The array cannot be written to. What ``read`` raises reaches everyone who waits, and nothing is kept.
        """
        with self._lock:
            tile = self._tiles.get(key)
            if tile is not None:
                self._tiles.move_to_end(key)
                return tile
            waiting = self._pending.get(key)
            if waiting is None:
                mine = self._pending[key] = Future()
        return waiting.result() if waiting is not None else self._read(key, read, mine)

    def forget(self, wanted: Callable[[Hashable], bool]) -> None:
        """Drop the tiles whose key is ``wanted`` gone."""
        with self._lock:
            for key in [key for key in self._tiles if wanted(key)]:
                self._bytes -= self._tiles.pop(key).nbytes

    def _read(self, key: Hashable, read: Callable[[], NDArray[Any]], mine: Future[NDArray[Any]]) -> NDArray[Any]:
        try:
            tile = read()
        except BaseException as error:
            with self._lock:
                del self._pending[key]
            mine.set_exception(error)
            raise
        tile.setflags(write=False)
        with self._lock:
            del self._pending[key]
            self._keep(key, tile)
        mine.set_result(tile)
        return tile

    def _keep(self, key: Hashable, tile: NDArray[Any]) -> None:
        if tile.nbytes > self.limit_bytes:
            return
        self._tiles[key] = tile
        self._bytes += tile.nbytes
        while self._bytes > self.limit_bytes:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes


@lru_cache(maxsize=1)
def shared_cache() -> TileCache:
    """Return the one cache of this process: a quarter of the memory budget, at most 1 GiB."""
    return TileCache(min(memory_budget_bytes() // SHARE, LIMIT_BYTES))
