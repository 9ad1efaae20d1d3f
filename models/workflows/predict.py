"""Running a bundle over the cases of a project: every batch is committed before anybody draws it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.errors import MedlabError
from napari_medlab.jobs.cancellation import CancelledError
from napari_medlab.jobs.worker_process import WorkerDiedError
from napari_medlab.models.bundles import shipped_bundles
from napari_medlab.project.edits import add_bundle, add_candidates, add_run, finish_case, finish_run
from napari_medlab.project.records import BundleRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import WorkerProcess
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import Project
    from napari_medlab.project.records import Origin

__all__ = ["RunEvent", "register_bundle", "run_bundle"]


@dataclass(frozen=True)
class RunEvent:
    """What happens during a run.

    Parameters
    ----------
    kind : {"started", "batch", "case done", "case failed"}
    run_id : str
        Every event carries its run, so that a stale one can be dropped.
    case_id : str
    done, total : int
        Cases finished, failed ones included, and cases in all.
    candidates : list of Candidate
        Of a batch; already committed.
    error : str
        Why a case failed; the others go on.
    seconds : float
        How long the case took in the worker.
    """

    kind: Literal["started", "batch", "case done", "case failed"]
    run_id: str
    case_id: str
    done: int
    total: int
    candidates: list[Candidate] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0


def register_bundle(project: Project, bundle: Bundle, origin: Origin) -> None:
    """Make a bundle known to a project, where it is not yet."""
    if any(known.hash == bundle.hash for known in project.bundles()):
        return
    inside = bundle.folder.is_relative_to(project.folder)
    path = bundle.folder.relative_to(project.folder).as_posix() if inside else str(bundle.folder)
    record = BundleRecord(bundle.hash, path, bundle.name, bundle.spec.get("parent"), origin, bundle.spec.get("figures", {}))
    project.commit(add_bundle(record))


def run_bundle(
    project: Project, bundle: Bundle, case_ids: Sequence[str], worker: WorkerProcess, cancel: CancelToken
) -> Iterator[RunEvent]:
    """Run a bundle over cases and commit what it finds; a generator, to be driven off the GUI thread.

    Cases that an earlier run of the same bundle is done with are not computed again: that run is taken up.

    Parameters
    ----------
    project : open for writing
    bundle : Bundle
    case_ids : in the order in which they are wanted
    worker : a process that serves :data:`napari_medlab.models.inference.worker.MODULE`
    cancel : stops between two tiles; what was committed stays

    Raises
    ------
    CancelledError
        After ``cancel``.
    WorkerDiedError
        Where the process is gone.
    """
    is_shipped = any(known.hash == bundle.hash for known in shipped_bundles())
    register_bundle(project, bundle, "shipped" if is_shipped else "imported")
    run_id, finished = _take_up(project, bundle)
    pending = [case_id for case_id in case_ids if case_id not in finished]
    total = len(case_ids)
    done = total - len(pending)
    yield RunEvent("started", run_id, "", done, total)
    for case_id in pending:
        try:
            for event in _run_case(project, bundle, (run_id, case_id), worker, cancel):
                if isinstance(event, list):
                    yield RunEvent("batch", run_id, case_id, done, total, candidates=event)
                else:
                    done += 1
                    yield RunEvent("case done", run_id, case_id, done, total, seconds=event)
        except (CancelledError, WorkerDiedError):
            raise
        except MedlabError as error:
            done += 1
            yield RunEvent("case failed", run_id, case_id, done, total, error=str(error))
    if not project.run(run_id).is_finished:
        project.commit(finish_run(run_id))


def _take_up(project: Project, bundle: Bundle) -> tuple[str, set[str]]:
    """Return the run of this bundle and the cases it is done with; a new run where there is none."""
    for run in project.runs():
        if run.bundle_hash == bundle.hash:
            return run.run_id, project.cases_done(run.run_id)
    run_id = new_id()
    project.commit(add_run(run_id, bundle.hash, {"postprocessing": bundle.spec["postprocessing"]}))
    return run_id, set()


def _run_case(
    project: Project, bundle: Bundle, place: tuple[str, str], worker: WorkerProcess, cancel: CancelToken
) -> Iterator[list[Candidate] | float]:
    """Yield committed batches of one case, then the seconds it took, when the case is marked as done."""
    run_id, case_id = place
    request = {
        "op": "detect", "bundle": str(bundle.folder), "image": str(project.case_path(case_id)), "case_id": case_id,
        "decisions": project.case(case_id).decisions,
    }  # fmt: skip
    # a case that was cut short is sent again with new ids: those of the batches on disk stay
    stored, told = project.candidates(run_id, case_id).ids.tolist(), 0
    seconds, batch = 0.0, 0
    for event in worker.events(request, cancel):
        if event["event"] == "batch":
            rows = event["candidates"]
            ids = (stored[told : told + len(rows)] + [row[0] for row in rows])[: len(rows)]
            told += len(rows)
            found = [
                Candidate(case_id, tuple(centre), score, diameter, label, candidate_id)
                for candidate_id, (_, centre, score, diameter, label) in zip(ids, rows, strict=True)
            ]
            project.commit(add_candidates(run_id, case_id, batch, found))
            batch += 1
            yield found
        elif event["event"] == "seconds":
            seconds = float(event["seconds"])
    project.commit(finish_case(run_id, case_id, seconds))
    yield seconds
