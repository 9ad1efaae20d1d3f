"""Matching rules, FROC, intervals, paired tests, model against model.

Functions that are named like their modules are imported from there: ``from napari_medlab.evaluation.froc
import froc``.
"""

from __future__ import annotations

from napari_medlab.evaluation.bootstrap import BootstrapResult, Resampling, bootstrap
from napari_medlab.evaluation.compare import Comparison, compare
from napari_medlab.evaluation.froc import FP_POINTS, FrocCurve, froc, match_at
from napari_medlab.evaluation.matching import (
    RULES,
    Luna16Rule,
    MatchRule,
    MatchTable,
    match,
    register_rule,
)
from napari_medlab.evaluation.overlap import Overlap, overlap
from napari_medlab.evaluation.report import FrocReport, evaluate_froc
from napari_medlab.evaluation.transitions import Transitions, transitions

__all__ = [
    "FP_POINTS",
    "RULES",
    "BootstrapResult",
    "Comparison",
    "FrocCurve",
    "FrocReport",
    "Luna16Rule",
    "MatchRule",
    "MatchTable",
    "Overlap",
    "Resampling",
    "Transitions",
    "bootstrap",
    "compare",
    "evaluate_froc",
    "froc",
    "match",
    "match_at",
    "overlap",
    "register_rule",
    "transitions",
]
