"""A slide of 200,000 × 150,000 pixels: its first pixels against a bare tifffile, and the memory that panning takes.

Run as ``python benchmarks/open_slide.py``. Also compared: what could be handed to napari, which slices on the GUI
thread: a dask array, the tile source itself (both wait for the pixels), and what the window uses, which does not. Last, the
slide's area grows a hundredfold.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from figures import Figure, Goal, Growth
from measuring import MIB, Record, arguments, recording, resident_mib, seconds_of
from sparse_slide import write_sparse_slide

from napari_medlab.images import open_here, open_image
from napari_medlab.images.isolation import close_reader, reader_process
from napari_medlab.images.tiles import shared_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

AREA = "Slides"
SIZES = ((20_000, 15_000), (63_246, 47_434), (200_000, 150_000))
"""Width and height; each has ten times the area of the one before."""
VIEW = (1000, 1600)
VIEWS, QUICK_VIEWS, PANS, QUICK_PANS = 25, 5, 400, 40
FIRST, BEYOND, HELD = Goal(1.5, "ratio"), Goal(300.0), Goal(16.0)
TIFFFILE = "bare tifffile, one thread"
DRAWING = "napari.layers.benchmark"

Shape = tuple[int, int]
Box = tuple[slice, slice]


def main() -> None:
    """Measure the largest slide in every way, and all of them in some."""
    options = arguments(__doc__).parse_args()
    sizes = SIZES[:2] if options.quick else SIZES
    views, pans = (QUICK_VIEWS, QUICK_PANS) if options.quick else (VIEWS, PANS)
    reader_process().ask({"op": "warm"})
    with tempfile.TemporaryDirectory() as folder, recording(__file__, options) as record:
        paths = [write_slide(Path(folder), size) for size in sizes]
        opened = [opening(path, views) for path in paths]
        first = [first_pixels(path, views) for path in paths]
        about = f"{sizes[-1][0]:,} × {sizes[-1][1]:,} pixels"
        ours = "ours, in the reader process"
        record.add(Figure.of_turns(AREA, "opening", opened[-1], "ms", None, how=about))
        for way in ("ours, in this process", ours):
            turns = {"ours": first[-1][way], TIFFFILE: first[-1][TIFFFILE]}
            record.add(
                Figure.of_turns(AREA, f"first pixels of a view, {way[6:]}", turns, "ms", FIRST, how=about)
            )
        handed_to_napari(record, paths[-1], views)
        memory = [beyond_cache(path, pans) for path in paths]
        record.add(
            Figure(AREA, f"memory beyond the cache after {pans} views", memory[-1], "MiB", BEYOND, how=about)
        )
        areas = tuple(float(width * height) for width, height in sizes)
        opens = tuple(float(np.median(turns["ours"])) for turns in opened)
        views_of = tuple(float(np.median(turns[ours])) for turns in first)
        record.add(
            Growth(AREA, "opening", "ms", "pixels", "n", areas, opens),
            Growth(AREA, "first pixels of a view", "ms", "pixels", "constant", areas, views_of),
            Growth(AREA, "memory beyond the cache", "MiB", "pixels", "constant", areas, tuple(memory)),
        )
    close_reader()


def write_slide(folder: Path, size: Shape) -> Path:
    """Write a slide of a width and height."""
    path = folder / f"{size[0]}.tif"
    write_sparse_slide(path, *size)
    print(f"{size[0]:,} × {size[1]:,} pixels in {path.stat().st_size / MIB:.1f} MiB on disk", flush=True)
    return path


def opening(path: Path, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds that opening took, by us and by tifffile."""
    import tifffile

    def bare() -> None:
        with tifffile.TiffFile(path) as tiff:
            _ = [level.shape for level in tiff.series[0].levels]

    took: dict[str, list[float]] = {"ours": [], "bare tifffile": []}
    for _ in range(max(3, rounds // 4)):
        took["bare tifffile"].append(1e3 * seconds_of(bare))
        path.touch()  # nothing is known of it from the time before
        took["ours"].append(1e3 * seconds_of(lambda: open_image(path)))
    return took


def first_pixels(path: Path, views: int) -> dict[str, list[float]]:
    """Return the milliseconds that each view took whose tiles nobody has read."""
    here = open_here(path).arrays[0]
    ways: dict[str, Callable[[Box], Any]] = {
        TIFFFILE: _bare_reader(path),
        "ours, in this process": here.read,
        "ours, in the reader process": open_image(path).arrays[0].read,
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for corner in _corners(here.shape, views, seed=1):
        for name, read in ways.items():
            shared_cache().forget(lambda _: True)
            took[name].append(1e3 * seconds_of(partial(read, _box(corner))))
    return took


def handed_to_napari(record: Record, path: Path, views: int) -> None:
    """Measure how long slicing holds the thread that slices."""
    from napari_medlab.widgets.layers.streaming import StreamedPyramid

    image = open_image(path)
    pyramid = StreamedPyramid(image.arrays, np.asarray(image.arrays[-1]))
    namespace = {"__name__": DRAWING, "level": pyramid.levels[0]}
    exec("def draw(box): return level[box]", namespace)  # noqa: S102 - a frame that looks like napari's own
    ways: dict[str, Callable[[Box], Any]] = {
        "a dask array": lambda box: np.asarray(image.levels[0][box]),
        "the tile source": image.arrays[0].read,
        "streamed": namespace["draw"],
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for name, read in ways.items():
        for corner in _corners(image.arrays[0].shape, views, seed=2):
            shared_cache().forget(lambda _: True)
            took[name].append(1e3 * seconds_of(partial(read, _box(corner))))
        print(
            f"a slice holds its thread, {name}: median {np.median(took[name]):.1f} ms, worst {max(took[name]):.1f} ms"
        )
    while pyramid.is_waiting:
        time.sleep(0.01)
    turns = {"ours": took["streamed"], "a dask array": took["a dask array"]}
    record.add(Figure.of_turns(AREA, "a slice holds the window's thread", turns, "ms", HELD))


def beyond_cache(path: Path, pans: int) -> float:
    """Return the memory of both processes after panning over the whole slide, without the cache, in MiB."""
    array = open_image(path).arrays[0]
    shared_cache().forget(lambda _: True)
    for corner in _corners(array.shape, pans, seed=3):
        array.read(_box(corner))
    reader = reader_process().pid
    resident = resident_mib() + (resident_mib(reader) if reader is not None else 0.0)
    print(f"memory after {pans} views: {resident:.0f} MiB in both processes")
    return resident - min(shared_cache().limit_bytes, shared_cache().used_bytes) / MIB


def _bare_reader(path: Path) -> Callable[[tuple[slice, slice]], NDArray[np.uint8]]:
    import tifffile

    tiff = tifffile.TiffFile(path)
    page: Any = tiff.series[0].levels[0].keyframe
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
        return out[
            box[0].start - top * side : box[0].stop - top * side,
            box[1].start - left * side : box[1].stop - left * side,
        ]

    return read


def _corners(shape: tuple[int, ...], count: int, seed: int) -> list[Shape]:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, shape[0] - VIEW[0], count), rng.integers(0, shape[1] - VIEW[1], count)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))


def _box(corner: Shape) -> Box:
    return slice(corner[0], corner[0] + VIEW[0]), slice(corner[1], corner[1] + VIEW[1])


if __name__ == "__main__":
    main()
