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

LENGTHS = struct.Struct("<IQ")
"""Of the document, and of the bytes plus one where there are any."""
MAX_JSON, MAX_BYTES = 64 << 20, 64 << 30
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031


def write_frame(stream: IO[bytes], message: dict[str, Any], arrays: Sequence[NDArray[Any]] | None = None) -> None:
    """Send a message, with the bytes of the arrays that belong to it, one after the other."""
    text = json.dumps(message, default=_plain).encode()
    contiguous = [np.ascontiguousarray(array) for array in arrays or ()]
    total = sum(array.nbytes for array in contiguous)
    stream.write(LENGTHS.pack(len(text), 0 if arrays is None else total + 1) + text)
    for array in contiguous:
        if array.nbytes:
            stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """Receive a message and its bytes, None where none belong to it.

    Raises
    ------
    EOFError
        Where the other side has gone, or says what makes no sense.
    """
    text_bytes, total = LENGTHS.unpack(_exactly(stream, LENGTHS.size).tobytes())
    if text_bytes > MAX_JSON or total > MAX_BYTES:
        raise EOFError(f"a message of {text_bytes} and {total} bytes")
    message: dict[str, Any] = json.loads(_exactly(stream, text_bytes).tobytes())
    return message, _exactly(stream, total - 1) if total else None


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
