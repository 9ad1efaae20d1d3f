"""How much each of several models should count: searched on validation cases of a project, and on no others."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import froc, match
from napari_medlab.models.ensembling.candidates import fuse_candidates
from napari_medlab.models.ensembling.validation_only import require_validation
from napari_medlab.models.ensembling.weights import cpm_by_scores, search_fusion, search_weights
from napari_medlab.models.training.folds import assign_folds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.ensembling.weights import FoundWeights
    from napari_medlab.project import CaseRecord, Project

__all__ = ["SearchSettings", "TunedWeights", "tune_weights", "validation_cases"]

SAME_PLACE_MM = 1e-3
WHAT = "The weights"


@dataclass(frozen=True)
class SearchSettings:
    """How weights are searched.

    Parameters
    ----------
    rule : str
        Of the fusion between a detector and the classifier of its candidates.
    iou : float
        From which overlap candidates of several detectors are one.
    steps : int
        How many steps lead from 0 to 1.
    """

    rule: str = "geometric mean"
    iou: float = 0.3
    steps: int = 10


@dataclass(frozen=True)
class TunedWeights:
    """What a search found, as a bundle keeps it.

    Parameters
    ----------
    kind : {"ensemble", "fusion"}
        Whether all count as equals, or the second is a classifier that judged the candidates of the first.
    runs, bundles : tuple of str
        Whose weights they are.
    weights : tuple of float
        They sum to 1; of a fusion, the detector's and the classifier's.
    cpm, equal_cpm : float
        What these weights and equal ones reach on those very cases: chosen there, and no figures to report.
    tried : int
    cases : tuple of str
    cases_sha256 : str
        Of the cases, their fingerprints and their findings.
    """

    kind: str
    runs: tuple[str, ...]
    bundles: tuple[str, ...]
    weights: tuple[float, ...]
    cpm: float
    equal_cpm: float
    tried: int
    cases: tuple[str, ...]
    cases_sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain


def tune_weights(
    project: Project, run_ids: Sequence[str], cases: Sequence[CaseRecord], cancel: CancelToken,
    settings: SearchSettings | None = None,
) -> TunedWeights:  # fmt: skip
    """Return the weights of several runs that do best on validation cases, by the CPM of LUNA16.

    The candidates of detectors are joined by weighted box fusion, as an ensemble joins boxes. A run of a classifier on the
    candidates of the run before it is a fusion instead: the weight is the classifier's beside the detector's.

    Parameters
    ----------
    project : Project
    run_ids : two at least
    cases : as :func:`validation_cases` chooses them
    cancel : looked at between two sets of weights
    settings : SearchSettings, optional

    Raises
    ------
    InputRefusedError
        ``"test-cases"``, ``"no-cases"``; ``"not-done"`` where a run has not looked at all of the cases; ``"no-findings"``
        where there is nothing to find in them; ``"members"``; ``"no-size"`` where nobody knows how large candidates are;
        ``"other-candidates"`` where a classifier's run does not hold the candidates of the detector's.
    CancelledError
    """
    require_validation(cases, WHAT)
    how = settings or SearchSettings()
    if len(run_ids) < 2 or len(set(run_ids)) < len(run_ids):
        raise InputRefusedError(
            "Weights are searched between two or more runs, each named once.", code="members"
        )
    ids = [case.case_id for case in cases]
    runs = [project.run(run_id) for run_id in run_ids]
    _check_done(project, run_ids, cases)
    findings = project.findings()
    findings = findings.where(np.isin(findings.case_ids, ids))
    if not (~findings.is_excluded).any():
        raise InputRefusedError(
            f"The {len(ids)} validation cases hold no finding, so that they cannot tell weights apart.",
            code="no-findings", hint="Choose another fold, or more cases.",
        )  # fmt: skip
    every = [project.candidates(run_id) for run_id in run_ids]
    tables = [table.where(np.isin(table.case_ids, ids)) for table in every]
    is_fusion = len(runs) == 2 and runs[1].configuration.get("candidates_of") == run_ids[0]
    search = _fusion if is_fusion else _ensemble
    found = search(findings, tables, cases, how, cancel)
    return TunedWeights(
        "fusion" if is_fusion else "ensemble", tuple(run_ids), tuple(run.bundle_hash for run in runs), found.weights,
        found.value, found.equal_value, found.tried, tuple(ids), _digest(cases, findings),
    )  # fmt: skip


def validation_cases(
    project: Project, *, named: Sequence[str] = (), fold: tuple[int, int] | None = None, samples: Sequence[Path] = ()
) -> list[CaseRecord]:  # fmt: skip
    """Return the cases that something may be chosen on.

    Parameters
    ----------
    project : Project
    named : keys or names of cases, or empty
    fold : (k, n), the k-th of n folds of the training cases, from 1
        Dealt out by the patients' keys, with a lesion and without one apart.
    samples : folders that were exported from this project, or none
        The fold is then exactly what ``train --samples … --fold K/N`` held out of them.

    Raises
    ------
    InputRefusedError
        ``"unknown-case"``; ``"test-cases"`` where a named case is for testing; ``"folds"``; ``"no-cases"`` where neither is
        given.
    """
    cases = project.cases()
    if named:
        known = {key: case for case in cases for key in (case.name, case.case_id)}
        if strange := [key for key in named if key not in known]:
            raise InputRefusedError(f"The project has no case {', '.join(strange)}.", code="unknown-case")
        chosen = list({known[key].case_id: known[key] for key in named}.values())
        require_validation(chosen, WHAT)
        return chosen
    if fold is None:
        require_validation([], WHAT)
        return []
    number, count = fold
    if samples:
        return _held_out(cases, f"fold:{number}/{count}", samples)
    training = [case for case in cases if case.split == "train" and not case.frozen]
    findings = project.findings()
    with_lesion = set(findings.case_ids[~findings.is_excluded].tolist())
    if not 1 <= number <= count:
        raise InputRefusedError(f"Fold {number} of {count} does not exist.", code="folds")
    folds = assign_folds(
        [case.group for case in training],
        [case.case_id in with_lesion for case in training], count,
    )  # fmt: skip
    return [case for case, of_case in zip(training, folds, strict=True) if of_case == number - 1]


def _held_out(cases: Sequence[CaseRecord], hold_out: str, samples: Sequence[Path]) -> list[CaseRecord]:
    """Return the cases of which a training held out the samples."""
    from napari_medlab.models.training.holding_out import HoldOut
    from napari_medlab.models.training.sample_folders import find_samples

    files = find_samples(samples)
    rows = HoldOut.parse(hold_out).split(files.paths).held_out
    # files are named by the key of the case and a number
    keys = {files.paths[row].stem.rpartition("-")[0] for row in rows}
    chosen = [case for case in cases if case.case_id in keys]
    require_validation(chosen, WHAT)
    return chosen


def _check_done(project: Project, run_ids: Sequence[str], cases: Sequence[CaseRecord]) -> None:
    for run_id in run_ids:
        done = project.cases_done(run_id)
        missing = [case.name for case in cases if case.case_id not in done]
        if missing:
            raise InputRefusedError(
                f"Run {run_id} has not looked at {len(missing)} of {len(cases)} validation cases, beginning with {missing[0]}.",
                code="not-done", hint="Run the model on them first.",
            )  # fmt: skip


def _ensemble(
    findings: FindingTable, tables: Sequence[CandidateTable], cases: Sequence[CaseRecord], how: SearchSettings,
    cancel: CancelToken,
) -> FoundWeights:  # fmt: skip
    ids = [case.case_id for case in cases]
    if any((table.diameters <= 0).any() for table in tables):
        raise InputRefusedError(
            "A run holds candidates of unknown size, so that nobody can tell which of two runs are one.",
            code="no-size", hint="Run a model that measures what it finds, or import its diameters.",
        )  # fmt: skip

    def cpm(weights: NDArray[np.float64]) -> float:
        cancel.check()
        return froc(match(findings, fuse_candidates(tables, weights.tolist(), how.iou), ids)).cpm

    return search_weights(cpm, len(tables), cases, steps=how.steps)


def _fusion(
    findings: FindingTable, tables: Sequence[CandidateTable], cases: Sequence[CaseRecord], how: SearchSettings,
    cancel: CancelToken,
) -> FoundWeights:  # fmt: skip
    proposed, judged = tables[0], _in_order_of(tables[0], tables[1])
    cpm = cpm_by_scores(findings, proposed, [case.case_id for case in cases])

    def value(scores: NDArray[np.float64]) -> float:
        cancel.check()
        return cpm(scores)

    return search_fusion(value, proposed.scores, judged.scores, cases, rule=how.rule, steps=how.steps)


def _in_order_of(proposed: CandidateTable, judged: CandidateTable) -> CandidateTable:
    """Return the candidates of a classifier's run in the order of the detector's that it judged."""
    orders = [
        np.lexsort((*np.round(table.centres / SAME_PLACE_MM).T, table.case_ids))
        for table in (proposed, judged)
    ]
    places = np.empty(len(proposed), np.intp)
    if len(proposed) == len(judged):
        places[orders[0]] = orders[1]
        ordered = judged.where(places)
        is_same = (ordered.case_ids == proposed.case_ids).all()
        if is_same and np.allclose(ordered.centres, proposed.centres, atol=SAME_PLACE_MM):
            return ordered
    raise InputRefusedError(
        f"The classifier's run holds {len(judged)} candidates and the detector's {len(proposed)}, or they lie elsewhere.",
        code="other-candidates", hint="Run the classifier on the detector's run again.",
    )  # fmt: skip


def _digest(cases: Sequence[CaseRecord], findings: FindingTable) -> str:
    """Return SHA-256 of what the weights were searched on."""
    said = [
        [
            case.case_id,
            case.fingerprint,
            findings.ids[rows].tolist(),
            findings.centres[rows].tolist(),
            findings.diameters[rows].tolist(),
            findings.is_excluded[rows].tolist(),
        ]
        for case in sorted(cases, key=lambda case: case.case_id)
        for rows in [findings.case_ids == case.case_id]
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
