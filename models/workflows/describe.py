"""From a run to where it fails: every finding and candidate described, then the slices in which errors gather."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_medlab.errors import MedlabError
from napari_medlab.evaluation import froc, match
from napari_medlab.hardcases.describing.descriptors import (
    DESCRIPTORS_VERSION,
    ColumnTitle,
    DescriptorTable,
    describe,
)
from napari_medlab.hardcases.describing.object_cache import cache_key, keep_arrays, kept_arrays
from napari_medlab.hardcases.failures.slices import failure_slices
from napari_medlab.jobs.cancellation import CancelledError
from napari_medlab.project import open_case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable, FindingTable
    from napari_medlab.evaluation import MatchTable
    from napari_medlab.hardcases.failures.slices import FailureSlice, SliceSearch
    from napari_medlab.project import CaseRecord, Project

    Watch = tuple[Callable[[int, int], None] | None, Callable[[], None] | None]

__all__ = [
    "LOOSE_FP_PER_SCAN",
    "DescribedRun",
    "RunObjects",
    "WhereItFails",
    "describe_run",
    "objects_of_run",
    "over_cases",
    "where_it_fails",
]

Value = TypeVar("Value")

LOOSE_FP_PER_SCAN = 8.0
"""Candidates are described down to the score at which a run marks this many false positives per scan."""

CACHE = "descriptors"
SIDES = {"R": "right", "L": "left"}


@dataclass(frozen=True, eq=False)
class RunObjects:
    """What there is to look at in a run.

    Parameters
    ----------
    cases : tuple of CaseRecord
        The training cases that the run is done with; frozen cases are never among them.
    findings : FindingTable
    candidates : CandidateTable
        Those above the loose limit.
    """

    cases: tuple[CaseRecord, ...]
    findings: FindingTable
    candidates: CandidateTable

    def among(self, case_ids: Sequence[str]) -> RunObjects:
        """Return the objects of some of the cases, case by case."""
        wanted = set(case_ids)
        cases = tuple(case for case in self.cases if case.case_id in wanted)
        rank = {case.case_id: number for number, case in enumerate(cases)}
        return RunObjects(
            cases,
            self.findings.where(_ranked(self.findings.case_ids, rank)),
            self.candidates.where(_ranked(self.candidates.case_ids, rank)),
        )

    def points(self) -> NDArray[np.float64]:
        """Return the centres of the findings, then those of the candidates, in as many coordinates as both have."""
        tables = [table.centres for table in (self.findings, self.candidates) if len(table)]
        dims = min((centres.shape[1] for centres in tables), default=3)
        return np.concatenate([np.zeros((0, dims)), *(centres[:, :dims] for centres in tables)])

    def diameters(self) -> NDArray[np.float64]:
        """Return the diameters in the same order."""
        return np.concatenate([self.findings.diameters, self.candidates.diameters])

    def ids(self) -> NDArray[np.str_]:
        """Return the ids in the same order."""
        return np.concatenate([self.findings.ids, self.candidates.ids])

    def cases_of_rows(self) -> NDArray[np.str_]:
        """Return the case of each object in the same order."""
        return np.concatenate([self.findings.case_ids, self.candidates.case_ids])

    def by_case(self) -> list[RunObjects]:
        """Return the objects of each case; they must lie case by case, as :meth:`among` leaves them."""
        ids = [case.case_id for case in self.cases]
        found, proposed = (_rows_of_cases(table.case_ids, ids) for table in (self.findings, self.candidates))
        return [
            RunObjects((case,), self.findings.where(rows), self.candidates.where(marks))
            for case, rows, marks in zip(self.cases, found, proposed, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class DescribedRun:
    """The objects of a run with their descriptors.

    Parameters
    ----------
    run_id : str
    objects : RunObjects
        Of the cases whose images could be read, case by case.
    findings, candidates : DescriptorTable
        Row by row what ``objects.findings`` and ``objects.candidates`` hold.
    skipped : dict
        Cases that were left out, and why: their images cannot be read.
    """

    run_id: str
    objects: RunObjects
    findings: DescriptorTable
    candidates: DescriptorTable
    skipped: dict[str, str]


@dataclass(frozen=True, eq=False)
class WhereItFails:
    """The slices of a run at an operating point, the strongest evidence first.

    Parameters
    ----------
    findings : list of FailureSlice
        Where findings are missed more often; ``rows`` are rows of ``DescribedRun.objects.findings``.
    candidates : list of FailureSlice
        Where marks are wrong more often; ``rows`` are rows of ``DescribedRun.objects.candidates``.
    undescribed : int
        Findings and marks at the operating point that were not looked at, because their images cannot be read or they
        lie below the loose limit.
    """

    findings: list[FailureSlice]
    candidates: list[FailureSlice]
    undescribed: int


def objects_of_run(project: Project, run_id: str) -> RunObjects:
    """Return the findings and the candidates of the training cases that a run is done with.

    Raises
    ------
    ProjectError
        Where there is no such run.
    """
    project.run(run_id)
    done = project.cases_done(run_id)
    cases = tuple(c for c in project.cases() if c.case_id in done and c.split == "train" and not c.frozen)
    ids = [case.case_id for case in cases]
    findings, candidates = project.findings(), project.candidates(run_id)
    limit = froc(match(findings, candidates, ids)).threshold_at(LOOSE_FP_PER_SCAN)
    objects = RunObjects(cases, findings, candidates.where(candidates.scores >= limit))
    return objects.among(ids)


def describe_run(
    project: Project,
    run_id: str,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> DescribedRun:
    """Return the descriptors of all objects of a run; what an earlier call computed is taken from the cache.

    Parameters
    ----------
    project : Project
    run_id : str
    on_progress : callable, optional
        Called with the objects done and in all.
    stop : callable, optional
        Called between objects; it raises where nobody wants the answer any more. Cases that were finished are kept.

    Raises
    ------
    ProjectError
        Where there is no such run.
    """
    objects = objects_of_run(project, run_id)
    kept, tables, skipped = over_cases(
        objects, lambda part, told: _described(project, run_id, part, told, stop), (on_progress, stop)
    )
    readable = objects.among([part.cases[0].case_id for part in kept])
    findings, candidates = (DescriptorTable.joined([pair[k] for pair in tables]) for k in range(2))
    return DescribedRun(run_id, readable, findings, candidates, skipped)


def over_cases(
    objects: RunObjects,
    compute: Callable[[RunObjects, Callable[[int, int], None]], Value],
    watch: Watch,
    is_fatal: Callable[[Exception], bool] = lambda _: False,
) -> tuple[list[RunObjects], list[Value], dict[str, str]]:
    """Compute something for the objects of each case.

    Parameters
    ----------
    objects : RunObjects
    compute : callable
        Called with the objects of a case and what is to be told of its own progress, (done, total).
    watch : (on_progress, stop)
        As in :func:`describe_run`.
    is_fatal : callable
        Whether an error ends all of it; a case with any other one is left out.

    Returns
    -------
    The objects of each case that could be read, what was computed for it, and why others were left out, by case.
    """
    on_progress, stop = watch
    done, total = 0, len(objects.ids())
    kept: list[RunObjects] = []
    values: list[Value] = []
    skipped: dict[str, str] = {}
    for part in objects.by_case():
        if stop is not None:
            stop()

        def told(here: int, _: int, before: int = done) -> None:
            if on_progress is not None:
                on_progress(before + here, total)

        try:
            values.append(compute(part, told))
            kept.append(part)
        except CancelledError:
            raise
        except (MedlabError, OSError) as error:
            if is_fatal(error):
                raise
            skipped[part.cases[0].case_id] = str(error)
        done += len(part.ids())
        told(0, 0, done)
    return kept, values, skipped


def where_it_fails(
    described: DescribedRun,
    match_at_point: MatchTable,
    *,
    search: SliceSearch | None = None,
    stop: Callable[[], None] | None = None,
) -> WhereItFails:
    """Return the slices in which a run misses more findings, and those in which more of its marks are wrong.

    Parameters
    ----------
    described : DescribedRun
    match_at_point : MatchTable
        Of the same run at an operating point, as :func:`napari_medlab.evaluation.match_at` returns it.
    search : SliceSearch, optional
    stop : callable, optional
        As in :func:`napari_medlab.hardcases.failures.slices.failure_slices`.
    """
    objects = described.objects
    missed = _outcomes(match_at_point.finding_id, match_at_point.kind, ("tp", "fn"), "fn")
    wrong = _outcomes(match_at_point.candidate_id, match_at_point.kind, ("tp", "fp"), "fp")
    patients = {case.case_id: case.group for case in objects.cases}

    def slices(
        table: DescriptorTable, rows_of: FindingTable | CandidateTable, outcome: dict[str, bool], measure: str
    ) -> tuple[list[FailureSlice], int]:
        rows = np.asarray([r for r, key in enumerate(rows_of.ids.tolist()) if key in outcome], dtype=np.intp)
        failed = [outcome[key] for key in rows_of.ids[rows].tolist()]
        owners = np.asarray([patients[key] for key in rows_of.case_ids[rows].tolist()], dtype=np.str_)
        found = failure_slices(table.where(rows), failed, owners, measure=measure, search=search, stop=stop)
        return [replace(one, rows=rows[one.rows]) for one in found], len(outcome) - len(rows)

    findings, unseen = slices(described.findings, objects.findings, missed, "sensitivity")
    candidates, unmarked = slices(described.candidates, objects.candidates, wrong, "precision")
    return WhereItFails(findings, candidates, unseen + unmarked)


def _outcomes(
    ids: NDArray[np.str_], kinds: NDArray[np.str_], counted: tuple[str, ...], failure: str
) -> dict[str, bool]:
    rows = np.flatnonzero(np.isin(kinds, counted))
    return {str(ids[row]): str(kinds[row]) == failure for row in rows}


def _described(
    project: Project,
    run_id: str,
    part: RunObjects,
    told: Callable[[int, int], None],
    stop: Callable[[], None] | None,
) -> tuple[DescriptorTable, DescriptorTable]:
    """Return the descriptors of one case's findings and candidates."""
    case, n = part.cases[0], len(part.findings)
    if n + len(part.candidates) == 0:
        return DescriptorTable({}, {}, {}, 0), DescriptorTable({}, {}, {}, 0)
    centres = part.points()
    diameters, ids = part.diameters(), part.ids()
    facts = facts_of(case)
    key = cache_key(
        DESCRIPTORS_VERSION, case.fingerprint, case.decisions, run_id, facts, ids, centres, diameters
    )
    table = _table_of(kept_arrays(CACHE, key), len(ids))
    if table is None:
        table = describe(
            open_case(project, case.case_id), centres, diameters, facts=facts, on_progress=told, stop=stop
        )
        keep_arrays(CACHE, key, _arrays_of(table))
    labels = {"label": np.concatenate([part.findings.labels, part.candidates.labels])}
    table = table.with_categories(labels)
    return table.where(np.arange(n)), table.where(np.arange(n, len(ids)))


