"""Where each object of a run lies among the others: the model's own features, or looks where there is no model."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.describing.appearance import APPEARANCE_VERSION, appearances, standardised
from napari_medlab.hardcases.describing.object_cache import cache_key, keep_arrays, kept_arrays
from napari_medlab.hardcases.describing.table import DescriptorTable
from napari_medlab.jobs.cancellation import CancelToken
from napari_medlab.jobs.worker_process import WorkerDiedError
from napari_medlab.models.workflows.describe import RunObjects, describe_run, objects_of_run, over_cases
from napari_medlab.project import open_case

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from numpy.typing import NDArray

    from napari_medlab.jobs.worker_process import WorkerProcess
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.detection.features import ObjectFeatures
    from napari_medlab.project import Project

    Watch = tuple[Callable[[int, int], None] | None, Callable[[], None] | None]
    CaseValues = Callable[[RunObjects, Callable[[int, int], None]], NDArray[np.float32]]

__all__ = ["FEATURES_VERSION", "EmbeddedRun", "embed_run"]

FEATURES_VERSION = 1
"""Rises whenever the same bundle and image give other features: what was kept from before is then computed again."""

CACHE = "embeddings"
NO_MODEL = "descriptors and brightness"
NO_FEATURES = ("is-code", "no-features", "wrong-kind")
"""Refusals after which looks stand in for features."""


@dataclass(frozen=True, eq=False)
class EmbeddedRun:
    """The objects of a run with an embedding, for :mod:`napari_medlab.hardcases.failures.similarity`.

    Parameters
    ----------
    run_id : str
    objects : RunObjects
        Of the cases whose images could be read.
    vectors : float32 array (n, features)
        First the rows of ``objects.findings``, then those of ``objects.candidates``; each feature has mean 0 and
        deviation 1, or is 0 throughout.
    source : str
        What the embedding is made of: ``"features of lung-nodules · 64833b3c"``, or ``"descriptors and brightness"``
        where there is no model, or none whose features can be read.
    skipped : dict
        Cases that were left out, and why.
    """

    run_id: str
    objects: RunObjects
    vectors: NDArray[np.float32]
    source: str
    skipped: dict[str, str]


def embed_run(
    project: Project,
    run_id: str,
    bundle: Bundle | None,
    *,
    worker: WorkerProcess | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], None] | None = None,
) -> EmbeddedRun:
    """Return an embedding of all findings and candidates of a run; what an earlier call computed is taken from the cache.

    Parameters
    ----------
    project : Project
    run_id : str
    bundle : Bundle or None
        The model of the run; None for predictions that were imported.
    worker : WorkerProcess, optional
        A process that serves :func:`napari_medlab.models.detection.features.embed` as ``"embed"``; without one the
        network runs in this process.
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
    watch = (on_progress, stop)
    if bundle is not None:
        try:
            return _by_features(project, run_id, objects, (bundle, worker), watch)
        except InputRefusedError as error:
            if error.code not in NO_FEATURES:
                raise
    return _by_looks(project, run_id, objects, watch)


def _by_features(
    project: Project,
    run_id: str,
    objects: RunObjects,
    model: tuple[Bundle, WorkerProcess | None],
    watch: Watch,
) -> EmbeddedRun:
    bundle, worker = model
    stop = watch[1]

    def compute(part: RunObjects, told: Callable[[int, int], None]) -> NDArray[np.float32]:
        case = part.cases[0]
        if worker is None:
            image = open_case(project, case.case_id)
            return _reader(bundle).embed(image, part.points(), part.diameters(), told, stop)
        request = {
            "op": "embed", "bundle": str(bundle.folder), "image": str(project.case_path(case.case_id)),
            "decisions": case.decisions, "centres": part.points().tolist(), "diameters": part.diameters().tolist(),
        }  # fmt: skip
        return _answer(worker, request, told, stop)

    key = ["features", FEATURES_VERSION, bundle.hash]
    kept, vectors, skipped = _collected(objects, _Cached(key, compute), watch)
    return EmbeddedRun(run_id, kept, _columns_standardised(vectors), f"features of {bundle.title}", skipped)


