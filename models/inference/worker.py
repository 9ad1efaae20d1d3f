"""The warm process in which models run; started as ``python -m napari_medlab.models.inference.worker``."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.annotations import Candidate
from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs.worker_service import serve
from napari_medlab.protocols import Batch, Detector, MaskPart, Segmenter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.images import Image
    from napari_medlab.jobs import CancelToken
    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.jobs.worker_service import Handler
    from napari_medlab.models.predicting import Model

__all__ = ["HANDLERS", "IN_THREAD", "MODULE", "start_worker"]

MODULE = "napari_medlab.models.inference.worker"

IN_THREAD = "MEDLAB_IN_THREAD"
"""The variable that asks, with ``1``, for models in the thread that asks instead of a process: for debugging."""

PROGRESS_SECONDS = 0.1


def start_worker(*, in_thread: bool | None = None) -> Worker:
    """Return what runs models: a warm process, or the thread that asks.

    Parameters
    ----------
    in_thread : bool, optional
        What the variable ``MEDLAB_IN_THREAD`` says where left out.
    """
    from napari_medlab.jobs.in_thread import InThread
    from napari_medlab.jobs.worker_process import WorkerProcess

    if in_thread or (in_thread is None and os.environ.get(IN_THREAD) == "1"):
        return InThread(HANDLERS)
    return WorkerProcess(MODULE)


def predict(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Run a model on one image.

    The request names a ``bundle`` folder, an ``image`` path and a ``case_id``; where they are not the default, the
    ``decisions`` by which the image opens, a ``focus`` (a point in the world that is looked at first), ``device``,
    ``precision``, ``compile`` and ``threshold``; for segmenters the folder of the ``mask``, which must not be there yet; and for
    classifiers the ``candidates`` to judge, rows of centre, diameter and label. Where it names the ``hash`` of the bundle,
    another one in that folder is refused.

    Yields
    ------
    ``backend`` with what the model runs on; ``progress`` with the tiles ``done`` and their ``total``; ``mask`` with the
    ``start`` and ``stop`` of a part that is written; ``batch`` with ``candidates``, rows of id, centre, score, diameter,
    label and rings; and at the end ``seconds``.
    """
    from napari_medlab.images import Decisions, open_image

    began = time.monotonic()
    model = _model_of(request)
    yield {"event": "backend", **model.choice.as_json()}
    cancel.check()
    image = open_image(Path(request["image"]), Decisions.from_json(request.get("decisions", {})))
    progress = _Progress()
    for found in _found(model, image, request, cancel, progress):
        if isinstance(found, MaskPart):
            yield {"event": "mask", "start": list(found.start), "stop": list(found.stop)}
        elif len(found):
            yield {"event": "batch", "candidates": _rows(found)}
        yield from progress.due()
    yield from progress.due(at_once=True)
    yield {"event": "seconds", "seconds": time.monotonic() - began}


def warm_up(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Import torch, load the ``bundle`` and choose a ``backend``, so that the first case starts at once."""
    model = _model_of(request)
    cancel.check()
    yield {"event": "backend", **model.choice.as_json()}
    yield {"event": "ready", "tiling": None if model.rule is None else model.rule.as_json()}


def devices(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Yield ``devices``, the names of those that models can run on here, beside ``"auto"``."""
    from napari_medlab.models.inference.devices import available_devices

    yield {"event": "devices", "devices": available_devices()}


def embed(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Yield the features of objects; see :func:`napari_medlab.models.detection.features.embed`."""
    from napari_medlab.models.detection import features

    return features.embed(request, cancel)


HANDLERS: dict[str, Handler] = {"predict": predict, "warm_up": warm_up, "devices": devices, "embed": embed}
"""What the worker answers to."""


def _found(
    model: Model, image: Image, request: dict[str, Any], cancel: CancelToken, progress: _Progress
) -> Iterator[Batch | MaskPart]:
    case_id, focus = request["case_id"], request.get("focus")
    if isinstance(model, Segmenter):
        mask = Path(request["mask"])
        return model.segment(image, case_id, mask, cancel, focus=focus, on_progress=progress)
    if isinstance(model, Detector):
        return model.detect(image, case_id, cancel, focus=focus, on_progress=progress)
    asked = [
        Candidate(case_id, tuple(centre), 0.0, diameter, label)
        for centre, diameter, label in request.get("candidates", [])
    ]
    scores = model.judge(image, asked, cancel)
    return iter([Batch([replace(one, score=score) for one, score in zip(asked, scores, strict=True)])])


def _rows(batch: Batch) -> list[list[Any]]:
    rings = {region.owner_id: [ring.tolist() for ring in region.rings] for region in batch.regions}
    return [
        [c.candidate_id, list(c.centre), c.score, c.diameter, c.label, rings.get(c.candidate_id, [])]
        for c in batch.candidates
    ]


class _Progress:
    """Takes note of how far a case is, and tells it no oftener than somebody can see."""

    def __init__(self) -> None:
        self._now = self._told = (0, 0)
        self._at = 0.0

    def __call__(self, done: int, total: int) -> None:
        self._now = (done, total)

    def due(self, *, at_once: bool = False) -> Iterator[dict[str, Any]]:
        """Yield an event where there is something new to tell."""
        if self._now == self._told or not (at_once or time.monotonic() > self._at + PROGRESS_SECONDS):
            return
        self._told, self._at = self._now, time.monotonic()
        yield {"event": "progress", "done": self._now[0], "total": self._now[1]}


@dataclass(frozen=True)
class _Asked:
    """What decides which model answers, and how it computes."""

    folder: str
    hash: str
    device: str
    precision: str
    may_compile: bool
    threshold: float | None


_OPEN: dict[_Asked, Model] = {}
"""The models that were asked for last, the newest at the end."""
MOST_OPEN = 2


def _model_of(request: dict[str, Any]) -> Model:
    return _model(_Asked(
        request["bundle"], request.get("hash", ""), request.get("device", "auto"), request.get("precision", "auto"),
        bool(request.get("compile", False)), request.get("threshold"),
    ))  # fmt: skip


def _model(asked: _Asked) -> Model:
    """Return a model, opened where it is not yet; one that chose its precision itself serves for that one, too."""
    for known, model in list(_OPEN.items()):
        if asked in (known, replace(known, precision=model.choice.backend.precision)):
            _OPEN[known] = _OPEN.pop(known)
            return model
    while len(_OPEN) >= MOST_OPEN:
        del _OPEN[next(iter(_OPEN))]
    model = _OPEN[asked] = _opened(asked)
    return model


def _opened(asked: _Asked) -> Model:
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.predicting import open_model

    bundle = read_bundle(Path(asked.folder))
    if asked.hash not in ("", bundle.hash):
        raise InputRefusedError(
            f"The model in {bundle.folder} is {bundle.hash[:8]}, and {asked.hash[:8]} was asked for.", code="other-model",
            hint="It has changed since, or this worker has another version of it: choose the model again.",
        )  # fmt: skip
    return open_model(
        bundle,
        device=asked.device,
        precision=asked.precision,
        may_compile=asked.may_compile,
        threshold=asked.threshold,
    )


if __name__ == "__main__":
    serve(HANDLERS)
