"""The process that parses and decodes foreign files: run as ``python -m napari_medlab.images.isolation.service``."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from napari_medlab.errors import ImageRefusedError, MedlabError
from napari_medlab.images.budget import set_memory_budget
from napari_medlab.images.contents import contents_here
from napari_medlab.images.decisions import Decisions
from napari_medlab.images.isolation.frames import read_frame, widen, write_frame
from napari_medlab.images.isolation.memory import limit_memory
from napari_medlab.images.isolation.messages import describe, describe_error
from napari_medlab.images.opening import open_here
from napari_medlab.images.progress import listening
from napari_medlab.images.refusals import reading
from napari_medlab.images.stamps import stamp_of
from napari_medlab.images.tiles import tile_box

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from napari_medlab.images.image import Image
    from napari_medlab.images.tiles import TileSource

__all__ = ["main"]

OPEN_IMAGES = 16


class _StoppedError(MedlabError):
    """Nobody wants the answer any more."""


class _Service:
    """Answers requests, several at once."""

    def __init__(self, answers: IO[bytes], threads: int) -> None:
        self._answers = answers
        self._sending = threading.Lock()
        self._pool = ThreadPoolExecutor(threads)
        self._images: OrderedDict[str, tuple[str, Image]] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._stopped: set[int] = set()
        self._operations: dict[str, Callable[[dict[str, Any]], tuple[dict[str, Any], Any]]] = {
            "open": self._open, "read": self._read, "contents": _contents, "warm": _warm,
        }  # fmt: skip

    def serve(self, requests: IO[bytes]) -> None:
        """Answer until the other side goes away."""
        while True:
            try:
                request, _ = read_frame(requests)
            except EOFError:
                os._exit(0)  # a decoder may still be at work; nobody wants its answer
            if request["op"] == "stop":
                self._stopped.add(request["id"])
            else:
                self._pool.submit(self._answer, request)

    def _answer(self, request: dict[str, Any]) -> None:
        number = int(request["id"])
        try:
            with listening(partial(self._report, number)):
                message, pixels = self._operations[request["op"]](request)
            self._send({"id": number, "event": "done", **message}, pixels)
        except MedlabError as error:
            self._send({"id": number, "event": "error", "error": describe_error(error)})
        except BaseException as error:  # noqa: BLE001 - whatever goes wrong is told to who asked
            failed = MedlabError(f"{type(error).__name__}: {error}", code="reader")
            self._send({"id": number, "event": "error", "error": describe_error(failed)})
        finally:
            self._stopped.discard(number)

    def _open(self, request: dict[str, Any]) -> tuple[dict[str, Any], None]:
        stamp, image = self._image(request)
        return {"image": describe(image), "stamp": stamp}, None

    def _read(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[NDArray[np.generic]]]:
        stamp, image = self._image(request)
        if stamp != request["stamp"]:
            raise ImageRefusedError(
                f"{image.path.name} has changed since it was opened.",
                code="changed",
                hint="Open the image again.",
            )
        with reading(image.path):
            source = image.sources[request["level"]]
            return {}, [_checked(source, index) for index in map(tuple, request["tiles"])]

    def _image(self, request: dict[str, Any]) -> tuple[str, Image]:
        """Return an image that is open, or open it: requests name all that it takes."""
        set_memory_budget(request["budget"])
        path, decisions = Path(request["path"]), Decisions.from_json(request["decisions"])
        name = f"{path}\0{sorted(request['decisions'].items())}\0{request['pyramid']}"
        with self._locks.setdefault(name, threading.Lock()):
            known = self._images.get(name)
            with reading(path):
                stamp = stamp_of(path)
            # a folder's changes with any file beside the image's own, which are looked at as they are read
            if known is not None and (known[0] == stamp or (request["op"] == "read" and path.is_dir())):
                with suppress(KeyError):  # another thread may have just let it go
                    self._images.move_to_end(name)
                return known
            opened = stamp, open_here(path, decisions, pyramid=request["pyramid"])
            self._images[name] = opened
            self._images.move_to_end(name)
            while len(self._images) > OPEN_IMAGES:
                self._images.popitem(last=False)
            return opened

    def _report(self, number: int, done: int, total: int) -> None:
        if number in self._stopped:
            raise _StoppedError("Stopped.", code="cancelled")
        self._send({"id": number, "event": "progress", "done": done, "total": total})

    def _send(self, message: dict[str, Any], pixels: list[NDArray[np.generic]] | None = None) -> None:
        with self._sending, suppress(BrokenPipeError):
            write_frame(self._answers, message, pixels or ())


def _checked(source: TileSource, index: tuple[int, ...]) -> NDArray[np.generic]:
    tile = source.read_tile(index)
    expected = tuple(box.stop - box.start for box in tile_box(source, index))
    if tile.shape != expected or tile.dtype != source.dtype:
        raise ValueError(
            f"tile {index} is {tile.shape} of {tile.dtype}, expected {expected} of {source.dtype}"
        )
    return tile


def _contents(request: dict[str, Any]) -> tuple[dict[str, Any], None]:
    path = Path(request["path"])
    with reading(path):
        return {"entries": [entry.as_json() for entry in contents_here(path)]}, None


def _warm(_: dict[str, Any]) -> tuple[dict[str, Any], None]:
    """Import what most images need."""
    for name in ("pydicom.pixels", "tifffile", "imagecodecs"):
        import_module(name)
    return {}, None


def main() -> None:
    """Serve requests on standard input until it closes."""
    threads, extra_bytes = int(sys.argv[1]), int(sys.argv[2])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no answer
    widen(answers.fileno())
    limit_memory(extra_bytes)
    _Service(answers, threads).serve(sys.stdin.buffer)


if __name__ == "__main__":
    main()
