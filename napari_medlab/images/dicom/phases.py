"""Several volumes in one series: time points, heart phases, echoes at the same places."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_medlab.errors import ImageRefusedError, Option
from napari_medlab.images.dicom.groups import LABELS
from napari_medlab.images.dicom.stacking import SAME_PLACE_MM, Stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_medlab.images.decisions import Decisions

__all__ = ["Phase", "phase_of", "phases_of", "refuse_phase"]

UNITS = {
    "TriggerTime": "ms", "NominalCardiacTriggerDelayTime": "ms", "FrameReferenceTime": "ms", "EchoTime": "ms",
    "EffectiveEchoTime": "ms", "InversionTime": "ms", "NominalPercentageOfCardiacPhase": "%",
    "DiffusionBValue": "s/mm²", "FlipAngle": "°", "KVP": "kV",
}  # fmt: skip
UNTOLD = frozenset({"AcquisitionTime", "ContentTime"})
"""The hour at which somebody was scanned is nobody's business."""


class Phase(NamedTuple):
    """One complete stack of several at the same places.

    Parameters
    ----------
    stack : Stack
    keyword : str
        The DICOM attribute that tells it from the others.
    value : float or str
    """

    stack: Stack
    keyword: str
    value: float | str

    @property
    def told_by(self) -> str:
        """What tells it from the others, such as ``"TriggerTime 250 ms"``."""
        if self.keyword in UNTOLD:
            return self.keyword
        value = f"{self.value:g}" if isinstance(self.value, float | int) else self.value
        return " ".join(part for part in (self.keyword, value, UNITS.get(self.keyword, "")) if part)


def phases_of(stack: Stack) -> tuple[Phase, ...]:
    """Return the complete stacks into which one attribute parts slices at the same places; none where none does."""
    for keyword in LABELS:
        phases = _parted(stack, keyword)
        if phases:
            return phases
    return ()


def phase_of(stack: Stack, decisions: Decisions) -> Stack:
    """Return the volume that was decided upon of a series of several; the only one as it is.

    Raises
    ------
    ImageRefusedError
        With code ``four-d`` where nothing was decided, ``no-such-phase``, or ``duplicate``.
    """
    phases = phases_of(stack) if len(stack.repeated) else ()
    if not phases:
        stack.refuse_duplicates()
        if decisions.phase is not None:
            refuse_phase(decisions.phase, 1)
        return stack
    if decisions.phase is not None:
        if not 0 <= decisions.phase < len(phases):
            refuse_phase(decisions.phase, len(phases))
        return phases[decisions.phase].stack
    chosen = replace(decisions, series_uid=stack.frames[0].file.series_uid)
    raise ImageRefusedError(
        f"The series holds {len(phases)} volumes of {len(phases[0].stack.frames)} slices at the same places, "
        f"told apart by {phases[0].keyword}.",
        code="four-d",
        hint="Choose one of them.",
        options=tuple(
            Option(f"Phase {n + 1} of {len(phases)} ({phase.told_by})", replace(chosen, phase=n).as_json())
            for n, phase in enumerate(phases)
        ),
    )


def refuse_phase(number: int, count: int) -> None:
    """Refuse the number of a phase that the series does not have."""
    raise ImageRefusedError(
        f"There is no phase {number + 1}: the series holds {count}.",
        code="no-such-phase",
        hint="Open it again and choose one of those that are offered.",
    )


def _parted(stack: Stack, keyword: str) -> tuple[Phase, ...]:
    """Return the stacks into which an attribute parts the slices, where each is complete."""
    parts: dict[float | str, list[int]] = defaultdict(list)
    for number, frame in enumerate(stack.frames):
        if keyword not in frame.labels:
            return ()
        parts[frame.labels[keyword]].append(number)
    sizes = {len(numbers) for numbers in parts.values()}
    if len(parts) < 2 or len(sizes) > 1:
        return ()
    phases = [Phase(_only(stack, parts[value]), keyword, value) for value in _in_order(parts)]
    first = phases[0].stack.positions
    if any(
        len(phase.stack.repeated) or np.abs(phase.stack.positions - first).max() > SAME_PLACE_MM
        for phase in phases
    ):
        return ()
    return tuple(phases)


def _only(stack: Stack, numbers: Sequence[int]) -> Stack:
    return Stack(
        tuple(stack.frames[number] for number in numbers), stack.positions[list(numbers)], stack.axes
    )


def _in_order(values: dict[float | str, list[int]]) -> list[float | str]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))
