"""The warm process in which models run; started as ``python -m napari_medlab.models.inference.worker``."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.jobs.worker_service import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.detection.detector import CentreDetector

__all__ = ["MODULE"]

MODULE = "napari_medlab.models.inference.worker"


def detect(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Yield ``batch`` events with the candidates of one case, then its ``seconds``.

    The request names a ``bundle`` folder, an ``image`` path and a ``case_id``, and the ``decisions`` by which the image
    opens, where some were made.
    """
    from napari_medlab.images import Decisions, open_image

    began = time.monotonic()
    detector = _detector(request["bundle"])
    cancel.check()
    image = open_image(Path(request["image"]), Decisions.from_json(request.get("decisions", {})))
    for batch in detector.detect(image, request["case_id"], cancel):
        rows = [[c.candidate_id, list(c.centre), c.score, c.diameter, c.label] for c in batch]
        yield {"event": "batch", "candidates": rows}
    yield {"event": "seconds", "seconds": time.monotonic() - began}


def warm_up(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Import torch and load the ``bundle``, so that the first case starts at once."""
    _detector(request["bundle"])
    cancel.check()
    yield {"event": "ready"}


@lru_cache(maxsize=2)
def _detector(folder: str) -> CentreDetector:
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.detection.detector import CentreDetector

    return CentreDetector(read_bundle(Path(folder)))


def embed(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Yield the features of objects; see :func:`napari_medlab.models.detection.features.embed`."""
    from napari_medlab.models.detection import features

    return features.embed(request, cancel)


if __name__ == "__main__":
    serve({"detect": detect, "warm_up": warm_up, "embed": embed})