def facts_of(case: CaseRecord) -> dict[str, str]:
    """Return what is known about a case in words: its modality, and side and projection of a mammogram."""
    side = SIDES.get(case.view[:1], "") if case.kind == "mammogram" else ""
    return {"modality": case.modality, "view": case.view[1:] if side else case.view, "side": side}


def _ranked(case_ids: NDArray[np.str_], rank: dict[str, int]) -> NDArray[np.intp]:
    """Return the rows of the ranked cases, case by case and in their order."""
    ranks = np.asarray([rank.get(key, -1) for key in case_ids.tolist()], dtype=np.intp)
    order = np.argsort(ranks, kind="stable")
    return order[int((ranks < 0).sum()) :]


def _rows_of_cases(case_ids: NDArray[np.str_], cases: list[str]) -> list[NDArray[np.intp]]:
    """Return the rows of each case, where they lie case by case in the order of ``cases``."""
    counts = Counter(case_ids.tolist())
    ends = np.cumsum([0, *(counts[case] for case in cases)])
    return [np.arange(start, stop) for start, stop in pairwise(ends.tolist())]


def _arrays_of(table: DescriptorTable) -> dict[str, NDArray[Any]]:
    titles = [
        [name, table.title(name).title, table.title(name).unit]
        for name in (*table.numbers, *table.categories)
    ]
    return {
        **{f"number {name}": column for name, column in table.numbers.items()},
        **{f"category {name}": column for name, column in table.categories.items()},
        "titles": np.asarray(titles, dtype=np.str_).reshape(-1, 3),
        "n": np.asarray(len(table)),
    }


def _table_of(arrays: dict[str, NDArray[Any]] | None, expected: int) -> DescriptorTable | None:
    """Return the table that was kept; None where it is not what it should be."""
    if arrays is None or "titles" not in arrays or int(arrays.get("n", np.asarray(-1))) != expected:
        return None
    titles = {name: ColumnTitle(title, unit) for name, title, unit in arrays["titles"].tolist()}
    columns = {name.partition(" ")[::2]: column for name, column in arrays.items() if " " in name}
    numbers = {name: column for (kind, name), column in columns.items() if kind == "number"}
    categories = {name: column for (kind, name), column in columns.items() if kind == "category"}
    return DescriptorTable(numbers, categories, titles, expected)
