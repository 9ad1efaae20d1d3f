"""The process in which a training runs; started as ``python -m napari_medlab.models.training.process``."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs.worker_service import serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import Bundle
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.models.training.holding_out import HoldOut
    from napari_medlab.models.training.recipe import Recipe

__all__ = ["MODULE", "fine_tune", "train_configuration"]

MODULE = "napari_medlab.models.training.process"


def fine_tune(request: dict[str, Any], cancel: CancelToken) -> Iterator[dict[str, Any]]:
    """Train a part of a bundle further on packages: yields ``data``, ``step`` and ``bundle`` events.

    The request names ``packages`` (folders), ``bundle`` (the parent's folder), ``out`` (a folder for bundles), ``recipe``
    (see :class:`Recipe`), ``checkpoint`` (a file) and, if need be, ``options`` (see :class:`FineTuningOptions`),
    ``device`` and ``tensorboard`` (a folder).

    The ``data`` event says, before anything is trained, which ``part`` of the bundle it is, how many ``examples`` and
    ``lesions`` there are, how many of them are ``replayed`` and how many samples are ``held_out``, the ``classes`` of both
    sides, the ``boxes``, and under ``before`` what the parent reaches on what is held out.
    """
    from napari_medlab.models.bundles import read_bundle
    from napari_medlab.models.training.examples import FineTuningOptions, gathered, sources_of
    from napari_medlab.models.training.outcome import child_of, write_outcome
    from napari_medlab.models.training.recipe import Recipe
    from napari_medlab.models.training.running import steps_of
    from napari_medlab.models.training.tuning_run import tuning_run

    parent = read_bundle(Path(request["bundle"]))
    options = (
        FineTuningOptions.from_json(request["options"]) if request.get("options") else FineTuningOptions()
    )
    learnt = gathered(sources_of([Path(p) for p in request["packages"]], options), parent)
    tuning = tuning_run(learnt, options, Recipe.from_json(request["recipe"]), cancel)
    yield {"event": "data", **tuning.told()}
    yield from steps_of(tuning.run, request, cancel)
    spec = child_of(parent, tuning.record(request))
    yield write_outcome(request, spec, tuning.outcome())


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
    from napari_medlab.models.training.running import TrainingRun, steps_of, told_of, validator_of
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
        **told_of(configuration, {"training": training, "held_out": held_out}, network),
        "taken_over": taken_over, "tensors": len(network.state_dict()),
    }  # fmt: skip
    objective = build_objective(configuration.objective.name, configuration.objective.arguments)
    run = TrainingRun(
        network, objective, build_sampler(configuration.sampler.name, store, configuration.sampler.arguments),
        build_transforms([asdict(change) for change in configuration.augmentation]), configuration.recipe,
        validator_of(
            configuration.task, configuration.postprocessing, [read_sample(path) for path in held_out], objective, cancel
        ),
    )  # fmt: skip
    best: dict[str, float] = {}
    for event in steps_of(run, request, cancel):
        best = _better(best, event["metrics"], configuration.recipe)
        yield event
    record = {
        "data": [files.sha256],
        "samples": len(files.paths),
        "hold_out": request.get("hold_out"),
        **run.record(request),
    }
    spec = with_threshold(made_by(configuration, parent, record), best)
    weights = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    yield write_outcome(request, spec, weights)


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
