"""What the two processes say to each other: a JSON document, and the bytes of an array after it."""

from __future__ import annotations

import json
import struct
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PIPE_BYTES", "read_frame", "widen", "write_frame"]

LENGTHS = struct.Struct("<IQ")
MAX_JSON = 64 << 20
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031


def write_frame(stream: IO[bytes], message: dict[str, Any], pixels: NDArray[Any] | None = None) -> None:
    """Send a message, with the pixels that belong to it."""
    if pixels is not None:
        message = message | {"shape": list(pixels.shape), "dtype": pixels.dtype.str}
    text = json.dumps(message, default=_plain).encode()
    stream.write(LENGTHS.pack(len(text), 0 if pixels is None else pixels.nbytes) + text)
    if pixels is not None and pixels.nbytes:
        stream.write(memoryview(np.ascontiguousarray(pixels)).cast("B"))
    stream.flush()


def read_frame(stream: IO[bytes]) -> tuple[dict[str, Any], NDArray[np.uint8] | None]:
    """Receive a message and its bytes.

    Raises
    ------
    EOFError
        Where the other side has gone, or says what makes no sense.
    """
    text_bytes, pixel_bytes = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    if text_bytes > MAX_JSON:
        raise EOFError(f"a message of {text_bytes} bytes")
    message: dict[str, Any] = json.loads(bytes(_exactly(stream, text_bytes)))
    return message, np.frombuffer(_exactly(stream, pixel_bytes), np.uint8) if "shape" in message else None


def widen(file_descriptor: int) -> None:
    """Let a pipe hold more at once, where the system can: fewer turns for the same pixels."""
    try:
        import fcntl

        fcntl.fcntl(file_descriptor, F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, OSError):
        return


def _exactly(stream: IO[bytes], count: int) -> bytearray:
    data = bytearray(count)
    view = memoryview(data)
    got = 0
    while got < count:
        more = stream.readinto(view[got:])  # type: ignore[attr-defined]  # typing.IO does not know it
        if not more:
            raise EOFError("the other process has gone")
        got += more
    return data


def _plain(value: Any) -> Any:  # noqa: ANN401 - numbers of numpy in details
    return value.item() if isinstance(value, np.generic) else str(value)
