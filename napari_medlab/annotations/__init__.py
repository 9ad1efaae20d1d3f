"""Candidates, findings and regions, and one file for each format in which they are exchanged."""

from __future__ import annotations

from napari_medlab.annotations.objects import Candidate, Finding, Region, new_id
from napari_medlab.annotations.region_table import RegionTable
from napari_medlab.annotations.tables import CandidateTable, FindingTable

__all__ = ["Candidate", "CandidateTable", "Finding", "FindingTable", "Region", "RegionTable", "new_id"]
