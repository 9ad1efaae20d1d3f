"""What the two processes say to each other: a JSON document, and the bytes of an array after it."""

from __future__ import annotations

import json
import struct
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["PIPE_BYTES", "read_frame", "widen", "write_frame"]

LENGTH = struct.Struct("<I")
MAX_JSON, MAX_BYTES = 64 << 20, 64 << 30
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031


def write_frame(stream: IO[bytes], message: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Send a message, with the bytes of the arrays that belong to it."""
    contiguous = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
    if contiguous:
        message = message | {"bytes": [array.nbytes for array in contiguous]}
    text = json.dumps(message, default=_plain).encode()
    stream.write(LENGTH.pack(len(text)) + text)
    for array in contiguous:
        stream.write(array.data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """Receive a message and the bytes of its arrays, each in memory of its own.

    Raises
    ------
    EOFError
        Where the other side has gone, or says what makes no sense.
    """
    (count,) = LENGTH.unpack(_exactly(stream, LENGTH.size).tobytes())
    if count > MAX_JSON:
        raise EOFError(f"a message of {count} bytes")
    message: dict[str, Any] = json.loads(_exactly(stream, count).tobytes())
    sizes = [int(size) for size in message.get("bytes", ())]
    if sizes and not 0 <= min(sizes) <= sum(sizes) <= MAX_BYTES:
        raise EOFError(f"arrays of {sizes} bytes")
    return message, [_exactly(stream, size) for size in sizes]


def widen(file_descriptor: int) -> None:
    """Let a pipe hold more at once, where the system can: fewer turns for the same pixels."""
    try:
        import fcntl

        fcntl.fcntl(file_descriptor, F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, OSError):
        return


def _exactly(stream: IO[bytes], count: int) -> NDArray[np.uint8]:
    data = np.empty(count, np.uint8)
    view = data.data
    got = 0
    while got < count:
        more = stream.readinto(view[got:])  # type: ignore[attr-defined]  # typing.IO does not know it
        if not more:
            raise EOFError("the other process has gone")
        got += more
    return data


def _plain(value: Any) -> Any:  # noqa: ANN401 - numbers of numpy in details
    return value.item() if isinstance(value, np.generic) else str(value)
