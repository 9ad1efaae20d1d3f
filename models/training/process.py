"""The process in which a training runs; started as ``python -m napari_medlab.models.training.process``."""

from __future__ import annotations

import math
import queue
import threading
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs.worker_service import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.training.feed import Sampler, Transforms
    from napari_medlab.models.training.holding_out import HoldOut
    from napari_medlab.models.training.loop import Step
    from napari_medlab.models.training.objectives import Objective
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.samples import Sample

__all__ = ["MODULE", "fine_tune", "train_configuration"]

MODULE = "napari_medlab.models.training.process"
TAIL = 20
"""The final loss is a mean over so many steps."""


def fine_tune(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Train a bundle further on packages: yields ``step`` events, then ``bundle`` with the folder and hash of the new one.

    The request names ``packages`` (folders), ``bundle`` (the parent's folder), ``out`` (a folder for bundles),
    ``recipe`` (see :class:`Recipe`), ``checkpoint`` (a file) and, if need be, ``device`` and ``tensorboard`` (a folder).
    """
    from napari_medlab.models.augmentation import build_transforms
    from napari_medlab.models.bundles import load_network, read_bundle
    from napari_medlab.models.training.fine_tuning import plan_of
    from napari_medlab.models.training.objectives import build_objective
    from napari_medlab.models.training.outcome import child_of, write_outcome
    from napari_medlab.models.training.packages import samples_of_packages
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.samplers import build_sampler

    parent = read_bundle(Path(request["bundle"]))
    recipe = Recipe.from_json(request["recipe"])
    samples, hashes = samples_of_packages([Path(p) for p in request["packages"]], parent)
    network = load_network(parent)
    yield _data_event(samples, parent, network)
    plan = plan_of(parent, samples, int(getattr(network, "multiple", 1)))
    run = _Run(
        network, build_objective(plan.objective.name, plan.objective.arguments),
        build_sampler(plan.sampler.name, samples, plan.sampler.arguments),
        build_transforms([asdict(change) for change in plan.augmentation]), recipe,
    )  # fmt: skip
    yield from _steps(run, request, cancel)
    spec = child_of(
        parent, {"recipe": recipe.as_json(), "packages": hashes, **plan.as_json(), **run.record(request)}
    )
    yield write_outcome(request, spec, network, parent)


def train_configuration(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Train what a configuration describes on samples: yields ``data``, ``step`` and ``bundle`` events.

    The request names ``configuration`` (its JSON), ``samples`` (folders of ``.npz`` files), ``out`` (a folder for bundles),
    ``checkpoint`` (a file) and, if need be, ``hold_out`` (see
    :class:`~napari_medlab.models.training.holding_out.HoldOut`), ``parent`` (a bundle's folder, to begin with its weights),
    ``device`` and ``tensorboard`` (a folder).

    The ``data`` event says, before anything is trained, how many ``examples`` and ``lesions`` there are, how many samples are
    ``held_out`` and ``left_out``, the ``classes`` of both sides and the ``boxes`` as
    :mod:`napari_medlab.models.training.data_summary` counts them, and how many of the network's ``tensors`` were
    ``taken_over`` from the parent.

    Raises
    ------
    InputRefusedError
        Among others with code ``"nothing-taken-over"``, where the parent has no kernel that fits.
    """
    from napari_medlab.models.augmentation import build_transforms
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.training.holding_out import HoldOut
    from napari_medlab.models.training.objectives import build_objective
    from napari_medlab.models.training.outcome import made_by, with_threshold, write_outcome
    from napari_medlab.models.training.sample_folders import find_samples
    from napari_medlab.models.training.sample_store import SampleStore
    from napari_medlab.models.training.samplers import build_sampler
    from napari_medlab.models.training.samples import read_sample

    configuration = Configuration.from_json(request["configuration"])
    parent = read_bundle(Path(request["parent"])) if request.get("parent") else None
    files = find_samples([Path(folder) for folder in request["samples"]])
    training, held_out = _sides(
        files.paths, HoldOut.parse(request["hold_out"]) if request.get("hold_out") else None
    )
    network, taken_over = _network_of(configuration, parent)
    store = SampleStore(training)
    yield {
        "event": "data", "examples": len(training), "lesions": sum(about.has_lesion for about in store.abouts),
        "held_out": len(held_out), "left_out": len(files.paths) - len(training) - len(held_out),
        **_told(configuration, {"training": training, "held_out": held_out}, network),
        "taken_over": taken_over, "tensors": len(network.state_dict()),
    }  # fmt: skip
    objective = build_objective(configuration.objective.name, configuration.objective.arguments)
    run = _Run(
        network, objective, build_sampler(configuration.sampler.name, store, configuration.sampler.arguments),
        build_transforms([asdict(change) for change in configuration.augmentation]), configuration.recipe,
        _validator(configuration, [read_sample(path) for path in held_out], objective, cancel),
    )  # fmt: skip
    best: dict[str, float] = {}
    for event in _steps(run, request, cancel):
        best = _better(best, event["metrics"], configuration.recipe)
        yield event
    record = {
        "data": [files.sha256],
        "samples": len(files.paths),
        "hold_out": request.get("hold_out"),
        **run.record(request),
    }
    spec = with_threshold(made_by(configuration, parent, record), best)
    yield write_outcome(request, spec, network, None)


@dataclass(frozen=True)
class _Run:
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


def _steps(run: _Run, request: Mapping[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
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


def _data_event(samples: Sequence[Sample], parent: Bundle, network: nn.Module) -> dict[str, Any]:
    lesions = sum(int((~sample.is_ignored).sum()) for sample in samples)
    told = _told(parent, {"training": samples}, network)
    return {"event": "data", "examples": len(samples), "lesions": lesions, **told}


def _told(
    about: Configuration | Bundle, sides: Mapping[str, Sequence[Sample | Path]], network: nn.Module
) -> dict[str, Any]:
    """Return what is told of samples: the classes of each side, and the boxes of those to train on."""
    from napari_medlab.models.training.data_summary import class_counts, reach_of_boxes

    counts = {name: class_counts(samples, about.task, about.classes) for name, samples in sides.items()}
    boxes = reach_of_boxes(sides["training"], network) if about.task == "detection" else None
    return {"classes": counts, **({} if boxes is None else {"boxes": boxes})}


def _sides(paths: Sequence[Path], hold_out: HoldOut | None) -> tuple[Sequence[Path], Sequence[Path]]:
    """Return the files to train on, and those that are held out."""
    if hold_out is None:
        return paths, []
    split = hold_out.split(paths)
    return [paths[row] for row in split.training], [paths[row] for row in split.held_out]


def _network_of(configuration: Configuration, parent: Bundle | None) -> tuple[nn.Module, int]:
    """Return the network that a configuration names, and how many of its tensors were taken over from the parent.

    Raises
    ------
    InputRefusedError
        ``"nothing-taken-over"`` where no tensor of two axes or more has the name and shape of one of the parent's.
    """
    import torch

    from napari_medlab.models.bundles.loading import read_weights
    from napari_medlab.models.networks import build_network

    torch.manual_seed(configuration.recipe.seed)
    network = build_network(configuration.network.name, configuration.network.arguments)
    if parent is None:
        return network, 0
    own = network.state_dict()
    given = {
        k: v.to(own[k].dtype) for k, v in read_weights(parent).items() if k in own and v.shape == own[k].shape
    }
    if not any(tensor.ndim > 1 for tensor in given.values()):  # single numbers fit anything
        raise InputRefusedError(
            f"No kernel of {configuration.name} fits one of {parent.title}: nothing would be taken over.",
            code="nothing-taken-over", hint="Begin with a model of the same network, or leave --from out.",
        )  # fmt: skip
    network.load_state_dict(own | given)
    return network, len(given)


def _validator(
    configuration: Configuration, held_out: list[Sample], objective: Objective, cancel: CancelToken
) -> Callable[[nn.Module], Mapping[str, float]] | None:
    from napari_medlab.models.detection.detections import DecodeSettings
    from napari_medlab.models.training.validation import HeldOut

    if not held_out:
        return None
    settings = replace(DecodeSettings.from_json(configuration.postprocessing), threshold=0.01)
    return HeldOut(configuration.task, held_out, objective, settings, cancel)


def _better(best: dict[str, float], metrics: dict[str, float] | None, recipe: Recipe) -> dict[str, float]:
    """Return the figures of the look whose weights are kept."""
    settings = recipe.validation
    if metrics is None or settings is None:
        return best
    value, sign = metrics[settings.metric], 1 if settings.better == "higher" else -1
    is_better = not best or sign * value > sign * best[settings.metric]
    return metrics if is_better and not math.isnan(value) else best


if __name__ == "__main__":
    serve({"fine_tune": fine_tune, "train": train_configuration})
