"""The project: one database whose current state is derived from an append-only journal."""

from __future__ import annotations

from napari_medlab.project.edits import Edit
from napari_medlab.project.merging import Merged
from napari_medlab.project.opening import open_case
from napari_medlab.project.private import PrivateNames
from napari_medlab.project.project import Project
from napari_medlab.project.records import (
    SPLITS,
    VERDICTS,
    BundleRecord,
    CaseRecord,
    ExportRecord,
    JournalEntry,
    JudgementRecord,
    RunRecord,
    Verdict,
)

__all__ = [
    "SPLITS",
    "VERDICTS",
    "BundleRecord",
    "CaseRecord",
    "Edit",
    "ExportRecord",
    "JournalEntry",
    "JudgementRecord",
    "Merged",
    "PrivateNames",
    "Project",
    "RunRecord",
    "Verdict",
    "open_case",
]
