"""Which cases of a package are for training, and which are held out to look at while it is trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.training.folds import (
    VALIDATION,
    assign_folds,
    check_no_leak,
    hold_out,
    interval_split,
)
from napari_medlab.models.workflows.hard_choosing import earlier_manifests

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from napari_medlab.hardcases.mining import Chosen
    from napari_medlab.models.workflows.hard_choosing import HardOptions
    from napari_medlab.project import CaseRecord, Project

__all__ = ["Side", "sides_of", "sides_of_chosen"]


@dataclass(frozen=True)
class Side:
    """Where the examples of a case go.

    Parameters
    ----------
    split : {"train", "validation"}
    fold : int or None
        From 1, as on the command line; None where there are no folds.
    """

    split: Literal["train", "validation"] = "train"
    fold: int | None = None


def sides_of(
    cases: Sequence[CaseRecord], positives: Collection[str], options: HardOptions, earlier: Mapping[str, str]
) -> dict[str, Side]:
    """Return the side of each case by its id.

    Parameters
    ----------
    cases : sequence of CaseRecord
        Those that the package has examples of.
    positives : collection of str
        The cases with an example that holds a finding: both sides get their share of them.
    options : HardOptions
    earlier : mapping of str to str
        Which side the patients of earlier packages are on, by :attr:`CaseRecord.group`; they stay there, as several packages are
        trained on together.

    Raises
    ------
    InputRefusedError
        ``folds`` where there are too few patients; ``leak`` where a patient would be on both sides.
    """
    groups = [case.group for case in cases]
    has_lesion = [case.case_id in positives for case in cases]
    seed, share = options.rule.seed, options.validation_share
    is_held_out = np.zeros(len(cases), dtype=np.bool_)
    if share > 0 and options.split_by == "interval":
        is_held_out = _by_interval(cases, groups, share)
    elif share > 0:
        is_held_out = _by_patient(groups, has_lesion, options, earlier)
        check_no_leak(is_held_out, groups)
    folds = (assign_folds(groups, has_lesion, options.folds, seed) + 1).tolist() if options.folds else None
    return {
        case.case_id: Side("validation" if is_held_out[row] else "train", folds[row] if folds else None)
        for row, case in enumerate(cases)
    }


def sides_of_chosen(project: Project, chosen: Chosen, options: HardOptions) -> dict[str, Side]:
    """Return the side of each case that examples were chosen of; see :func:`sides_of`."""
    cases = [project.case(case_id) for case_id in chosen.case_ids]
    positives = {one.case_id for one in chosen.examples if one.is_positive}
    groups = {case.case_id: case.group for case in project.cases()}
    earlier: dict[str, str] = {}
    for manifest in earlier_manifests(project) if options.validation_share else []:
        if manifest.get("validation_share"):
            earlier |= {groups.get(one["case_id"], ""): one["split"] for one in manifest["examples"]}
    return sides_of(cases, positives, options, earlier)


def _by_patient(
    groups: Sequence[str], has_lesion: Sequence[bool], options: HardOptions, earlier: Mapping[str, str]
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    known = np.asarray([earlier.get(group, "") for group in groups])
    held_out = known == "validation"
    new = np.flatnonzero(known == "").tolist()
    if len({groups[row] for row in new}) >= 2 or not (known != "").any():
        chosen = hold_out([groups[row] for row in new], [has_lesion[row] for row in new],
                          options.validation_share, options.rule.seed)  # fmt: skip
        held_out[np.asarray(new)[chosen]] = True
    return np.asarray(held_out, dtype=np.bool_)


def _by_interval(
    cases: Sequence[CaseRecord], groups: Sequence[str], share: float
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Hold out evenly spaced cases of each sequence, in the order of the numbers in their names."""
    order = sorted(range(len(cases)), key=lambda row: _by_number(cases[row].name))
    frames = np.argsort(order)
    held_out = interval_split(groups, frames, share) == VALIDATION
    if not held_out.any() or held_out.all():
        raise InputRefusedError(
            f"Of {len(cases)} cases in {len(set(groups))} sequences, a share of {share} leaves {int((~held_out).sum())} to "
            f"train on and {int(held_out.sum())} to validate on.",
            code="folds", hint="Intervals are for sequences of many frames; else split by patient.",
        )  # fmt: skip
    return np.asarray(held_out, dtype=np.bool_)


def _by_number(name: str) -> list[tuple[int, str]]:
    """Return what a name is ordered by: numbers in it by their values."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
