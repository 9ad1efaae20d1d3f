"""Whether a proposed bundle may take the place of the current one: the frozen test set decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.errors import ProjectError
from napari_medlab.evaluation import Comparison, MatchTable, Resampling, compare, match
from napari_medlab.project.edits import set_current_bundle

if TYPE_CHECKING:
    from napari_medlab.project import Project

__all__ = ["Judgement", "compare_runs", "judge", "publish"]


@dataclass(frozen=True)
class Judgement:
    """What the frozen test set says about a proposal.

    Parameters
    ----------
    may_publish : bool
    reason : str
        One sentence with the figures.
    comparison : Comparison
    """

    may_publish: bool
    reason: str
    comparison: Comparison


def match_run(project: Project, run_id: str, cases: list[str]) -> MatchTable:
    """Return the match table of a run on some cases, under the LUNA16 rule."""
    return match(project.findings(), project.candidates(run_id), cases)


def compare_runs(project: Project, run_a: str, run_b: str, split: str, fp_per_scan: float = 1.0) -> Comparison:
    """Return two runs side by side on the cases of a split that both are done with; patients are resampled together.

    Raises
    ------
    ProjectError
        Where they have no case in common.
    """
    done = project.cases_done(run_a) & project.cases_done(run_b)
    records = [c for c in project.cases() if c.split == split and c.case_id in done]
    if not records:
        raise ProjectError(
            f"The two runs have no {split} case in common.", code="nothing-to-compare",
            hint=f"Run both models on the {split} cases first.",
        )  # fmt: skip
    cases = [c.case_id for c in records]
    groups = {c.case_id: c.patient_key or c.case_id for c in records}
    return compare(match_run(project, run_a, cases), match_run(project, run_b, cases), groups=groups,
                   resampling=Resampling(), fp_per_scan=fp_per_scan)  # fmt: skip


def judge(project: Project, current_run: str, proposed_run: str) -> Judgement:
    """Compare the proposed model with the current one on the frozen test set.

    The proposal is refused where the 95 % interval of the paired difference lies wholly below zero: it is shown to be
    worse. A difference that the cases cannot tell from chance is no reason to refuse; the sentence says so.
    """
    frozen = {case.case_id for case in project.cases() if case.frozen}
    failed = [len(frozen - project.cases_done(run_id)) for run_id in (current_run, proposed_run)]
    comparison = compare_runs(project, current_run, proposed_run, "test")
    if any(failed):
        reason = (
            f"Refused: of {len(frozen)} frozen test cases the current model is not done with {failed[0]} and the new one "
            f"not with {failed[1]}, and a part of them is no judge."
        )
        return Judgement(False, reason, comparison)
    low, high = comparison.difference_interval
    figures = (
        f"CPM {comparison.cpm_a:.3f} → {comparison.cpm_b:.3f}, difference {comparison.difference:+.3f} "
        f"(95 % interval {low:+.3f} to {high:+.3f}, {comparison.n_cases} frozen test cases)"
    )
    if not np.isfinite(comparison.difference_interval).all():
        return Judgement(False, "Refused: the frozen test set holds no finding, so it cannot tell models apart.", comparison)
    if high < 0:
        return Judgement(False, f"Refused: the new model is worse. {figures}.", comparison)
    if low > 0:
        return Judgement(True, f"May be published: the new model is better. {figures}.", comparison)
    lower = ", though its figure is lower" if comparison.difference < 0 else ""
    return Judgement(True, f"May be published: the new model is not shown to be worse{lower}. {figures}.", comparison)


def publish(project: Project, bundle_hash: str, judgement: Judgement) -> None:
    """Make a bundle the current one; the one before stays, and the step can be undone.

    Raises
    ------
    ProjectError
        Where the judgement speaks against it.
    """
    if not judgement.may_publish:
        raise ProjectError(judgement.reason, code="worse", hint="The current model stays.")
    project.commit(set_current_bundle(project.current_bundle(), bundle_hash))
