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

    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.configuration import Configuration

__all__ = [
    "child_of",
    "code_commit",
    "code_hash",
    "environment",
    "made_by",
    "with_threshold",
    "write_outcome",
]

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
    request: Mapping[str, Any], spec: dict[str, Any], weights: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Write the bundle, put the course of the training beside it under its name, and return the ``bundle`` event.

    Parameters
    ----------
    request : names ``out`` and ``checkpoint``
    spec : of the bundle
    weights : all tensors of the bundle by name, on the CPU
    """
    from napari_medlab.models.bundles import write_bundle
    from napari_medlab.models.training.metrics import metrics_path

    bundle = write_bundle(Path(request["out"]), spec, dict(weights))
    checkpoint = Path(request["checkpoint"])
    metrics_path(checkpoint).replace(bundle.folder.with_name(f"{bundle.folder.name}.metrics.jsonl"))
    checkpoint.unlink(missing_ok=True)
    return {"event": "bundle", "folder": str(bundle.folder), "hash": bundle.hash}


def environment(device: torch.device, precision: str) -> dict[str, Any]:
    """Return what a training ran on and with: versions, device, precision, threads, and which code it was.

    ``code_sha256`` tells the very source files; ``commit`` is what is checked out, and empty outside a repository.
    """
    import monai
    import numpy as np
    import torch

    return {
        "napari-medlab": __version__, "code_sha256": code_hash(), "commit": code_commit(), "torch": torch.__version__,
        "monai": monai.__version__, "numpy": np.__version__, "python": platform.python_version(),
        "machine": platform.machine(), "threads": torch.get_num_threads(), "device": device.type, "precision": precision,
    }  # fmt: skip


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return SHA-256 of the source files of all models, so that a changed line is seen without a changed version."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def code_commit() -> str:
    """Return the commit that the code was checked out at; empty where it is in no repository, or that cannot be told.

    Changes since then are not seen in it: :func:`code_hash` tells them.
    """
    for folder in Path(__file__).resolve().parents:
        if (folder / ".git").is_dir():
            return _head(folder / ".git")
    return ""


def _head(git: Path) -> str:
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        if (git / name).is_file():
            return (git / name).read_text(encoding="ascii").strip()
        packed = (git / "packed-refs").read_text(encoding="utf-8").splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), "")
    except (OSError, ValueError):
        return ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
