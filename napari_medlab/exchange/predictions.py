"""Bringing predictions that were made elsewhere into a project, as a finished run, from any format that is read."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.annotations import Candidate
from napari_medlab.errors import InputRefusedError
from napari_medlab.exchange.contents import digest_of
from napari_medlab.exchange.matched import Matched, matched
from napari_medlab.geometry import Grid
from napari_medlab.project.edits import add_candidates, add_regions, add_run, finish_case, finish_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_medlab.exchange.contents import Wanted
    from napari_medlab.exchange.placing import PlacedObjects
    from napari_medlab.project import CaseRecord, Project

__all__ = ["MODEL", "ImportedPredictions", "import_predictions"]

MODEL = "imported"
"""What a model is called whose name nobody gave."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")
WITHOUT_SCORE = 1.0
"""The score of an object for which the file states none."""


@dataclass(frozen=True)
class ImportedPredictions:
    """What became of a file of predictions.

    Parameters
    ----------
    format, run_id, model : str
    candidates, outlines, cases : int
        What is new to the project; a case without any candidate counts, too.
    already : int
        The cases that an earlier import of the same file was done with.
    unmatched_series : tuple of str
        The names for which the project has no case.
    unlisted_candidates : int
        The objects that were left out because their image is not among those that were asked for.
    outside_image : int
        The new candidates that do not lie inside their image.
    without_score : int
        The new candidates for which the file states no score: theirs is 1.
    """

    format: str
    run_id: str
    model: str
    candidates: int
    outlines: int
    cases: int
    already: int
    unmatched_series: tuple[str, ...]
    unlisted_candidates: int
    outside_image: int
    without_score: int


def import_predictions(
    project: Project,
    wanted: Wanted | Matched,
    *,
    model: str = MODEL,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> ImportedPredictions:
    """Add the objects of a file as the candidates of a finished run, with their outlines where it has some.

    The run is known by the content of the file, and by the classes that were given on the way in: where the same file
    comes again, only cases are added that the run is not done with, so that an import which was cut short is taken up,
    and cases that were added later get their candidates. The run is done with every case that the file, or the list
    beside it, names: an image without candidates counts.

    Parameters
    ----------
    project : Project
    wanted : Wanted or Matched
    model : str
        The name under which the run is listed.
    on_progress, stop : callable, optional
        As in :func:`napari_medlab.exchange.reference.import_reference`.

    Raises
    ------
    InputRefusedError
        As :func:`napari_medlab.exchange.matched.matched`; ``exists`` where the same file was imported under another
        name; ``name`` for an unusable name. Nothing is changed then.
    """
    if NAME.fullmatch(model) is None:
        raise InputRefusedError(
            f"A model cannot be called {model[:80]!r}.",
            code="name",
            hint="Use up to 64 letters, digits, spaces, '.', '_' and '-', beginning with a letter or a digit.",
        )
    found = (
        wanted
        if isinstance(wanted, Matched)
        else matched(project, replace(wanted, is_predicted=True), stop=stop)
    )
    digest = digest_of(found.wanted.path)
    run_id = _run_id(digest, found.wanted)
    _begin(project, run_id, {"model": model, "predictions_sha256": digest})
    done = project.cases_done(run_id)
    pending = {name: case for name, case in found.cases.items() if case.case_id not in done}
    added = _Added()
    for number, (name, case) in enumerate(pending.items(), start=1):
        if stop is not None:
            stop()
        added.case(project, run_id, case, found.objects[name])
        if on_progress is not None:
            on_progress(number, len(pending))
    if not project.run(run_id).is_finished:
        project.commit(finish_run(run_id))
    return ImportedPredictions(
        format=found.contents.format.name,
        run_id=run_id,
        model=model,
        candidates=added.candidates,
        outlines=added.outlines,
        cases=len(pending),
        already=len(found.cases) - len(pending),
        unmatched_series=found.unmatched,
        unlisted_candidates=_unlisted(found),
        outside_image=added.outside,
        without_score=added.without_score,
    )


class _Added:
    """Adds the candidates of one case after the other, and counts."""

    def __init__(self) -> None:
        self.candidates = self.outlines = self.outside = self.without_score = 0

    def case(self, project: Project, run_id: str, case: CaseRecord, objects: PlacedObjects | None) -> None:
        """Put on disk what a file says of one case, and that the run is done with it."""
        if objects is not None and len(objects):
            self._objects(project, run_id, case, objects)
        project.commit(finish_case(run_id, case.case_id, 0.0))

    def _objects(self, project: Project, run_id: str, case: CaseRecord, objects: PlacedObjects) -> None:
        unscored = np.isnan(objects.scores)
        scored = replace(objects, scores=np.where(unscored, WITHOUT_SCORE, objects.scores))
        ids = scored.candidate_ids(run_id)
        project.commit(add_candidates(run_id, case.case_id, 0, _candidates(scored, ids)))
        outlines = scored.outlines(ids)
        if outlines is not None:
            project.commit(add_regions(case.case_id, run_id, outlines, run_id))
            self.outlines += len(outlines)
        self.candidates += len(scored)
        self.without_score += int(unscored.sum())
        self.outside += scored.count_outside(Grid.from_json(case.grid) if case.grid else None)


def _candidates(objects: PlacedObjects, ids: list[str]) -> list[Candidate]:
    columns = (
        objects.centres.tolist(),
        objects.scores.tolist(),
        objects.diameters.tolist(),
        objects.labels,
        ids,
    )
    return [
        Candidate(objects.case_id, tuple(centre), score, diameter, label, candidate_id)
        for centre, score, diameter, label, candidate_id in zip(*columns, strict=True)
    ]


def _run_id(digest: str, wanted: Wanted) -> str:
    """Return the id of a run: that of the file where its classes are the file's own."""
    if not wanted.only_class and not wanted.names:
        return digest[:32]
    given = f"{digest} {wanted.only_class!r} {sorted(wanted.names.items())}"
    return hashlib.sha256(given.encode()).hexdigest()[:32]


def _begin(project: Project, run_id: str, configuration: dict[str, str]) -> None:
    """Add the run where it is not there yet; refuse a file that is there under another name."""
    for run in project.runs():
        if run.run_id == run_id:
            known = run.configuration.get("model")
            if known == configuration["model"]:
                return
            raise InputRefusedError(
                f"This very file was imported already, as the run {run_id} of {known!r}.",
                code="exists",
                hint=f"Give the same name, with --model {known!r}, to add cases that the run is not done with.",
            )
    project.commit(add_run(run_id, "", configuration))


def _unlisted(found: Matched) -> int:
    """Count the objects on images that are not among those that were listed."""
    if found.wanted.listed is None:
        return 0
    listed = {*found.cases, *found.unmatched}
    return sum(found.contents.count(name) for name in found.contents.names if name not in listed)
