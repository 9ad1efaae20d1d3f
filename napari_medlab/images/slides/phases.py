"""Images with more dimensions than are shown: one of their parts is opened, by decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.images.decisions import Decisions

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["chosen_phase"]

MAX_OPTIONS = 64


def chosen_phase(path: Path, sizes: tuple[int, int, int], decisions: Decisions) -> tuple[int, int, int]:
    """Return how many parts there are to choose from, and the (channel, point in time) that was chosen.

    A volume has one channel, so that each channel of a stack is a part of its own; a plane keeps all of them.

    Parameters
    ----------
    path : Path
    sizes : tuple of int
        Channels, slices, points in time.
    decisions : Decisions
        ``phase`` counts the channels of the first point in time first.

    Raises
    ------
    ImageRefusedError
        With code ``four-d`` and an option for each part, where none of them was chosen.
    """
    channels, slices, times = sizes
    inner = channels if slices > 1 else 1
    count = inner * times
    phase = decisions.phase or 0
    if count > 1 and (decisions.phase is None or not 0 <= phase < count):
        raise ImageRefusedError(
            f"{path.name} holds {channels} channels, {slices} slices and {times} points in time: {count} images.",
            code="four-d",
            hint="Choose one of them.",
            options=tuple(
                Option(_title(number, inner, times), Decisions(phase=number).as_json())
                for number in range(min(count, MAX_OPTIONS))
            ),
        )
    return (count, phase % inner, phase // inner) if count > 1 else (1, 0, 0)


def _title(number: int, channels: int, times: int) -> str:
    parts = [f"channel {number % channels + 1} of {channels}"] if channels > 1 else []
    parts += [f"point in time {number // channels + 1} of {times}"] if times > 1 else []
    return ", ".join(parts).capitalize()