def _by_looks(project: Project, run_id: str, objects: RunObjects, watch: Watch) -> EmbeddedRun:
    on_progress, stop = watch

    def second_half(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(total + done, 2 * total)

    def first_half(done: int, total: int) -> None:
        if on_progress is not None:
            on_progress(done, 2 * total)

    def compute(part: RunObjects, told: Callable[[int, int], None]) -> NDArray[np.float32]:
        image = open_case(project, part.cases[0].case_id)
        return appearances(image, part.points(), part.diameters(), on_progress=told, stop=stop)

    described = describe_run(project, run_id, on_progress=first_half, stop=stop)
    readable = _Cached(["looks", APPEARANCE_VERSION], compute)
    kept, looks, skipped = _collected(described.objects, readable, (second_half, stop))
    present = np.isin(described.objects.cases_of_rows(), [case.case_id for case in kept.cases])
    table = DescriptorTable.joined([described.findings, described.candidates]).where(present)
    return EmbeddedRun(run_id, kept, standardised(table, looks), NO_MODEL, {**described.skipped, **skipped})


@dataclass(frozen=True)
class _Cached:
    """Computes the vectors of one case's objects, or takes them from the cache."""

    key: list[Any]
    compute: CaseValues

    def of(self, part: RunObjects, told: Callable[[int, int], None]) -> NDArray[np.float32]:
        case = part.cases[0]
        key = cache_key(
            *self.key, case.fingerprint, case.decisions, part.ids(), part.points(), part.diameters()
        )
        arrays = kept_arrays(CACHE, key)
        vectors = None if arrays is None else arrays.get("vectors")
        if vectors is None or vectors.ndim != 2 or len(vectors) != len(part.ids()):
            vectors = self.compute(part, told)
            keep_arrays(CACHE, key, {"vectors": vectors})
        return vectors.astype(np.float32)


def _collected(
    objects: RunObjects, source: _Cached, watch: Watch
) -> tuple[RunObjects, NDArray[np.float32], dict[str, str]]:
    """Return the objects of the cases that could be read, their vectors, findings first, and the other cases."""

    def compute(part: RunObjects, told: Callable[[int, int], None]) -> NDArray[np.float32]:
        return source.of(part, told) if len(part.ids()) else np.zeros((0, 0), np.float32)

    def is_fatal(error: Exception) -> bool:
        return isinstance(error, WorkerDiedError) or getattr(error, "code", "") in NO_FEATURES

    read, found, skipped = over_cases(objects, compute, watch, is_fatal)
    pairs = list(zip(read, found, strict=True))
    heads = [vectors[: len(part.findings)] for part, vectors in pairs]
    tails = [vectors[len(part.findings) :] for part, vectors in pairs]
    return objects.among([part.cases[0].case_id for part in read]), _joined([*heads, *tails]), skipped


def _joined(blocks: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return rows one below the other; planar images and volumes have different numbers of points, the rest is 0."""
    width = max((block.shape[1] for block in blocks), default=0)
    padded = [np.pad(block, [(0, 0), (0, width - block.shape[1])]) for block in blocks]
    return np.concatenate([np.zeros((0, width), np.float32), *padded])


def _columns_standardised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    if not len(vectors):
        return vectors
    deviation = vectors.std(axis=0)
    scaled: NDArray[np.float32] = (vectors - vectors.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    return scaled


def _answer(
    worker: WorkerProcess,
    request: dict[str, Any],
    told: Callable[[int, int], None],
    stop: Callable[[], None] | None,
) -> NDArray[np.float32]:
    total = len(request["diameters"])
    rows: list[int] = []
    values: list[list[float]] = []
    # left before its end, the request is cancelled
    with closing(cast("Generator[dict[str, Any]]", worker.events(request, CancelToken()))) as events:
        for event in events:
            if stop is not None:
                stop()
            if event["event"] == "features":
                rows += event["rows"]
                values += event["values"]
                told(len(rows), total)
    return np.asarray(values, dtype=np.float32).reshape(len(rows), -1)[np.argsort(rows)]


def _reader(bundle: Bundle) -> ObjectFeatures:
    from napari_medlab.models.detection.features import features_of

    return features_of(str(bundle.folder))
