"""Saying no: one shape for every refusal, and the checks that all formats share."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ImageRefusedError, MedlabError
from napari_medlab.images.budget import memory_budget_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import DTypeLike

__all__ = ["check_decodable_whole", "check_finite", "check_not_shorter", "check_shape", "reading"]

MAX_PIXELS = 1 << 40
"""More pixels than any scanner makes: a header that claims more is damaged."""
MAX_AXIS = 1 << 31
GZIP_RATIO = 1032
"""The most that deflate can shrink anything."""
GIB = 1 << 30


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises about ``path`` into a refusal."""
    try:
        yield
    except MedlabError:
        raise
    except MemoryError as error:
        raise ImageRefusedError(
            f"{path.name} takes more memory than a reader may have.",
            code="reader-memory",
            hint="The file is damaged, or has to be decoded in one piece: convert it.",
        ) from error
    except Exception as error:
        raise ImageRefusedError(
            f"{path.name} cannot be read: {type(error).__name__}: {str(error)[:300]}",
            code="unreadable",
            hint="The file is damaged or not of the format that it claims; export it again from its source.",
        ) from error


def check_shape(path: Path, shape: Sequence[int]) -> None:
    """Refuse sizes that are not positive or that no image has."""
    if not all(0 < size < MAX_AXIS for size in shape) or math.prod(shape) > MAX_PIXELS:
        raise ImageRefusedError(
            f"{path.name}: its header claims the size {' by '.join(map(str, shape))}.",
            code="size",
            hint="Sizes must be positive and their product below 10¹²; the header is damaged.",
        )


def check_finite(path: Path, what: str, values: Sequence[float]) -> None:
    """Refuse a header field that holds NaN or infinity."""
    if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
        raise ImageRefusedError(
            f"{path.name}: {what} is {list(values)}, expected finite numbers.",
            code="affine",
            hint="The header is damaged; export the image again from its source.",
        )


def check_decodable_whole(path: Path, shape: Sequence[int], dtype: DTypeLike) -> None:
    """Refuse an image that can only be decoded in one piece, where that piece exceeds the memory budget."""
    needed, budget = math.prod(shape) * np.dtype(dtype).itemsize, memory_budget_bytes()
    if needed > budget:
        raise ImageRefusedError(
            f"{path.name} takes {needed / GIB:.1f} GiB when decoded, which it is in one piece; "
            f"the budget here is {budget / GIB:.1f} GiB.",
            code="size",
            hint="Convert it to a tiled or uncompressed format, or use a machine with more memory.",
        )


def check_not_shorter(
    path: Path, expected_bytes: int, available_bytes: int, *, deflated: bool = False
) -> None:
    """Refuse a file that is too short to hold the pixels that its header announces."""
    if expected_bytes > available_bytes * (GZIP_RATIO if deflated else 1):
        raise ImageRefusedError(
            f"{path.name} is cut short: its header announces {expected_bytes} bytes of pixels, "
            f"and {available_bytes} bytes {'(compressed) ' if deflated else ''}follow.",
            code="truncated",
            hint="Copy the file again from its source.",
        )
