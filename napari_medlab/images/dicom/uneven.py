"""Slices that make no even stack: what can be decided about them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.images.dicom.resampling import StraightGrid
from napari_medlab.images.dicom.stacking import even_step

if TYPE_CHECKING:
    from napari_medlab.images.decisions import Decisions
    from napari_medlab.images.dicom.stacking import Stack

__all__ = ["Block", "block_of", "blocks_of", "left_out", "with_options"]


class Block(NamedTuple):
    """Evenly spaced slices of a stack: from ``start`` to before ``stop``."""

    start: int
    stop: int


def blocks_of(stack: Stack) -> list[Block]:
    """Return the even blocks of at least two slices, in order.

    A slice between two blocks belongs to the longer one.
    """
    runs = _runs(stack)
    kept = []
    for number, (start, stop) in enumerate(runs):
        low, high = start, stop
        if number and runs[number - 1].stop > start and _length(runs[number - 1]) >= stop - start:
            low += 1
        if (
            number + 1 < len(runs)
            and runs[number + 1].start < stop
            and _length(runs[number + 1]) > stop - start
        ):
            high -= 1
        if high - low >= 2:
            kept.append(Block(low, high))
    return kept


def block_of(stack: Stack, number: int) -> Stack:
    """Return one of the even blocks.

    Raises
    ------
    ImageRefusedError
        With code ``no-such-block``.
    """
    blocks = blocks_of(stack)
    if not 0 <= number < len(blocks):
        raise ImageRefusedError(
            f"There is no block {number + 1}: the series splits into {len(blocks)}.",
            code="no-such-block",
            hint="Open it again and choose one of those that are offered.",
        )
    return stack.part(*blocks[number])


def left_out(stack: Stack) -> list[float]:
    """Return the heights of the slices that belong to no block, in mm."""
    inside = np.zeros(len(stack.frames), bool)
    for start, stop in blocks_of(stack):
        inside[start:stop] = True
    heights: list[float] = stack.heights[~inside].tolist()
    return heights


def with_options(error: ImageRefusedError, stack: Stack, decisions: Decisions) -> ImageRefusedError:
    """Return a refusal of an uneven stack with what can be decided about it."""
    blocks = blocks_of(stack)
    single = left_out(stack)
    hint = error.hint
    if single and blocks:
        hint += f" Splitting leaves out single slices at {_listing(single)} mm."
    options = [
        Option(_title(stack.part(*block)), replace(decisions, uneven="split", block=number).as_json())
        for number, block in enumerate(blocks)
    ]
    if StraightGrid(stack).is_sensible:
        onto = "a straight grid" if error.code == "tilt" else "an even grid"
        choice = replace(decisions, uneven="resample", block=0)
        options.append(Option(f"All {len(stack.frames)} slices, interpolated onto {onto}", choice.as_json()))
    return ImageRefusedError(error.message, code=error.code, hint=hint, options=tuple(options))


def _runs(stack: Stack) -> list[Block]:
    """Return stretches of even spacing, each as long as it can be; neighbours share the slice between them."""
    count, runs, start = len(stack.frames), [], 0
    while start < count - 1:
        stop = start + 2
        if not _is_even(stack.part(start, stop)):
            start += 1
            continue
        while stop < count and _is_even(stack.part(start, stop + 1)):
            stop += 1
        runs.append(Block(start, stop))
        start = stop - 1
    return runs


def _is_even(stack: Stack) -> bool:
    try:
        even_step(stack)
    except ImageRefusedError:
        return False
    return True


def _length(block: Block) -> int:
    return block.stop - block.start


def _title(stack: Stack) -> str:
    low, high = stack.heights[0], stack.heights[-1]
    gap = (high - low) / (len(stack.frames) - 1)
    return f"{len(stack.frames)} slices from {low:.2f} to {high:.2f} mm, every {gap:.3f} mm"


def _listing(heights: list[float]) -> str:
    shown = ", ".join(f"{height:.2f}" for height in heights[:10])
    return shown + (f" and {len(heights) - 10} more" if len(heights) > 10 else "")
