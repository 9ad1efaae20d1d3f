"""Images in tiles: what decodes one, the one cache that keeps them, and arrays that read through it."""

from __future__ import annotations

from napari_medlab.images.tiles.array import TileArray
from napari_medlab.images.tiles.cache import TileCache, shared_cache
from napari_medlab.images.tiles.halving import halved
from napari_medlab.images.tiles.source import (
    MemoryTiles,
    PlaneTiles,
    TileSource,
    Turned,
    WholeTile,
    read_tiles,
    tile_box,
    tile_counts,
)

__all__ = [
    "MemoryTiles",
    "PlaneTiles",
    "TileArray",
    "TileCache",
    "TileSource",
    "Turned",
    "WholeTile",
    "halved",
    "read_tiles",
    "shared_cache",
    "tile_box",
    "tile_counts",
]
