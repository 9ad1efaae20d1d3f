"""Running a bundle over the cases of a project: every batch is committed before anybody draws it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.annotations import Candidate, new_id
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs.cancellation import CancelledError
from napari_medlab.jobs.worker_process import WorkerDiedError
from napari_medlab.models.bundles import shipped_bundles
from napari_medlab.models.postprocessing import checked_threshold
from napari_medlab.models.workflows.committing import CaseResults
from napari_medlab.project.edits import add_bundle, add_run, finish_case, finish_run
from napari_medlab.project.records import BundleRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.project import Project
    from napari_medlab.project.records import Origin, RunRecord
    from napari_medlab.protocols import Focus

__all__ = ["PredictOptions", "RunEvent", "mask_folder", "register_bundle", "run_bundle"]


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
    kind : {"started", "progress", "mask", "batch", "case done", "case failed"}
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
    """

    kind: Literal["started", "progress", "mask", "batch", "case done", "case failed"]
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
    project: Project, bundle: Bundle, case_ids: Sequence[str], worker: Worker, cancel: CancelToken,
    *, options: PredictOptions | None = None,
) -> Iterator[RunEvent]:  # fmt: skip
    """Run a bundle over cases and commit what it finds; a generator, to be driven off the GUI thread.

    Cases that an earlier run of the same bundle is done with are not computed again: that run is taken up.

    Parameters
    ----------
    project : open for writing
    bundle : Bundle
    case_ids : in the order in which they are wanted
    worker : what serves :data:`napari_medlab.models.inference.worker.HANDLERS`
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
    """
    is_shipped = any(known.hash == bundle.hash for known in shipped_bundles())
    register_bundle(project, bundle, "shipped" if is_shipped else "imported")
    running = _Running(project, bundle, worker, cancel, options or PredictOptions())
    finished = running.begin(case_ids)
    pending = [case_id for case_id in case_ids if case_id not in finished]
    total = len(case_ids)
    done = total - len(pending)
    yield RunEvent("started", running.run_id, "", done, total)
    for case_id in pending:
        for event in running.case(case_id, done, total):
            done = event.done
            yield event
    if not project.run(running.run_id).is_finished:
        project.commit(finish_run(running.run_id))


@dataclass
class _Running:
    """A run at work."""

    project: Project
    bundle: Bundle
    worker: Worker
    cancel: CancelToken
    options: PredictOptions
    run_id: str = ""
    precision: str = ""

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

    def case(self, case_id: str, done: int, total: int) -> Iterator[RunEvent]:
        """Yield what happens to one case, and commit what is found."""
        mask: Path | None = None
        try:
            request, seconds = self._request(case_id), 0.0
            results = CaseResults(self.project, self.run_id, case_id)
            for event in self.worker.events(request, self.cancel):
                kind = event["event"]
                if kind == "batch":
                    found = results.commit(event["candidates"])
                    yield RunEvent("batch", self.run_id, case_id, done, total, found)
                elif kind == "progress":
                    yield RunEvent("progress", self.run_id, case_id, done, total,
                                   tiles_done=event["done"], tiles_total=event["total"])  # fmt: skip
                elif kind == "mask":
                    mask, box = Path(request["mask"]), (tuple(event["start"]), tuple(event["stop"]))
                    yield RunEvent(
                        "mask", self.run_id, case_id, done, total, mask=mask, box=box, is_partial=True
                    )
                elif kind == "seconds":
                    seconds = float(event["seconds"])
            self.project.commit(finish_case(self.run_id, case_id, seconds))
            yield RunEvent("case done", self.run_id, case_id, done + 1, total, seconds=seconds, mask=mask)
        except (CancelledError, WorkerDiedError):
            if mask is not None:
                yield RunEvent("mask", self.run_id, case_id, done, total, mask=mask, is_partial=True)
            raise
        except MedlabError as error:
            yield RunEvent("case failed", self.run_id, case_id, done + 1, total, error=str(error), mask=mask,
                           is_partial=mask is not None)  # fmt: skip

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
        for event in self.worker.events({"op": "warm_up", **self._model()}, self.cancel):
            if event["event"] == "backend":
                chosen["backend"] = {
                    key: value for key, value in event.items() if key not in ("event", "job")
                }
            elif event["event"] == "ready":
                chosen["tiling"] = event["tiling"]
        return chosen

    def _model(self) -> dict[str, Any]:
        return {
            "bundle": str(self.bundle.folder), "device": self.options.device, "precision": self.precision,
            "compile": self.options.may_compile, "threshold": self.options.threshold,
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
        mask.parent.mkdir(parents=True, exist_ok=True)
        if mask.exists():
            stale = mask.with_name(f"{mask.name}.stale-{new_id()[:8]}")
            mask.rename(stale)
            shutil.rmtree(stale)
        return mask
