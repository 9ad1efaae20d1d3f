"""What a project knows of a case, read before its image is opened: with that, any process can cut samples out of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.images import Decisions, open_image
from napari_medlab.models.workflows.hard_pools import doubted_objects, patient_keys

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.annotations import CandidateTable, FindingTable, Region, RegionTable
    from napari_medlab.images import Image
    from napari_medlab.project import CaseRecord, Project

__all__ = ["AT_ONCE", "CaseReader", "KnownCase"]

AT_ONCE = 128
"""Of so many cases at most is everything known held in memory at a time: a slide may have a hundred thousand outlines."""


@dataclass(frozen=True, eq=False)
class KnownCase:
    """What is known of a case.

    Parameters
    ----------
    case_id : str
    source : Path
        Where its image lies.
    decisions : dict
        By what choices its image opens.
    fingerprint : JSON value
        That of the image when it was added.
    patient : str
        A key that tells nobody who it is.
    findings : FindingTable
        Those in doubt do not count.
    outlines : RegionTable
        Of the reference: those of findings, and those of nobody that no model proposed.
    candidates : CandidateTable
        Of the run that is learnt from; empty for none.
    doubted : frozenset of str
        The candidates that a reader called into doubt.
    """

    case_id: str
    source: Path
    decisions: dict[str, Any]
    fingerprint: Any
    patient: str
    findings: FindingTable
    outlines: RegionTable
    candidates: CandidateTable
    doubted: frozenset[str]

    def open(self) -> Image:
        """Return the image.

        Raises
        ------
        ImageRefusedError
        """
        return open_image(self.source, Decisions.from_json(self.decisions))

    def regions(self) -> list[Region]:
        """Return the outlines of the reference one by one."""
        return [self.outlines.region(row) for row in range(len(self.outlines))]


class CaseReader:
    """Reads what a project knows of its cases.

    Parameters
    ----------
    project : Project
    run_id : str
        The run whose candidates are learnt from; empty for none.
    """

    def __init__(self, project: Project, run_id: str = "") -> None:
        self.patients = patient_keys(project)
        self._project, self._run_id = project, run_id
        self._doubted = frozenset(doubted_objects(project))

    def known(self, case: CaseRecord) -> KnownCase:
        """Return what is known of a case.

        Raises
        ------
        ProjectError
            Where the project has no image of it.
        """
        findings = self._findings(case.case_id)
        candidates = self._project.candidates(self._run_id, case.case_id)
        return KnownCase(
            case.case_id, self._project.case_path(case.case_id), case.decisions, case.fingerprint,
            self.patients[case.case_id], findings, self._outlines(case.case_id, findings), candidates,
            self._doubted.intersection(candidates.ids.tolist()),
        )  # fmt: skip

    def _findings(self, case_id: str) -> FindingTable:
        findings = self._project.findings(case_id)
        doubted = np.isin(findings.ids, list(self._doubted))
        return replace(findings, is_excluded=findings.is_excluded | doubted)

    def _outlines(self, case_id: str, findings: FindingTable) -> RegionTable:
        table = self._project.region_table(case_id)
        owners = np.isin(table.owner_ids, [*(key.encode() for key in findings.ids.tolist()), b""])
        settled = table.where(owners & np.isnan(table.scores))
        if not len(settled):
            return settled
        proposed = [
            self._project.region_table(case_id, run_id=run.run_id).ids for run in self._project.runs()
        ]
        return settled.where(~np.isin(settled.ids, np.concatenate([np.zeros(0, "S1"), *proposed])))
