"""Bringing predictions that were made elsewhere into a project, as a finished run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Candidate
from napari_medlab.annotations.formats.luna16 import read_candidates, read_series
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid
from napari_medlab.project.edits import add_candidates, add_run, finish_case, finish_run
from napari_medlab.project.reference import cases_by_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_medlab.annotations import CandidateTable
    from napari_medlab.project.project import Project

__all__ = ["ImportedPredictions", "import_predictions"]

MODEL = "imported"
"""What a model is called whose name nobody gave."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


@dataclass(frozen=True)
class ImportedPredictions:
    """What became of a table of predictions.

    Parameters
    ----------
    run_id, model : str
    candidates, cases : int
        What is new to the project; a case without any candidate counts, too.
    already : int
        The cases that an earlier import of the same table was done with.
    unmatched_series : tuple of str
        The series for which the project has no case.
    unlisted_candidates : int
        The candidates that were left out because their series is not among those that were asked for.
    outside_image : int
        The new candidates that do not lie inside their image.
    """

    run_id: str
    model: str
    candidates: int
    cases: int
    already: int
    unmatched_series: tuple[str, ...]
    unlisted_candidates: int
    outside_image: int


def import_predictions(
    project: Project,
    table: Path,
    *,
    model: str = MODEL,
    series: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ImportedPredictions:
    """Add the candidates of a LUNA16 submission to the cases that are named after its series, as a finished run.

    The run is known by the content of the table: where the same table comes again, only cases are added that
    the run is not done with, so that an import which was cut short is taken up, and cases that were added later
    get their candidates.

    Parameters
    ----------
    project : Project
    table : Path
        A CSV file with ``seriesuid, coordX, coordY, coordZ, probability``; world coordinates, LPS mm.
    model : str
        The name under which the run is listed.
    series : Path, optional
        A list of the series that were looked at, one a line; those that occur in the table where left out. The run
        is done with each of them, so that a scan without candidates counts.
    on_progress : callable, optional
        Called with the cases done and all cases.

    Raises
    ------
    InputRefusedError
        ``csv`` or ``file`` where a table cannot be read; ``no-series`` and ``ambiguous-series`` as
        :func:`import_reference`; ``empty`` where there is nothing to import; ``wrong-kind`` where a case is no
        volume; ``exists`` where the same table was imported under another name; ``name`` for an unusable name.
    """
    if NAME.fullmatch(model) is None:
        raise InputRefusedError(
            f"A model cannot be called {model[:80]!r}.",
            code="name",
            hint="Use up to 64 letters, digits, spaces, '.', '_' and '-', beginning with a letter or a digit.",
        )
    candidates = read_candidates(table)
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    run_id = digest[:32]
    wanted = list(dict.fromkeys(candidates.case_ids.tolist())) if series is None else read_series(series)
    if not wanted:
        raise InputRefusedError(
            f"{table.name} holds no candidate, and no list says which series were looked at.",
            code="empty",
            hint="Name them with --cases.",
        )
    by_name = cases_by_name(project, set(wanted))
    grids = _grids(project, set(by_name.values()))
    _begin(project, run_id, model, digest)
    done = project.cases_done(run_id)
    pending = [name for name in wanted if name in by_name and by_name[name] not in done]
    added = outside = 0
    for number, name in enumerate(pending, start=1):
        found = _candidates_of(candidates, name, (run_id, by_name[name]))
        _commit_case(project, run_id, by_name[name], found)
        added += len(found)
        outside += _outside(grids[by_name[name]], found)
        if on_progress is not None:
            on_progress(number, len(pending))
    if not project.run(run_id).is_finished:
        project.commit(finish_run(run_id))
    return ImportedPredictions(
        run_id=run_id,
        model=model,
        candidates=added,
        cases=len(pending),
        already=len(by_name) - len(pending),
        unmatched_series=tuple(sorted(set(wanted) - set(by_name))),
        unlisted_candidates=int((~np.isin(candidates.case_ids, wanted)).sum()),
        outside_image=outside,
    )


def _begin(project: Project, run_id: str, model: str, digest: str) -> None:
    """Add the run where it is not there yet; refuse a table that is there under another name."""
    for run in project.runs():
        if run.run_id == run_id:
            known = run.configuration.get("model")
            if known == model:
                return
            raise InputRefusedError(
                f"This very table was imported already, as the run {run_id} of {known!r}.",
                code="exists",
                hint=f"Give the same name, with --model {known!r}, to add cases that the run is not done with.",
            )
    project.commit(add_run(run_id, "", {"model": model, "predictions_sha256": digest}))


def _grids(project: Project, wanted: set[str]) -> dict[str, Grid | None]:
    """Return the grid of each case, None where it is not known; refuse cases that are no volumes."""
    cases = [case for case in project.cases() if case.case_id in wanted]
    planar = [case.case_id for case in cases if case.kind != "volume"]
    if planar:
        raise InputRefusedError(
            f"{len(planar)} of the {len(cases)} cases are no volumes, beginning with {planar[0]}.",
            code="wrong-kind",
            hint="A LUNA16 table places candidates in volumes.",
        )
    return {case.case_id: Grid.from_json(case.grid) if case.grid else None for case in cases}


def _candidates_of(table: CandidateTable, series: str, place: tuple[str, str]) -> list[Candidate]:
    """Return the candidates of one series, with ids made from the run, the case and the line."""
    run_id, case_id = place
    return [
        Candidate(
            case_id,
            tuple(table.centres[row].tolist()),
            float(table.scores[row]),
            float(table.diameters[row]),
            str(table.labels[row]),
            hashlib.sha256(f"{run_id} {case_id} {row}".encode()).hexdigest()[:32],
        )
        for row in np.flatnonzero(table.case_ids == series).tolist()
    ]


def _commit_case(project: Project, run_id: str, case_id: str, found: list[Candidate]) -> None:
    if found:
        project.commit(add_candidates(run_id, case_id, 0, found))
    project.commit(finish_case(run_id, case_id, 0.0))


def _outside(grid: Grid | None, found: list[Candidate]) -> int:
    """Count the candidates whose centre lies more than half a voxel outside their image."""
    if grid is None or not found:
        return 0
    index: NDArray[np.float64] = grid.to_index(np.asarray([one.centre for one in found]))
    inside = (index >= -0.5) & (index <= np.asarray(grid.shape) - 0.5)
    return int((~inside.all(axis=1)).sum())
