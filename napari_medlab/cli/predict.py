"""``napari-medlab predict``: a model over image files, without a project."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from napari_medlab.cli.cluster_arguments import add_cluster_arguments, cluster_of, say_workers
from napari_medlab.cli.failures import every_case_failed
from napari_medlab.cli.image_arguments import add_pixel_size_argument
from napari_medlab.errors import InputRefusedError, MedlabError
from napari_medlab.jobs import CancelToken
from napari_medlab.verbs import Verb

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from napari_medlab.annotations import Candidate
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.inference.workers import Workers

__all__ = ["VERB", "table_bytes"]

TABLE, MASKS = "candidates.csv", "masks"
COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "probability", "diameter_mm", "class")


@dataclass
class _Case:
    """One image: its series, and what became of it."""

    path: Path
    series: str
    found: list[Candidate] = field(default_factory=list)
    seconds: float | None = None
    error: str | None = None
    reason: str = ""
    """The error with what can be done about it."""
    mask: Path | None = None

    def as_json(self) -> dict[str, Any]:
        told = {
            "path": str(self.path),
            "candidates": len(self.found),
            "seconds": self.seconds,
            "error": self.error,
        }
        return told if self.mask is None else {**told, "mask": str(self.mask.absolute())}


class _Restarted:
    """A worker that is started when it is first needed and again where it died, which fails no more than what it was at."""

    is_alive = True

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def events(self, request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
        from napari_medlab.jobs.worker_process import WorkerDiedError
        from napari_medlab.models.inference.worker import start_worker

        if self._worker is None or not self._worker.is_alive:
            self.close()
            self._worker = start_worker()
        try:
            yield from self._worker.events(request, cancel)
        except WorkerDiedError as error:
            raise MedlabError(error.message, code=error.code, hint=error.hint) from error

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None


@dataclass
class _Run:
    """One model, the way it is to run, and what the worker says that it runs on."""

    bundle: Bundle
    out: Path
    device: str
    precision: str
    may_compile: bool
    threshold: float | None = None
    decisions: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)

    def request(self, op: str) -> dict[str, Any]:
        return {
            "op": op,
            "bundle": str(self.bundle.folder.absolute()),
            "hash": self.bundle.hash,
            "device": self.device,
            "precision": self.precision,
            "compile": self.may_compile,
            "threshold": self.threshold,
        }

    def store(self, series: str) -> Path:
        """Return where the probabilities of a mask are until its labels are written."""
        return (self.out / MASKS / f"{series}.partial").absolute()


def table_bytes(write: Callable[[Path], None]) -> bytes:
    """Return the bytes of the file that ``write`` makes at the path it is given.

    Raises
    ------
    DiskError
        Where it cannot be written.
    """
    from tempfile import TemporaryDirectory, gettempdir

    from napari_medlab.durable import writing

    with writing(Path(gettempdir())), TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        write(path)
        return path.read_bytes()


def _configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", metavar="PATH", type=Path, nargs="+", help="image files, or folders of one series"
    )
    parser.add_argument(
        "--model",
        required=True,
        metavar="NAME",
        help="a name, a hash (8 digits suffice) or a bundle's folder",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        type=Path,
        help=f"where {TABLE} is written, and the masks of a segmenter",
    )
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="auto (the default), cpu, cuda, cuda:1 or mps"
    )
    parser.add_argument(
        "--precision",
        default="auto",
        choices=("auto", "float32", "bfloat16", "float16", "openvino"),
        help="auto (the default): the fastest that a short test finds to be right",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="X",
        help="the least score that the detector gives, 0 to 1, in place of its own: lower to look at more candidates",
    )
    parser.add_argument(
        "--compile", action="store_true", help="try torch.compile, too (CUDA; takes a minute once)"
    )
    add_pixel_size_argument(parser)
    add_cluster_arguments(parser)


def _run(options: argparse.Namespace) -> dict[str, Any]:
    from napari_medlab.images import Decisions
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.inference.workers import OnCluster, workers_of
    from napari_medlab.models.postprocessing import at_threshold

    bundle = find_bundle(options.model)
    if bundle.task == "classification":
        raise InputRefusedError(
            f"{bundle.title} judges candidates and proposes none.", code="no-candidates",
            hint="Run it in a project, on the candidates of another model.",
        )  # fmt: skip
    if options.threshold is not None:
        bundle = at_threshold(bundle, options.threshold)
    run = _Run(
        bundle, options.out, options.device, options.precision, options.compile, options.threshold,
        Decisions(pixel_size_um=options.pixel_size).as_json(),
    )  # fmt: skip
    table = options.out / TABLE
    _refuse_existing(table)
    cases = _cases(options.paths)
    if bundle.task == "segmentation":
        _refuse_existing(options.out / MASKS)
    with cluster_of(options) as cluster, _Restarted() as restarted:
        workers = workers_of(restarted if cluster is None else OnCluster(cluster))
        _warm_up(workers, run)
        _predict(workers, run, cases)
    _write(table, cases)
    failed = [case.reason for case in cases if case.error is not None]
    return {
        **every_case_failed(failed, len(cases)),
        "model": bundle.name,
        "hash": bundle.hash,
        "threshold": bundle.postprocessing.get("threshold"),
        "out": str(table.absolute()),
        "backend": run.backend,
        "cases": [case.as_json() for case in cases],
    }


def _cases(paths: Sequence[Path]) -> list[_Case]:
    """Return the images with their series, which must tell them apart in the table."""
    cases = [_Case(path, _series_of(path)) for path in paths]
    names = [case.series for case in cases]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputRefusedError(
            f"Several images would share a name in the table: {', '.join(twice[:10])}.",
            code="same-name",
            hint="Rename the files, or run the model on one folder at a time.",
        )
    return cases


def _series_of(path: Path) -> str:
    """Return the name of an image in the table: the file's without its ending."""
    resolved = path.resolve()
    if resolved.is_dir():
        return resolved.name
    return resolved.name[: -len(".nii.gz")] if resolved.name.lower().endswith(".nii.gz") else resolved.stem


