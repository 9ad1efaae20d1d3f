"""What comes out of a training: a bundle that says what it was made of, and by what."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.configuration import Configuration

__all__ = ["child_of", "code_hash", "environment", "made_by", "with_threshold", "write_outcome"]

INHERITED = (
    "name", "task", "network", "classifier", "preprocessing", "tiling", "postprocessing", "classes", "licence", "limits",
    "purpose",
)  # fmt: skip


def child_of(parent: Bundle, training: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a bundle that was trained further: the parent's, without its figures."""
    inherited = {key: parent.spec[key] for key in INHERITED if key in parent.spec}
    return {
        "schema": 2,
        **inherited,
        "parent": parent.hash,
        "training": training,
        "figures": {},
        "created": _now(),
    }


def made_by(configuration: Configuration, parent: Bundle | None, training: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a bundle that a configuration describes."""
    document = configuration.as_json()
    inherited = {key: document[key] for key in ("name", "task", "network", "preprocessing", "postprocessing", "tiling",
                                                "classes")}  # fmt: skip
    return {
        "schema": 2, **{key: value for key, value in inherited.items() if value or key != "tiling"},
        "parent": None if parent is None else parent.hash,
        "training": {"configuration": document, "configuration_sha256": configuration.hash,
                     "recipe": document["recipe"], **training},
        "figures": {}, "licence": "", "limits": "", "purpose": configuration.note, "created": _now(),
    }  # fmt: skip


def with_threshold(spec: dict[str, Any], metrics: Mapping[str, float]) -> dict[str, Any]:
    """Return the spec of a segmenter with the threshold that did best on held-out data; any other as it is."""
    if spec["task"] != "segmentation" or "threshold" not in metrics:
        return spec
    return {**spec, "postprocessing": {**spec["postprocessing"], "threshold": metrics["threshold"]}}


def write_outcome(
    request: Mapping[str, Any], spec: dict[str, Any], network: nn.Module, parent: Bundle | None
) -> dict[str, Any]:
    """Write the bundle, put the course of the training beside it under its name, and return the ``bundle`` event.

    Parameters
    ----------
    request : names ``out`` and ``checkpoint``
    spec : of the bundle
    network : trained
    parent : whose classifier of candidates is taken over, where it has one
    """
    from napari_medlab.models.bundles import write_bundle
    from napari_medlab.models.bundles.loading import CLASSIFIER_PREFIX, read_weights
    from napari_medlab.models.training.metrics import metrics_path

    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    if parent is not None and parent.classifier is not None:
        weights |= {
            name: kept for name, kept in read_weights(parent).items() if name.startswith(CLASSIFIER_PREFIX)
        }
    bundle = write_bundle(Path(request["out"]), spec, weights)
    checkpoint = Path(request["checkpoint"])
    metrics_path(checkpoint).replace(bundle.folder.with_name(f"{bundle.folder.name}.metrics.jsonl"))
    checkpoint.unlink(missing_ok=True)
    return {"event": "bundle", "folder": str(bundle.folder), "hash": bundle.hash}


def environment(device: torch.device, precision: str) -> dict[str, str]:
    """Return what a training ran on and with: versions, device, precision, and the hash of the code."""
    import monai
    import numpy as np
    import torch

    return {
        "napari-medlab": __version__, "code_sha256": code_hash(), "torch": torch.__version__, "monai": monai.__version__,
        "numpy": np.__version__, "python": platform.python_version(), "device": device.type, "precision": precision,
    }  # fmt: skip


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return SHA-256 of the source files of all models, so that a changed line is seen without a changed version."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
