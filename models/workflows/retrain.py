"""Retraining on packages, in a process of its own; what comes out is a bundle beside the old one, a proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles import read_bundle
from napari_medlab.models.training.recipe import Recipe  # noqa: TC001 - part of the signature that users read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle

__all__ = ["checkpoint_path", "retrain"]


def retrain(
    packages: Sequence[Path], parent: Bundle, out: Path, recipe: Recipe, cancel: CancelToken
) -> Iterator[dict[str, Any]]:
    """Train a bundle further; yields the events of :func:`napari_medlab.models.training.process.fine_tune`.

    A training that was stopped or killed goes on from its last checkpoint when it is started again with the same
    packages, parent and recipe.

    Parameters
    ----------
    packages : folders of hard examples
    parent : the bundle to begin with
    out : folder that the new bundle is written into
    recipe : Recipe
    cancel : stops after the current step, with the state saved

    Raises
    ------
    CancelledError, WorkerDiedError, InputRefusedError
    """
    from napari_medlab.models.training.process import MODULE

    out.mkdir(parents=True, exist_ok=True)
    request = {
        "op": "fine_tune", "packages": [str(p) for p in packages], "bundle": str(parent.folder), "out": str(out),
        "recipe": recipe.as_json(), "checkpoint": str(checkpoint_path(packages, parent, out, recipe)),
    }  # fmt: skip
    with WorkerProcess(MODULE) as worker:
        for event in worker.events(request, cancel):
            if event["event"] == "bundle":
                yield {**event, "bundle": read_bundle(out / event["folder"])}
            else:
                yield event


def checkpoint_path(packages: Sequence[Path], parent: Bundle, out: Path, recipe: Recipe) -> Path:
    """Return where the state of a training lies, named by what it depends on, so that only the same one resumes."""
    import hashlib

    text = "\n".join([*sorted(str(p.resolve()) for p in packages), parent.hash, repr(recipe)])
    return out / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.checkpoint"