def _warm_up(workers: Workers, run: _Run) -> None:
    """Load the model and choose what it runs on; a refusal is about every image and ends the run."""
    for event in workers.events(run.request("warm_up"), CancelToken()):
        if event["event"] == "backend":
            run.backend = {key: value for key, value in event.items() if key not in ("event", "job")}
        elif event["event"] == "workers":
            say_workers(event["count"])


def _predict(workers: Workers, run: _Run, cases: Sequence[_Case]) -> None:
    """Run the model on the images; one that fails is noted, as the others go on."""
    from napari_medlab.durable import make_folder

    by_series, done = {case.series: case for case in cases}, 0
    if run.bundle.task == "segmentation":
        make_folder((run.out / MASKS).absolute())

    def request_of(series: str) -> dict[str, Any]:
        mask = {"mask": str(run.store(series))} if run.bundle.task == "segmentation" else {}
        path = by_series[series].path.absolute()
        return {
            **run.request("predict"), "image": str(path), "decisions": run.decisions, "case_id": series, **mask,
        }  # fmt: skip

    try:
        for series, event in workers.answers(list(by_series), request_of, CancelToken()):
            if not series:
                say_workers(event["count"])
                continue
            case = by_series[series]
            _take(run, case, event)
            if event["event"] in ("done", "failed"):
                done += 1
                said = (
                    f"{len(case.found)} candidates, {case.seconds or 0:.1f} s"
                    if case.error is None
                    else case.error
                )
                sys.stderr.write(f"{done}/{len(cases)} {case.path.name}: {said}\n")
    finally:
        for series in by_series:
            shutil.rmtree(run.store(series), ignore_errors=True)


def _take(run: _Run, case: _Case, event: dict[str, Any]) -> None:
    """Take note of what happened to an image."""
    from napari_medlab.annotations import Candidate

    kind = event["event"]
    try:
        if kind == "batch":
            case.found += [
                Candidate(case.series, tuple(centre), score, diameter, label, candidate_id)
                for candidate_id, centre, score, diameter, label, _ in event["candidates"]
            ]
        elif kind == "seconds":
            case.seconds = round(float(event["seconds"]), 3)
        elif kind == "done" and run.bundle.task == "segmentation":
            case.mask = _write_mask(run.store(case.series), run.bundle)
            shutil.rmtree(run.store(case.series), ignore_errors=True)
        elif kind == "failed":
            raise event["error"]
    except MedlabError as error:
        case.found.clear()
        case.error, case.reason = error.message, str(error)


def _write_mask(store: Path, bundle: Bundle) -> Path:
    """Write the labels of a mask beside the store of its probabilities: NIfTI of a volume, OME-Zarr of a plane."""
    from napari_medlab.images.writers import write_image
    from napari_medlab.models.inference.mask_store import MaskStore
    from napari_medlab.models.predicting.label_map import label_image

    masks = MaskStore.open(store)
    name = store.name.removesuffix(".partial") + (".nii.gz" if masks.grid.ndim == 3 else ".zarr")
    return write_image(label_image(masks, bundle.postprocessing), store.with_name(name))


def _write(table: Path, cases: Sequence[_Case]) -> None:
    """Write the table, whole or not at all."""
    from napari_medlab.annotations.formats.csv_tables import write_rows
    from napari_medlab.durable import make_folder, replace_file, writing

    payload = table_bytes(lambda path: write_rows(path, [COLUMNS, *_rows(cases)]))
    with writing(table.parent):
        make_folder(table.parent)
    _refuse_existing(table)
    replace_file(table, payload)


def _rows(cases: Sequence[_Case]) -> Iterator[list[str]]:
    """Yield the lines of the table; a candidate in a plane has the third coordinate 0."""
    from napari_medlab.annotations.formats.csv_tables import neutral_text

    for case in cases:
        for one in case.found:
            centre = (*one.centre, 0.0)[:3]
            numbers = [repr(float(value)) for value in (*centre, one.score, one.diameter)]
            yield [neutral_text(case.series), *numbers, neutral_text(one.label)]


def _refuse_existing(table: Path) -> None:
    if table.exists():
        raise InputRefusedError(
            f"{table} exists already, and nothing is overwritten.",
            code="exists",
            hint="Choose another folder.",
        )


VERB = Verb("predict", "run a model over images", _configure, _run)
