"""Running a bundle over the cases of a project: every batch is committed before anybody draws it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.durable import writing
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.models.bundles import shipped_bundles
from napari_medlab.models.inference.workers import workers_of
from napari_medlab.models.postprocessing import checked_threshold
from napari_medlab.models.workflows.committing import CaseResults
from napari_medlab.project.edits import add_bundle, add_run, finish_case, finish_run
from napari_medlab.project.records import BundleRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.workers import Event, Workers
    from napari_medlab.project import Project
    from napari_medlab.project.records import Origin, RunRecord
    from napari_medlab.protocols import Focus

__all__ = ["PredictOptions", "RunEvent", "mask_folder", "register_bundle", "run_bundle"]

Kind = Literal["started", "workers", "progress", "mask", "batch", "case done", "case failed"]


@dataclass(frozen=True)
class PredictOptions:
    """How a bundle is run.

    Parameters
    ----------
    device, precision : str
        As :func:`napari_medlab.models.predicting.open_model` takes them. A run that is taken up goes on in the precision
        in which it began, unless another one is asked for, which begins a new run.
    may_compile : bool
        Whether ``torch.compile`` may be tried, on CUDA devices, which takes a minute.
    focus : mapping of str to sequence of float
        By case, a point in the world, (x, y[, z]): what is near it is looked at first.
    candidates_of : str
        The run whose candidates a classifier is to judge; of no use to other models.
    threshold : float or None
        The least score, 0 … 1, in place of the bundle's own. Runs at different thresholds are different runs.

    Raises
    ------
    InputRefusedError
        Where the threshold is not between 0 and 1.
    """

    device: str = "auto"
    precision: str = "auto"
    may_compile: bool = False
    focus: Mapping[str, Focus] = field(default_factory=dict)
    candidates_of: str = ""
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None:
            checked_threshold(self.threshold)


@dataclass(frozen=True)
class RunEvent:
    """What happens during a run.

    Parameters
    ----------
    kind : {"started", "workers", "progress", "mask", "batch", "case done", "case failed"}
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
    tiles_done, tiles_total : int
        Of ``"progress"``: how far the case is.
    mask : Path or None
        Of ``"mask"``: the store in which a part of the mask was finished. With ``"case done"`` and ``"case failed"``: the
        store of the case, where there is one.
    box : (start, stop)
        Of ``"mask"``: the part, in voxels of the mask.
    is_partial : bool
        Whether the mask stopped before its end.
    workers : int
        Of ``"workers"``: how many there are now; told by clusters alone.
    """

    kind: Kind
    run_id: str
    case_id: str
    done: int
    total: int
    candidates: list[Candidate] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    tiles_done: int = 0
    tiles_total: int = 0
    mask: Path | None = None
    box: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    is_partial: bool = False
    workers: int = 0


def mask_folder(project: Project, run_id: str, case_id: str) -> Path:
    """Return where the mask of a case lies that a run makes: a zarr store, which may not be there."""
    return project.folder / "masks" / run_id / f"{case_id}.zarr"


def register_bundle(project: Project, bundle: Bundle, origin: Origin) -> None:
    """Make a bundle known to a project, where it is not yet."""
    if any(known.hash == bundle.hash for known in project.bundles()):
        return
    inside = bundle.folder.is_relative_to(project.folder)
    path = bundle.folder.relative_to(project.folder).as_posix() if inside else str(bundle.folder)
    record = BundleRecord(bundle.hash, path, bundle.name, bundle.parent, origin, bundle.figures)
    project.commit(add_bundle(record))


def run_bundle(
    project: Project, bundle: Bundle, case_ids: Sequence[str], worker: Worker | Workers, cancel: CancelToken,
    *, options: PredictOptions | None = None,
) -> Iterator[RunEvent]:  # fmt: skip
    """Run a bundle over cases and commit what it finds; a generator, to be driven off the GUI thread.

    Cases that an earlier run of the same bundle is done with are not computed again: that run is taken up.

    Parameters
    ----------
    project : open for writing
    bundle : Bundle
    case_ids : in the order in which they are wanted
    worker : what serves :data:`napari_medlab.models.inference.worker.HANDLERS`, or many of these
    cancel : stops between two batches of tiles; what was committed stays
    options : PredictOptions, optional

    Raises
    ------
    CancelledError
        After ``cancel``; a mask that was begun is told of first, as a partial one.
    InputRefusedError
        Where the bundle cannot be used, or what was asked for is not to be had here.
    WorkerDiedError
        Where the process is gone.
    MedlabError
        Where the cluster is gone.
    """
    is_shipped = any(known.hash == bundle.hash for known in shipped_bundles())
    register_bundle(project, bundle, "shipped" if is_shipped else "imported")
    running = _Running(project, bundle, workers_of(worker), cancel, options or PredictOptions())
    finished = running.begin(case_ids)
    pending = [case_id for case_id in case_ids if case_id not in finished]
    yield from running.cases(pending, len(case_ids))
    if not project.run(running.run_id).is_finished:
        project.commit(finish_run(running.run_id))


@dataclass
class _AtWork:
    """A case that somebody is at."""

    results: CaseResults | None = None
    seconds: float = 0.0
    mask: Path | None = None
    is_failed: bool = False


@dataclass
class _Running:
    """A run at work."""

    project: Project
    bundle: Bundle
    workers: Workers
    cancel: CancelToken
    options: PredictOptions
    run_id: str = ""
    precision: str = ""
    done: int = 0
    total: int = 0
    at_work: dict[str, _AtWork] = field(default_factory=dict)

    def begin(self, case_ids: Sequence[str]) -> set[str]:
        """Take up the run of this bundle, or begin one; return the cases that it is done with."""
        if self.bundle.task == "classification" and not self.options.candidates_of:
            raise InputRefusedError(
                f"{self.bundle.title} judges candidates and proposes none.", code="no-candidates",
                hint="Name a run whose candidates it is to judge.",
            )  # fmt: skip
        for known in filter(self._serves, self.project.runs()):
            self.run_id = known.run_id
            self.precision = known.configuration.get("backend", {}).get("precision", self.options.precision)
            finished = self.project.cases_done(known.run_id)
            if finished.issuperset(case_ids) or self._can_go_on():
                return finished
        self.run_id, self.precision = new_id(), self.options.precision
        self.project.commit(add_run(self.run_id, self.bundle.hash, self._configuration()))
        return set()

    def cases(self, pending: Sequence[str], total: int) -> Iterator[RunEvent]:
        """Yield what happens to cases, and commit what is found."""
        self.done, self.total = total - len(pending), total
        yield self._event("started", "")
        try:
            for case_id, event in self.workers.answers(pending, self._request, self.cancel):
                if case_id:
                    yield from self._take(case_id, event)
                elif event["event"] == "workers":
                    yield self._event("workers", "", workers=event["count"])
        except MedlabError:
            for case_id, case in self.at_work.items():
                if case.mask is not None:
                    yield self._event("mask", case_id, mask=case.mask, is_partial=True)
            raise

    def _take(self, case_id: str, event: Event) -> Iterator[RunEvent]:
        """Commit what an event says of a case; where that cannot be, the case has failed, whatever else is said of it."""
        case = self.at_work.setdefault(case_id, _AtWork())
        try:
            if not case.is_failed:
                yield from self._commit(case_id, case, event)
        except MedlabError as error:
            case.is_failed = True
            self.done += 1
            yield self._event(
                "case failed", case_id, error=str(error), mask=case.mask, is_partial=case.mask is not None
            )
        if event["event"] in ("done", "failed"):
            del self.at_work[case_id]

    def _commit(self, case_id: str, case: _AtWork, event: Event) -> Iterator[RunEvent]:
        kind = event["event"]
        if kind == "batch":
            case.results = case.results or CaseResults(self.project, self.run_id, case_id)
            found = case.results.commit(event["candidates"])
            yield self._event("batch", case_id, candidates=found)
        elif kind == "progress":
            yield self._event("progress", case_id, tiles_done=event["done"], tiles_total=event["total"])
        elif kind == "mask":
            case.mask, box = (
                mask_folder(self.project, self.run_id, case_id),
                (tuple(event["start"]), tuple(event["stop"])),
            )
            yield self._event("mask", case_id, mask=case.mask, box=box, is_partial=True)
        elif kind == "seconds":
            case.seconds = float(event["seconds"])
        elif kind == "done":
            self.project.commit(finish_case(self.run_id, case_id, case.seconds))
            self.done += 1
            yield self._event("case done", case_id, seconds=case.seconds, mask=case.mask)
        elif kind == "failed":
            raise event["error"]

    def _event(self, kind: Kind, case_id: str, **more: Any) -> RunEvent:  # noqa: ANN401 - the fields of an event
        return RunEvent(kind, self.run_id, case_id, self.done, self.total, **more)

    def _serves(self, run: RunRecord) -> bool:
        """Tell whether a run is of this bundle, of the same candidates, at the threshold and in the precision asked for."""
        said = run.configuration
        precision = said.get("asked", {}).get("precision", "auto")
        return (
            run.bundle_hash == self.bundle.hash
            and said.get("candidates_of", "") == self.options.candidates_of
            and said.get("asked", {}).get("threshold") == self.options.threshold
            and self.options.precision in ("auto", precision)
        )

    def _can_go_on(self) -> bool:
        """Tell whether the precision in which the run began is to be had here."""
        try:
            self._warm_up()
        except InputRefusedError as error:
            if error.code == "precision" and self.precision != self.options.precision:
                return False
            raise
        return True

    def _configuration(self) -> dict[str, Any]:
        """Return what a new run records: what was asked for, and what the worker chose."""
        threshold = {} if self.options.threshold is None else {"threshold": self.options.threshold}
        return {
            "postprocessing": {**self.bundle.postprocessing, **threshold},
            "asked": {"device": self.options.device, "precision": self.options.precision, **threshold},
            **self._warm_up(),
            **({"candidates_of": self.options.candidates_of} if self.options.candidates_of else {}),
        }

    def _warm_up(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {}
        for event in self.workers.events({"op": "warm_up", **self._model()}, self.cancel):
            if event["event"] == "backend":
                chosen["backend"] = {
                    key: value for key, value in event.items() if key not in ("event", "job")
                }
            elif event["event"] == "ready":
                chosen["tiling"] = event["tiling"]
        return chosen

    def _model(self) -> dict[str, Any]:
        return {
            "bundle": str(self.bundle.folder), "hash": self.bundle.hash, "device": self.options.device,
            "precision": self.precision, "compile": self.options.may_compile, "threshold": self.options.threshold,
        }  # fmt: skip

    def _request(self, case_id: str) -> dict[str, Any]:
        request: dict[str, Any] = {
            "op": "predict", **self._model(), "image": str(self.project.case_path(case_id)), "case_id": case_id,
            "decisions": self.project.case(case_id).decisions,
        }  # fmt: skip
        if case_id in self.options.focus:
            request["focus"] = list(self.options.focus[case_id])
        if self.bundle.task == "segmentation":
            request["mask"] = str(self._free_mask(case_id))
        if self.bundle.task == "classification":
            table = self.project.candidates(self.options.candidates_of, case_id)
            columns = (table.centres.tolist(), table.diameters.tolist(), table.labels.tolist())
            request["candidates"] = [list(row) for row in zip(*columns, strict=True)]
        return request

    def _free_mask(self, case_id: str) -> Path:
        """Return where the mask of a case goes; what an attempt left there that was cut short is removed."""
        mask = mask_folder(self.project, self.run_id, case_id)
        with writing(mask):
            mask.parent.mkdir(parents=True, exist_ok=True)
            if mask.exists():
                mask.rename(mask.with_name(f"{mask.name}.stale-{new_id()[:8]}"))
            # and what a process that was killed had no time to remove
            for left in mask.parent.glob(f"{mask.name}.*"):
                shutil.rmtree(left, ignore_errors=True)
        return mask
