"""Matching rules, FROC, precision and recall, kinds of error, intervals, paired tests, readers' agreement.

Functions that are named like their modules are imported from there: ``from napari_medlab.evaluation.froc
import froc``.
"""

from __future__ import annotations

from napari_medlab.evaluation.agreement import (
    LesionAgreement,
    VerdictAgreement,
    lesion_agreement,
    verdict_agreement,
)
from napari_medlab.evaluation.bootstrap import BootstrapResult, Resampling, bootstrap
from napari_medlab.evaluation.compare import Comparison, compare
from napari_medlab.evaluation.error_kinds import (
    CAUSES,
    Cause,
    CauseEffects,
    CentreReach,
    ErrorCauses,
    cause_effects,
    error_causes,
)
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
from napari_medlab.evaluation.precision_recall import PrecisionRecallCurve
from napari_medlab.evaluation.report import FrocReport, evaluate_froc
from napari_medlab.evaluation.transitions import Transitions, transitions

__all__ = [
    "CAUSES",
    "FP_POINTS",
    "RULES",
    "BootstrapResult",
    "Cause",
    "CauseEffects",
    "CentreReach",
    "Comparison",
    "ErrorCauses",
    "FrocCurve",
    "FrocReport",
    "LesionAgreement",
    "Luna16Rule",
    "MatchRule",
    "MatchTable",
    "Overlap",
    "PrecisionRecallCurve",
    "Resampling",
    "Transitions",
    "VerdictAgreement",
    "bootstrap",
    "cause_effects",
    "compare",
    "error_causes",
    "evaluate_froc",
    "froc",
    "lesion_agreement",
    "match",
    "match_at",
    "overlap",
    "register_rule",
    "transitions",
    "verdict_agreement",
]
