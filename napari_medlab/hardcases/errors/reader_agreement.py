"""How far two readers of one project agree: on verdicts, on lesions, and on outlines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation.agreement import (
    LesionAgreement,
    MeanWithInterval,
    VerdictAgreement,
    fleiss_kappa,
    krippendorff_alpha,
    lesion_agreement,
    mean_with_interval,
    verdict_agreement,
)
from napari_medlab.hardcases.errors.outline_overlap import dice_of_regions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_medlab.annotations import Region
    from napari_medlab.project import Project

__all__ = ["ReaderAgreement", "SeveralReaders", "agreement_of_readers", "reader_agreement"]


@dataclass(frozen=True)
class ReaderAgreement:
    """Two readers compared.

    Parameters
    ----------
    readers : (str, str)
    run_id : str
        The run whose objects were judged.
    verdicts : VerdictAgreement
        On the objects that both judged.
    lesions : LesionAgreement
        The reference as each of them has it, on the cases that both have judged or corrected.
    outlines : MeanWithInterval
        The Dice coefficients of what both have outlined, or changed the outline of.
    """

    readers: tuple[str, str]
    run_id: str
    verdicts: VerdictAgreement
    lesions: LesionAgreement
    outlines: MeanWithInterval

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return {
            "readers": list(self.readers),
            "run_id": self.run_id,
            "verdicts": self.verdicts.as_json(),
            "lesions": self.lesions.as_json(),
            "outlines": self.outlines.as_json(),
        }


@dataclass(frozen=True)
class SeveralReaders:
    """More than two readers compared.

    Parameters
    ----------
    readers : tuple of str
    run_id : str
        The run whose objects were judged.
    fleiss_kappa : float
        Of the verdicts on the objects that all of them judged; nan where chance explains them all.
    judged_by_all : int
        How many these objects are.
    krippendorff_alpha : float
        Of the verdicts on the objects that two of them or more judged.
    pairs : tuple of ReaderAgreement
        Each two of them.
    """

    readers: tuple[str, ...]
    run_id: str
    fleiss_kappa: float
    judged_by_all: int
    krippendorff_alpha: float
    pairs: tuple[ReaderAgreement, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the figures as plain JSON values, None for what cannot be told."""
        return {
            "readers": list(self.readers),
            "run_id": self.run_id,
            "fleiss_kappa": _number(self.fleiss_kappa),
            "judged_by_all": self.judged_by_all,
            "krippendorff_alpha": _number(self.krippendorff_alpha),
            "pairs": [pair.as_json() for pair in self.pairs],
        }


def agreement_of_readers(
    project: Project, run_id: str, readers: Sequence[str]
) -> ReaderAgreement | SeveralReaders:
    """Compare readers, all who did anything in the project where none are named; more than two also as one group.

    Raises
    ------
    InputRefusedError
        As :func:`reader_agreement`.
    """
    chosen = tuple(dict.fromkeys(readers)) or tuple(project.readers())
    if len(chosen) <= 2:
        return reader_agreement(project, run_id, readers)
    pairs = tuple(reader_agreement(project, run_id, pair) for pair in combinations(chosen, 2))
    verdicts = project.verdicts_by_reader(run_id)
    said = {reader: {key: v.verdict for key, v in verdicts.get(reader, {}).items()} for reader in chosen}
    by_all = set.intersection(*(set(each) for each in said.values()))
    kinds = sorted({verdict for each in said.values() for verdict in each.values()})
    counted = [Counter(each[key] for each in said.values()) for key in sorted(by_all)]
    counts = np.asarray([[each[kind] for kind in kinds] for each in counted], dtype=np.int64)
    return SeveralReaders(
        chosen, run_id, fleiss_kappa(counts.reshape(len(by_all), len(kinds))), len(by_all), krippendorff_alpha(said), pairs
    )  # fmt: skip


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def reader_agreement(project: Project, run_id: str, readers: Sequence[str]) -> ReaderAgreement:
    """Compare two readers, each by what they did themselves; what was adjudicated does not count.

    Raises
    ------
    InputRefusedError
        ``readers`` where there are not two of them, or one has done nothing in the project.
    """
    first, second = _two(project, readers)
    verdicts = project.verdicts_by_reader(run_id)
    said = [{key: v.verdict for key, v in verdicts.get(reader, {}).items()} for reader in (first, second)]
    case_of = _cases_of_objects(project, run_id)
    patients = {case.case_id: case.group for case in project.cases()}
    groups = {key: patients[case_of[key]] for each in said for key in each if key in case_of}
    corrected = project.findings_by_reader()
    worked_on = [
        {case_of[key] for key in mine if key in case_of}
        | _cases_of_findings(project, reader, corrected.get(reader, {}))
        for reader, mine in zip((first, second), said, strict=True)
    ]
    both = [case_id for case_id in patients if all(case_id in cases for cases in worked_on)]
    return ReaderAgreement(
        (first, second),
        run_id,
        verdict_agreement(said[0], said[1], groups),
        lesion_agreement(project.findings(reader=first), project.findings(reader=second), both),
        _outlines(project, (first, second), patients),
    )


def _two(project: Project, readers: Sequence[str]) -> tuple[str, str]:
    known = project.readers()
    chosen = list(readers) or known
    missing = [reader for reader in chosen if reader not in known]
    if len(chosen) != 2 or chosen[0] == chosen[1] or missing:
        raise InputRefusedError(
            f"Two readers are compared, got {', '.join(map(repr, chosen)) or 'none'}; "
            f"those who have judged or corrected anything here are {', '.join(map(repr, known)) or 'none'}.",
            code="readers",
            hint="Merge the other reader's copy with 'napari-medlab project merge', or name two of them.",
        )
    return chosen[0], chosen[1]


def _cases_of_objects(project: Project, run_id: str) -> dict[str, str]:
    """Return the case of every finding and of every candidate of a run."""
    tables = (project.candidates(run_id), project.findings(as_given=True), project.findings())
    return {
        object_id: case_id
        for table in tables
        for object_id, case_id in zip(table.ids.tolist(), table.case_ids.tolist(), strict=True)
    }


def _cases_of_findings(project: Project, reader: str, changed: dict[str, Any]) -> set[str]:
    table = project.findings(reader=reader)
    given = project.findings(as_given=True)
    cases = dict(zip(given.ids.tolist(), given.case_ids.tolist(), strict=True))
    cases |= dict(zip(table.ids.tolist(), table.case_ids.tolist(), strict=True))
    return {cases[finding_id] for finding_id in changed if finding_id in cases}


def _outlines(project: Project, readers: tuple[str, str], patients: dict[str, str]) -> MeanWithInterval:
    """Compare what both have outlined: by the object, or by the outline itself where it belongs to none."""
    dice, groups = [], []
    for case_id, patient in patients.items():
        drawn = project.regions_by_reader(case_id)
        mine, theirs = (_by_object(drawn.get(reader, {}).values()) for reader in readers)
        for key in sorted(mine.keys() & theirs.keys()):
            dice.append(dice_of_regions(mine[key], theirs[key]))
            groups.append(patient)
    return mean_with_interval(dice, groups)


def _by_object(regions: Iterable[Region | None]) -> dict[str, Region]:
    return {region.owner_id or region.region_id: region for region in regions if region is not None}
