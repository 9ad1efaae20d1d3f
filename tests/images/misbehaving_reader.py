"""The reader process, with files in it whose very name makes their parser misbehave: run in place of the service."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.geometry import Grid
from napari_medlab.images import Decisions
from napari_medlab.images.image import Image
from napari_medlab.images.isolation import service
from napari_medlab.images.progress import report
from napari_medlab.images.slides.pyramids import HalvedTiles
from napari_medlab.images.tiles import PlaneTiles, WholeTile

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SIDE = 16


def plain(path: Path, read: Callable[[int], NDArray[Any]] | None = None) -> Image:
    """Return three planes whose pixels are the number of the plane, times ten, and the length of the file's name."""

    def plane(number: int) -> NDArray[Any]:
        return np.full((SIDE, SIDE), 10 * number + len(path.name), np.uint16)

    source = PlaneTiles((3, SIDE, SIDE), np.uint16, read or plane)
    return Image(path, "volume", "CT", (source,), Grid.axis_aligned((3, SIDE, SIDE), (1, 1, 1), unit="mm"))


def hang(path: Path) -> Image:
    while True:
        time.sleep(1)


def hold_the_interpreter(path: Path) -> Image:
    """Keep every thread of this process from going on."""
    ctypes.PyDLL(None).sleep(3600)
    return plain(path)


def slow(path: Path) -> Image:
    time.sleep(0.8)
    return plain(path)


def slow_with_progress(path: Path) -> Image:
    for number in range(30):
        time.sleep(0.07)
        report(number, 30)
    return plain(path)


def leave(path: Path) -> Image:
    time.sleep(0.4)  # others are in flight by now
    os._exit(7)


def crash(path: Path) -> Image:
    ctypes.string_at(0)
    return plain(path)


def eat_memory(path: Path) -> Image:
    """Take memory that no limit of address space sees coming: page by page, until somebody looks."""
    eaten = [np.ones(1 << 22, np.uint8) for _ in range(47)]
    time.sleep(20)
    return plain(path, lambda number: eaten[number][:256].reshape(16, 16))


def ask_for_memory(path: Path) -> Image:
    np.ones(1 << 44, np.uint8)
    return plain(path)


def print_much(path: Path) -> Image:
    print("this is no answer " * 1000, flush=True)  # noqa: T201 - what libraries do
    os.write(1, b"\x00\x00\x00\x00" * 1000)
    return plain(path)


class ForeignError(Exception):
    """What no reader raises on purpose."""


def fail(path: Path) -> Image:
    raise ForeignError("for no reason")


def recurse(path: Path) -> Image:
    return recurse(path)


def refuse(path: Path) -> Image:
    option = Option("Take the first", Decisions(phase=0).as_json())
    raise ImageRefusedError("It is doubtful.", code="doubtful", hint="Decide.", options=(option,))


def quit_politely(path: Path) -> Image:
    raise SystemExit(3)


def wrong_tiles(path: Path) -> Image:
    return plain(path, lambda number: np.zeros((SIDE, SIDE - 1), np.uint16))


def hang_on_pixels(path: Path) -> Image:
    return plain(
        path, lambda number: hang(path).arrays[0][0] if number == 1 else np.zeros((SIDE, SIDE), np.uint16)
    )


def slow_levels(path: Path) -> Image:
    """Return a pyramid whose coarsest tile takes long, all of it in the tiles far below."""
    side = 4096

    def strip(number: int) -> NDArray[Any]:
        time.sleep(0.02)
        return np.full((1, side), number % 251, np.uint8)

    class Strips(PlaneTiles):
        key = str(path)

    finest = Strips((128, side), np.uint8, strip)
    sources: list[Any] = [finest]
    for number in range(1, 5):
        below = HalvedTiles(sources[-1], number, None)
        below.tile = (1 << (3 - number if number < 3 else 1), below.shape[1])
        sources.append(below)
    sources[-1].tile = sources[-1].shape
    return Image(path, "slide", "", tuple(sources), Grid.axis_aligned((128, side), (1, 1), unit="px"))


def whole(path: Path) -> Image:
    """Return a file whose bytes are its pixels."""
    count = path.stat().st_size
    source = WholeTile((1, count), np.uint8, lambda: np.frombuffer(path.read_bytes(), np.uint8))
    return Image(path, "photo", "", (source,), Grid.axis_aligned((1, count), (1, 1), unit="px"))


READERS: dict[str, Callable[[Path], Image]] = {
    "plain": plain, "hang": hang, "hold": hold_the_interpreter, "slow": slow, "progress": slow_with_progress, "leave": leave,
    "crash": crash, "eat": eat_memory, "ask": ask_for_memory, "print": print_much, "fail": fail, "recurse": recurse,
    "refuse": refuse, "quit": quit_politely, "wrong": wrong_tiles, "pixels": hang_on_pixels,
    "levels": slow_levels, "whole": whole,
}  # fmt: skip


def open_by_name(path: str | Path, decisions: Decisions = Decisions(), *, pyramid: bool = False) -> Image:  # noqa: B008 - frozen
    """Do what the first word of a file's name says."""
    from napari_medlab.images.refusals import reading

    with reading(Path(path)):
        return READERS[Path(path).name.split("-")[0]](Path(path))


if __name__ == "__main__":
    setattr(service, "open_here", open_by_name)  # noqa: B010 - a name that it imports
    service.main()
