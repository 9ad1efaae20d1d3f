"""From a run with verdicts to the examples that a package would hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_medlab.errors import InputRefusedError, MedlabError, ProjectError
from napari_medlab.geometry import Grid
from napari_medlab.hardcases.mining import Chosen, Example, MiningRule, Replay, mine
from napari_medlab.hardcases.mining.rule import REPLAY
from napari_medlab.models.training.packages import read_manifest
from napari_medlab.models.training.parts import BundlePart
from napari_medlab.models.workflows.embed import embed_run
from napari_medlab.models.workflows.hard_classes import warnings_about_classes
from napari_medlab.models.workflows.hard_pools import (
    Reviewed,
    places_clear_of_findings,
    pool_of,
    replayed_findings,
    reviewed_cases,
)
from napari_medlab.project.unread import reading_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from napari_medlab.hardcases.mining import Pool
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import CaseRecord, Project

    Watch = tuple[Callable[[int, int], None] | None, Callable[[], None] | None]

__all__ = ["HardOptions", "choose_examples", "earlier_manifests"]

UNSEEN: Watch = (None, None)
OTHER_KIND, OF_TEST_PATIENT = "cases of other kinds", "cases of patients in the test set"
UNMEASURED, UNREAD = "cases of unknown pixel size", "cases nobody has read"
QUIET_SHARE = {"network": 0.5, "classifier": 1.0}
"""How much of the replay without findings is candidates below the operating point; the rest is random places."""


@dataclass(frozen=True)
class HardOptions:
    """What goes into a package.

    Parameters
    ----------
    fp_per_scan : float
        The operating point that makes the queue. It is looser than the one to read at, which is the model's own threshold:
        many negatives to learn from, few to judge.
    rule : MiningRule
    part : {"network", "classifier"}
        For which part of a model crops are cut: its network, or the classifier that judges a detector's candidates.
    validation_share : float, 0 … below 1
        What share of the patients, or of the frames of each sequence, is for validation.
    folds : int
        Into how many folds patients are dealt; 0 for none.
    split_by : {"patient", "interval"}
        Whether all of a patient is on one side, or evenly spaced cases of each sequence are for validation.
    shape : tuple of int
        Sizes of the crops in voxels of the prepared image; empty for the usual ones.
    margin : int or None
        Voxels on each side of a classifier's cube beyond what it looks at; None for an eighth of its side.

    Raises
    ------
    InputRefusedError
        ``option`` where these make no sense.
    """

    fp_per_scan: float = 4.0
    rule: MiningRule = field(default_factory=MiningRule)
    part: Literal["network", "classifier"] = "network"
    validation_share: float = 0.0
    folds: int = 0
    split_by: Literal["patient", "interval"] = "patient"
    shape: tuple[int, ...] = ()
    margin: int | None = None

    def __post_init__(self) -> None:
        fits = {
            "fp_per_scan": self.fp_per_scan > 0,
            "part": self.part in QUIET_SHARE,
            "validation_share": 0 <= self.validation_share < 1,
            "folds": self.folds == 0 or self.folds >= 2,
            "split_by": self.split_by in ("patient", "interval"),
            "shape": all(side > 0 for side in self.shape),
            "margin": self.margin is None or self.margin >= 0,
        }
        wrong = [f"{name} = {getattr(self, name)!r}" for name, is_usable in fits.items() if not is_usable]
        if wrong:
            raise InputRefusedError(
                f"No package can be made with {', '.join(wrong)}.", code="option",
                hint="Shares are 0 to less than 1; there are no folds or at least two.",
            )  # fmt: skip


def choose_examples(
    project: Project, run_id: str, options: HardOptions | None = None, *, bundle: Bundle | None = None,
    watch: Watch = UNSEEN,
) -> Chosen:  # fmt: skip
    """Return the examples that a package would hold, all of training cases that the run has looked at.

    Nothing is taken of frozen cases, nor of patients who have one, unless cases are frames of a sequence that is split by
    intervals; nor of cases that nobody is known to have read (:func:`napari_medlab.project.unread.reading_of`), where what
    the model marked may well be a lesion.

    Parameters
    ----------
    project : Project
    run_id : str
    options : HardOptions, optional
    bundle : Bundle, optional
        The model that the package is for: cases of kinds that it does not read are left out, and its features tell what is
        alike. Without one all cases count, and looks tell it.
    watch : (on_progress, stop)
        As for :func:`~napari_medlab.models.workflows.embed.embed_run`, which is called where near-duplicates are left out.

    Raises
    ------
    InputRefusedError, ProjectError
        Where there is no such run or strategy, or a frozen case got among the examples; ``other-classes`` where there are
        findings on the cases, and none is of a class that the model learns.
    """
    asked = options or HardOptions()
    cases, left_out = _usable_cases(project, run_id, asked, bundle)
    run = Reviewed.of(project, run_id, cases, asked.fp_per_scan)
    of_classes = (
        [] if bundle is None else warnings_about_classes(run.findings, BundlePart(bundle, asked.part))
    )
    exported = {
        str(record["object_id"])
        for manifest in earlier_manifests(project)
        for record in manifest["examples"]
        if record["object_id"] and record["reason"] != REPLAY
    }
    pool = pool_of(run, asked.rule.kinds, exported)
    if asked.rule.least_difference is not None and len(pool):
        pool = replace(pool, vectors=_vectors(project, run_id, bundle, pool, watch))
    places = list(_quiet_places(pool, run, asked))
    chosen = mine(pool, Replay(replayed_findings(run), places), asked.rule)
    _check_no_leak(project, chosen)
    planar = {case.case_id for case in cases if case.kind != "volume"}
    examples = tuple(replace(e, centre=e.centre[:2]) if e.case_id in planar else e for e in chosen.examples)
    warnings = (*chosen.warnings, *of_classes, *_assumptions(project, chosen))
    return replace(chosen, examples=examples, left_out={**chosen.left_out, **left_out}, warnings=warnings)


def earlier_manifests(project: Project) -> list[dict[str, Any]]:
    """Return the manifests of the project's packages that are still there and of this schema, the oldest first."""
    found = []
    for export in project.exports():
        if export.format == "hard":
            try:
                found.append(read_manifest(project.folder / export.path).about)
            except MedlabError:  # it was moved, or an older version wrote it
                continue
    return found


