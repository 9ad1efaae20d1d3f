"""The process that opens hostile files one after the other: run as a script, told paths on standard input."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import MedlabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

MIB = 1 << 20
READ_BYTES = 256 * MIB
"""A level with more than this is read piece by piece, and only until as much has been seen."""
ADDRESS_BYTES = 8 << 30
"""The last net, should nobody watch."""


def pieces(image: Any) -> Iterator[NDArray[Any]]:  # noqa: ANN401 - whatever the opener returned
    """Yield the pixels of all levels; of a level that is large, piece by piece, and not to the end."""
    for number, level in enumerate(image.levels):
        if level.nbytes <= READ_BYTES:
            yield np.asarray(level.compute(scheduler="synchronous"))
        else:
            # to cut one piece out of a graph of many costs dask as much as to look at all of them
            yield from some_pieces(getattr(image, "arrays", image.levels)[number], level.chunks)


def some_pieces(array: Any, chunks: tuple[tuple[int, ...], ...]) -> Iterator[NDArray[Any]]:  # noqa: ANN401 - as above
    """Yield what is cut along the chunks, until enough has been seen."""
    seen = 0
    for sides in itertools.product(*(range(0, sum(axis), max(axis)) for axis in chunks)):
        corner = zip(sides, chunks, strict=True)
        block = np.asarray(array[tuple(slice(start, start + max(axis)) for start, axis in corner)])
        seen += block.nbytes
        yield block
        if seen > READ_BYTES:
            return


def look(open_it: Callable[[Path], Any], path: Path, needle: bytes) -> dict[str, Any]:
    """Open an image and read its pixels; return how that ended."""
    leaked = False
    try:
        for block in pieces(open_it(path)):
            leaked = leaked or bool(needle and needle in block.tobytes())
    except MedlabError as error:
        leaked = leaked or bool(needle and needle in str(error).encode())
        end = "refused" if error.code else "foreign"
        return {"end": end, "code": error.code, "error": _told(error), "leaked": leaked}
    except BaseException as error:  # noqa: BLE001 - what is not ours is what is looked for
        return {"end": "foreign", "code": "", "error": _told(error), "leaked": leaked}
    return {"end": "opened", "code": "", "error": "", "leaked": leaked}


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def limit_memory() -> None:
    """Bound the address space of this process and of those that it starts, where the system can."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))


def main() -> None:
    """Answer requests, one JSON document a line, until standard input closes."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer
    limit_memory()
    module, _, name = sys.argv[1].partition(":")
    open_it = getattr(importlib.import_module(module), name)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        answer = look(open_it, Path(request["path"]), bytes.fromhex(request["needle"]))
        answer["seconds"] = time.perf_counter() - started
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
