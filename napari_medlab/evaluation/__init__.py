"""Matching rules, FROC, precision and recall, COCO, overlap, strata, kinds of error, intervals, paired tests.

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
from napari_medlab.evaluation.compare import Comparison, compare, sensitivity_difference
from napari_medlab.evaluation.confusion import ConfusionMatrix
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
    rule_by_name,
)
from napari_medlab.evaluation.overlap import LabelledOverlap, Overlap, overlap
from napari_medlab.evaluation.paired import PairedDifference, paired_difference
from napari_medlab.evaluation.penalised import PenalisedRecall, penalised_recall
from napari_medlab.evaluation.precision_recall import PrecisionRecallCurve, PrecisionRecallReport
from napari_medlab.evaluation.report import FrocReport, evaluate_froc
from napari_medlab.evaluation.rules import CAMELYON_POINTS, CamelyonRule, OverlapRule, Shapes
from napari_medlab.evaluation.transitions import Transitions, transitions

__all__ = [
    "CAMELYON_POINTS",
    "CAUSES",
    "FP_POINTS",
    "RULES",
    "BootstrapResult",
    "CamelyonRule",
    "Cause",
    "CauseEffects",
    "CentreReach",
    "Comparison",
    "ConfusionMatrix",
    "ErrorCauses",
    "FrocCurve",
    "FrocReport",
    "LabelledOverlap",
    "LesionAgreement",
    "Luna16Rule",
    "MatchRule",
    "MatchTable",
    "Overlap",
    "OverlapRule",
    "PairedDifference",
    "PenalisedRecall",
    "PrecisionRecallCurve",
    "PrecisionRecallReport",
    "Resampling",
    "Shapes",
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
    "paired_difference",
    "penalised_recall",
    "register_rule",
    "rule_by_name",
    "sensitivity_difference",
    "transitions",
    "verdict_agreement",
]
