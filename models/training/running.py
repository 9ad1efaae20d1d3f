"""A training at work: its parts, its steps as events, and what is written down of it."""

from __future__ import annotations

import queue
import threading
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.training.feed import Sampler, Transforms
    from napari_medlab.models.training.loop import Step
    from napari_medlab.models.training.objectives import Objective
    from napari_medlab.models.training.parts import BundlePart
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.samples import Sample

__all__ = ["TrainingRun", "steps_of", "told_of", "validator_of"]

TAIL = 20
"""The final loss is a mean over so many steps."""

LEAST_SCORE = 0.01
"""What a detector scores lower is not looked at in a validation."""


@dataclass(frozen=True)
class TrainingRun:
    """What a training is made of."""

    network: nn.Module
    objective: Objective
    sampler: Sampler
    transforms: Transforms
    recipe: Recipe
    validate: Callable[[nn.Module], Mapping[str, float]] | None = None

    def record(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is written down of how it went and where."""
        from napari_medlab.models.training.metrics import metrics_path, read_metrics
        from napari_medlab.models.training.outcome import environment

        lines = read_metrics(metrics_path(Path(request["checkpoint"])))
        tail = [line["losses"]["total"] for line in lines[-TAIL:]]
        looks = [line for line in lines if line.get("metrics")]
        return {
            "environment": environment(
                next(self.network.parameters()).device, lines[-1]["precision"] if lines else ""
            ),
            "final_loss": sum(tail) / max(len(tail), 1),
            "seed": self.recipe.seed,
            "validation": [{"step": line["number"], **line["metrics"]} for line in looks],
        }


def steps_of(run: TrainingRun, request: Mapping[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Run the training loop in a thread and yield its steps as they come."""
    from napari_medlab.models.inference.devices import choose_devices
    from napari_medlab.models.training.loop import train
    from napari_medlab.models.training.tensorboard import TensorBoardWriter

    reported: queue.SimpleQueue[Step | BaseException | None] = queue.SimpleQueue()
    network = run.network.to(choose_devices(request.get("device") or "auto")[0])
    checkpoint = Path(request["checkpoint"])

    def work() -> None:
        try:
            train(
                network, run.objective, run.sampler, run.recipe, cancel, reported.put, transforms=run.transforms,
                checkpoint=checkpoint, validate=run.validate,
            )  # fmt: skip
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, which raises it
            reported.put(error)
        else:
            reported.put(None)

    with ExitStack() as stack:
        board = TensorBoardWriter(Path(request["tensorboard"])) if request.get("tensorboard") else None
        if board is not None:
            stack.callback(board.close)
        thread = threading.Thread(target=work, name="training")
        thread.start()
        stack.callback(thread.join)
        while (item := reported.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if board is not None:
                board.add(item)
            yield {"event": "step", "steps": run.recipe.steps, **asdict(item)}


def told_of(
    about: Configuration | BundlePart, sides: Mapping[str, Sequence[Sample | Path]], network: nn.Module
) -> dict[str, Any]:
    """Return what is told of samples: the classes of each side, and the boxes of those to train on."""
    from napari_medlab.models.training.data_summary import class_counts, reach_of_boxes

    counts = {name: class_counts(samples, about.task, about.classes) for name, samples in sides.items()}
    boxes = reach_of_boxes(sides["training"], network) if about.task == "detection" else None
    return {"classes": counts, **({} if boxes is None else {"boxes": boxes})}


def validator_of(
    task: str,
    postprocessing: dict[str, Any],
    held_out: list[Sample],
    objective: Objective,
    cancel: CancelToken,
) -> Callable[[nn.Module], Mapping[str, float]] | None:
    """Return what looks at samples that are held out; None where there are none."""
    from napari_medlab.models.detection.detections import DecodeSettings
    from napari_medlab.models.training.validation import HeldOut

    if not held_out:
        return None
    settings = replace(DecodeSettings.from_json(postprocessing), threshold=LEAST_SCORE)
    return HeldOut(task, held_out, objective, settings, cancel)
