"""The process in which a training runs; started as ``python -m napari_medlab.models.training.process``."""

from __future__ import annotations

import platform
import queue
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab import __version__
from napari_medlab.jobs.worker_service import serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.nn import Module

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.samples import Sample

__all__ = ["MODULE", "fine_tune"]

MODULE = "napari_medlab.models.training.process"


def fine_tune(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Train a bundle further on packages: yields ``step`` events, then ``bundle`` with the folder and hash of the new one.

    The request names ``packages`` (folders), ``bundle`` (the parent's folder), ``out`` (a folder for bundles),
    ``recipe`` (see :class:`Recipe`) and ``checkpoint`` (a file).
    """
    from napari_medlab.models.bundles import load_network, read_bundle, write_bundle
    from napari_medlab.models.training.recipe import Recipe

    parent = read_bundle(Path(request["bundle"]))
    recipe = Recipe.from_json(request["recipe"])
    samples, data = _samples([Path(p) for p in request["packages"]], parent)
    yield {"event": "data", "examples": len(samples), "lesions": sum(int((~s.is_ignored).sum()) for s in samples)}
    network = load_network(parent)
    checkpoint = Path(request["checkpoint"])
    losses: list[float] = []
    for step in _steps(network, samples, recipe, (cancel, checkpoint)):
        losses.append(step["losses"]["total"])
        yield {"event": "step", "steps": recipe.steps, **step}
    spec = _spec(parent, recipe.as_json(), data, losses)
    bundle = write_bundle(Path(request["out"]), spec, network.state_dict(), _card(parent, spec))
    checkpoint.unlink(missing_ok=True)
    yield {"event": "bundle", "folder": str(bundle.folder), "hash": bundle.hash}


def _steps(
    network: Module, samples: list[Sample], recipe: Recipe, control: tuple[CancelToken, Path]
) -> Iterator[dict[str, Any]]:
    """Run the training loop in a thread and yield its steps as they come."""
    from napari_medlab.models.training.loop import Step, train

    cancel, checkpoint = control
    reported: queue.SimpleQueue[Step | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            train(network, samples, recipe, cancel, reported.put, checkpoint)
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            reported.put(error)
        else:
            reported.put(None)

    thread = threading.Thread(target=work, name="training")
    thread.start()
    try:
        while (item := reported.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield asdict(item)
    finally:
        thread.join()


def _samples(packages: list[Path], parent: Bundle) -> tuple[list[Sample], list[str]]:
    """Return what the packages hold as training samples, and the hashes of their manifests."""
    import hashlib

    from napari_medlab.hardcases.package import MANIFEST, read_package
    from napari_medlab.models.training.samples import Sample

    low, high = parent.preprocessing.window
    samples, hashes = [], []
    for folder in packages:
        manifest, crops = read_package(folder)
        _check_spacing(folder, manifest, parent)
        hashes.append(hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest())
        for crop in crops:
            boxes = crop.record["boxes"]
            scaled = (np.clip(crop.volume, low, high).astype(np.float32) - low) / (high - low)
            samples.append(
                Sample(
                    scaled.astype(np.float16),
                    np.asarray([b["centre"] for b in boxes], np.float32).reshape(-1, 3),
                    np.asarray([b["diameter"] for b in boxes], np.float32),
                    np.asarray([b["ignored"] for b in boxes], np.bool_),
                    float(crop.record["weight"]),
                )
            )
    return samples, hashes


def _check_spacing(folder: Path, manifest: dict[str, Any], parent: Bundle) -> None:
    from napari_medlab.errors import InputRefusedError

    spacing, wanted = manifest["crops"]["spacing_mm"], parent.preprocessing.spacing_mm
    if abs(spacing - wanted) > 1e-6:
        raise InputRefusedError(
            f"{folder} was cut at {spacing} mm; the model {parent.name} works at {wanted} mm.", code="spacing",
            hint="Export the hard examples again for this model.",
        )  # fmt: skip


def _spec(parent: Bundle, recipe: dict[str, Any], data: list[str], losses: list[float]) -> dict[str, Any]:
    import torch

    environment = {"napari-medlab": __version__, "torch": torch.__version__, "python": platform.python_version()}
    kept = ("name", "task", "network", "preprocessing", "postprocessing", "classes", "licence", "limits")
    tail = losses[-20:]
    return {
        "schema": 1,
        **{key: parent.spec[key] for key in kept},
        "parent": parent.hash,
        "training": {"recipe": recipe, "packages": data, "environment": environment,
                     "final_loss": sum(tail) / max(len(tail), 1)},
        "figures": {},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _card(parent: Bundle, spec: dict[str, Any]) -> str:
    training = spec["training"]
    return (
        f"# {spec['name']}\n\nFine-tuned from {parent.title} on {len(training['packages'])} package(s) of hard examples, "
        f"{training['recipe']['steps']} steps, seed {training['recipe']['seed']}.\n\n"
        "Its figures against its parent are in the project's comparison report: this card makes no claim.\n\n"
        f"## Limits\n\n{spec['limits']}\n"
    )


if __name__ == "__main__":
    serve({"fine_tune": fine_tune})
