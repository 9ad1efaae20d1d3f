"""A slide of 200,000 × 150,000 pixels: its first pixels against a bare tifffile, and the memory that panning takes.

Run as ``python benchmarks/open_slide.py``. Also compared: what could be handed to napari, which slices on the GUI
thread: a dask array, the tile source itself (both wait for the pixels), and what the window uses, which does not.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from sparse_slide import write_sparse_slide

from napari_medlab.images import open_here, open_image
from napari_medlab.images.isolation import close_reader, reader_process
from napari_medlab.images.tiles import shared_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

WIDTH, HEIGHT = 200_000, 150_000
VIEW = (1000, 1600)
VIEWS, PANS = 25, 400
MIB = 1 << 20
DRAWING = "napari.layers.benchmark"


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "slide.tif"
        write_sparse_slide(path, WIDTH, HEIGHT)
        print(f"{WIDTH} × {HEIGHT} pixels in {path.stat().st_size / MIB:.1f} MiB on disk; views of {VIEW[1]} × {VIEW[0]}")
        reader_process().ask({"op": "warm"})
        opening(path)
        first_pixels(path)
        handed_to_napari(path)
        memory(path)
        close_reader()


def opening(path: Path) -> None:
    """Print how long opening takes."""
    import tifffile

    def bare() -> None:
        with tifffile.TiffFile(path) as tiff:
            _ = [level.shape for level in tiff.series[0].levels]

    began = time.perf_counter()
    bare()
    plain = time.perf_counter() - began
    began = time.perf_counter()
    open_image(path)
    print(f"opening: {1e3 * (time.perf_counter() - began):.0f} ms, bare tifffile {1e3 * plain:.0f} ms")


def first_pixels(path: Path) -> None:
    """Print how long a view takes whose tiles nobody has read."""
    corners = _corners(VIEWS, seed=1)
    bare = _bare_reader(path)
    arrays: dict[str, Callable[[tuple[slice, slice]], Any]] = {
        "bare tifffile, one thread": bare,
        "ours, in this process": open_here(path).arrays[0].read,
        "ours, in the reader process": open_image(path).arrays[0].read,
    }
    took: dict[str, list[float]] = {name: [] for name in arrays}
    for corner in corners:
        for name, read in arrays.items():
            shared_cache().forget(lambda _: True)
            began = time.perf_counter()
            read(_box(corner))
            took[name].append(time.perf_counter() - began)
    plain = float(np.median(took["bare tifffile, one thread"]))
    for name, seconds in took.items():
        print(f"first pixels, {name}: {1e3 * np.median(seconds):.1f} ms, {np.median(seconds) / plain:.2f} × (goal ≤ 1.5)")


def handed_to_napari(path: Path) -> None:
    """Print how long slicing holds the thread that slices."""
    from napari_medlab.widgets.layers.streaming import StreamedPyramid

    image = open_image(path)
    pyramid = StreamedPyramid(image.arrays, np.asarray(image.arrays[-1]))
    namespace = {"__name__": DRAWING, "level": pyramid.levels[0]}
    exec("def draw(box): return level[box]", namespace)  # noqa: S102 - a frame that looks like napari's own
    choices: dict[str, Callable[[tuple[slice, slice]], Any]] = {
        "dask": lambda box: np.asarray(image.levels[0][box]),
        "the tile source": image.arrays[0].read,
        "streamed": namespace["draw"],  # type: ignore[dict-item]
    }
    for name, read in choices.items():
        took = []
        for corner in _corners(VIEWS, seed=2):
            shared_cache().forget(lambda _: True)
            began = time.perf_counter()
            read(_box(corner))
            took.append(1e3 * (time.perf_counter() - began))
        print(f"a slice holds its thread, {name}: median {np.median(took):.1f} ms, worst {max(took):.1f} ms")
    while pyramid.is_waiting:
        time.sleep(0.01)


def memory(path: Path) -> None:
    """Print resident memory before and after panning over the whole slide."""
    array = open_image(path).arrays[0]
    shared_cache().forget(lambda _: True)
    before = _resident()
    for corner in _corners(PANS, seed=3):
        array.read(_box(corner))
    after, cache = _resident(), shared_cache().limit_bytes
    print(
        f"memory after {PANS} views: {after / MIB:.0f} MiB in both processes ({before / MIB:.0f} before), "
        f"cache {cache / MIB:.0f} MiB, so {(after - cache) / MIB:.0f} MiB beyond the cache (goal ≤ 300)"
    )


def _bare_reader(path: Path) -> Callable[[tuple[slice, slice]], NDArray[np.uint8]]:
    import tifffile

    tiff = tifffile.TiffFile(path)
    page = tiff.series[0].levels[0].keyframe
    side, across = page.tilelength, -(-page.imagewidth // page.tilewidth)

    def read(box: tuple[slice, slice]) -> NDArray[np.uint8]:
        top, left = box[0].start // side, box[1].start // side
        down, right = -(-box[0].stop // side) - top, -(-box[1].stop // side) - left
        out = np.empty((down * side, right * side, 3), np.uint8)
        for row in range(down):
            for column in range(right):
                number = (top + row) * across + left + column
                tiff.filehandle.seek(page.dataoffsets[number])
                data = tiff.filehandle.read(page.databytecounts[number])
                tile = page.decode(data, number, jpegtables=page.jpegtables)[0]
                out[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile[0]
        return out[box[0].start - top * side : box[0].stop - top * side, box[1].start - left * side : box[1].stop - left * side]

    return read


def _corners(count: int, seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, HEIGHT - VIEW[0], count), rng.integers(0, WIDTH - VIEW[1], count)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _box(corner: tuple[int, int]) -> tuple[slice, slice]:
    return slice(corner[0], corner[0] + VIEW[0]), slice(corner[1], corner[1] + VIEW[1])


def _resident() -> int:
    reader = reader_process().pid
    pids = [psutil.Process().pid, *([reader] if reader is not None else [])]
    return sum(int(psutil.Process(pid).memory_info().rss) for pid in pids)


if __name__ == "__main__":
    main()
