"""One cache for the tiles of all images, bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from napari_medlab.images.budget import memory_budget_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

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
        """Return a tile, read where it is not kept; see :meth:`get_many`."""
        return self.get_many([key], lambda _: [read()])[0]

    def get_many(
        self, keys: Sequence[Hashable], read: Callable[[list[int]], Sequence[NDArray[Any]]]
    ) -> list[NDArray[Any]]:
        """Return tiles; those that are not kept are read together, and those that somebody reads are waited for.

        The arrays cannot be written to. What ``read`` raises reaches everyone who waits, and nothing is kept.

        Parameters
        ----------
        keys : sequence of hashable
            Each once.
        read : callable
            Takes the places in ``keys`` of the tiles to be read and returns these in order.
        """
        found: list[NDArray[Any] | None] = [None] * len(keys)
        mine: list[int] = []
        others: list[tuple[int, Future[NDArray[Any]]]] = []
        with self._lock:
            for place, key in enumerate(keys):
                if key in self._tiles:
                    self._tiles.move_to_end(key)
                    found[place] = self._tiles[key]
                elif key in self._pending:
                    others.append((place, self._pending[key]))
                else:
                    self._pending[key] = Future()
                    mine.append(place)
        if mine:
            # first what others may wait for, then what others read
            for place, tile in zip(
                mine, self._read([keys[place] for place in mine], lambda: read(mine)), strict=True
            ):
                found[place] = tile
        for place, waiting in others:
            found[place] = waiting.result()
        return [tile for tile in found if tile is not None]

    def forget(self, wanted: Callable[[Hashable], bool]) -> None:
        """Drop the tiles whose key is ``wanted`` gone."""
        with self._lock:
            for key in [key for key in self._tiles if wanted(key)]:
                self._bytes -= self._tiles.pop(key).nbytes

    def _read(
        self, keys: list[Hashable], read: Callable[[], Sequence[NDArray[Any]]]
    ) -> Sequence[NDArray[Any]]:
        try:
            tiles = read()
            if len(tiles) != len(keys):
                raise ValueError(f"{len(keys)} tiles were asked for, and {len(tiles)} were read")
            for tile in tiles:
                tile.setflags(write=False)
        except BaseException as error:
            with self._lock:
                waiting = [self._pending.pop(key) for key in keys]
            for future in waiting:
                future.set_exception(error)
            raise
        with self._lock:
            for key, tile in zip(keys, tiles, strict=True):
                self._keep(key, tile)
            waiting = [self._pending.pop(key) for key in keys]
        for future, tile in zip(waiting, tiles, strict=True):
            future.set_result(tile)
        return tiles

    def _keep(self, key: Hashable, tile: NDArray[Any]) -> None:
        if tile.nbytes > self.limit_bytes:
            return
        while self._bytes + tile.nbytes > self.limit_bytes:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        self._tiles[key] = tile
        self._bytes += tile.nbytes


def shared_cache() -> TileCache:
    """Return the one cache of this process: a quarter of the memory budget, at most 1 GiB."""
    with _making:  # two threads that ask first would otherwise get a cache each
        return _shared_cache()


_making = threading.Lock()


@lru_cache(maxsize=1)
def _shared_cache() -> TileCache:
    return TileCache(min(memory_budget_bytes() // SHARE, LIMIT_BYTES))