def _usable_cases(
    project: Project, run_id: str, options: HardOptions, bundle: Bundle | None
) -> tuple[list[CaseRecord], dict[str, int]]:
    """Return the cases that examples may be taken of, and how many were left out for which reason."""
    project.run(run_id)
    cases, unread = reviewed_cases(project, run_id), reading_of(project).unread
    of_test = {c.group for c in project.cases() if c.frozen or c.split != "train"}
    left_out: Counter[str] = Counter()
    usable = []
    for case in cases:
        reason = _unreadable(case, bundle) if bundle is not None else ""
        if not reason and options.split_by == "patient" and case.group in of_test:
            reason = OF_TEST_PATIENT
        if not reason and case.case_id in unread:
            reason = UNREAD
        if reason:
            left_out[reason] += 1
        else:
            usable.append(case)
    return usable, dict(left_out)


def _unreadable(case: CaseRecord, bundle: Bundle) -> str:
    """Return why a model does not read the image of a case; empty where it does."""
    preprocessing = bundle.preprocessing
    if case.kind not in preprocessing.kinds:
        return OTHER_KIND
    is_measured = preprocessing.spacing_mm is not None or preprocessing.spacing_um is not None
    return UNMEASURED if is_measured and case.grid and case.grid.get("unit") == "px" else ""


def _vectors(
    project: Project, run_id: str, bundle: Bundle | None, pool: Pool, watch: Watch
) -> NDArray[np.float32]:
    """Return the embedding of each row of the pool; 0 where it has none."""
    embedded = embed_run(project, run_id, bundle, on_progress=watch[0], stop=watch[1])
    row_of = {key: row for row, key in enumerate(embedded.objects.ids().tolist())}
    vectors = np.zeros((len(pool), embedded.vectors.shape[1]), np.float32)
    for row, key in enumerate(pool.object_id.tolist()):
        if key in row_of:
            vectors[row] = embedded.vectors[row_of[key]]
    return vectors


def _quiet_places(pool: Pool, run: Reviewed, options: HardOptions) -> Iterator[Example]:
    """Yield places without a finding that were not marked: candidates below the operating point, and random ones."""
    rng = np.random.default_rng([options.rule.seed, 2])
    is_quiet = (
        (pool.kind == "background") & (pool.score < run.threshold) & ~pool.is_near_miss & ~pool.is_doubted
    )
    rule = options.rule
    wanted = int(rule.budget * rule.replay_share / (1 - rule.replay_share)) + 1
    quiet = [
        Example(str(pool.case_id[row]), tuple(pool.centre[row].tolist()), REPLAY, object_id=str(pool.object_id[row]))
        for row in rng.permutation(np.flatnonzero(is_quiet))[:wanted]
    ]  # fmt: skip
    places = iter(_random_places(run, rng, wanted))
    share, given = QUIET_SHARE[options.part], 0
    for number in range(wanted):
        if given < len(quiet) and given < share * (number + 1):
            yield quiet[given]
            given += 1
        elif (place := next(places, None)) is not None:
            yield place


def _random_places(run: Reviewed, rng: np.random.Generator, wanted: int) -> Iterator[Example]:
    """Yield random places that are neither in nor beside a finding, the cases taking turns."""
    lattices = [(case.case_id, Grid.from_json(case.grid)) for case in run.cases if case.grid]
    clear = {case_id: places_clear_of_findings(run, case_id) for case_id, _ in lattices}
    given = 0
    for number in range(4 * wanted if lattices else 0):
        case_id, lattice = lattices[number % len(lattices)]
        index = rng.uniform(0.15, 0.85, lattice.ndim) * (np.asarray(lattice.shape) - 1)
        place = lattice.to_world(index)
        if given < wanted and clear[case_id](place[None])[0]:
            given += 1
            yield Example(case_id, tuple(place.tolist()), REPLAY)


def _assumptions(project: Project, chosen: Chosen) -> list[str]:
    """Return what a person ought to know about the cases without findings that examples were taken of."""
    assumed = reading_of(project).assumed_normal & set(chosen.case_ids)
    if not assumed:
        return []
    return [
        f"{len(assumed)} of the cases without a finding count as normal, because the reference covers most others. Where nobody "
        "has read one, write no into its column read: napari-medlab project fields."
    ]


def _check_no_leak(project: Project, chosen: Chosen) -> None:
    """Refuse a choice that holds a case that is not for training."""
    kept_apart = {case.case_id for case in project.cases() if case.frozen or case.split != "train"}
    leaked = kept_apart & set(chosen.case_ids)
    if leaked:
        raise ProjectError(f"{len(leaked)} frozen test cases are among the examples.", code="leak")
