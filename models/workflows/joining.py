"""Several models become one: an ensemble of equals, or a detector with a classifier of its candidates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import write_bundle
from napari_medlab.models.bundles.loading import CLASSIFIER_PREFIX, network_with, read_weights
from napari_medlab.models.classification.classifier import CubeSettings
from napari_medlab.models.classification.fusion import fuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import nn

    from napari_medlab.models.bundles import Bundle

    Tensors = Mapping[str, torch.Tensor]

__all__ = ["Fusion", "attach_classifier", "join_bundles"]

CUBES_ALONE = frozenset({"kind", "spacing_mm", "window"})
"""What a preprocessing may say where cubes are cut from the images themselves."""
USUAL_CUBE = 32
"""The side of the cube that is tried where a classifier says nothing of it."""
NOT_MEASURED = "It was joined from other models and has not been measured: their figures are not its own."


@dataclass(frozen=True)
class Fusion:
    """How a detector's score and a classifier's become one.

    Parameters
    ----------
    weight, rule
        As :func:`napari_medlab.models.classification.fusion.fuse` takes them.
    searched : mapping or None
        What :func:`napari_medlab.models.workflows.tuning.tune_weights` said, where the weight comes from there.
    """

    weight: float = 0.5
    rule: str = "geometric mean"
    searched: Mapping[str, Any] | None = None


def join_bundles(
    members: Sequence[Bundle], out: Path, *, weights: Sequence[float] | None = None, name: str = "",
    searched: Mapping[str, Any] | None = None,
) -> Bundle:  # fmt: skip
    """Write an ensemble of models that see images alike, and return it.

    Probabilities of segmenters and classifiers are averaged, and so are the maps of detectors of one kind whose maps are of
    one shape. Of other detectors the boxes are fused (weighted box fusion). Thresholds are the weighted means of the
    members'; what else is done with the outputs is as the first one says.

    Parameters
    ----------
    members : two bundles at least
    out : folder that the bundle is written into
    weights : how much each counts; they are scaled to sum to 1. All count the same by default.
    name : of the new bundle; made from the first member's where empty
    searched : what :func:`napari_medlab.models.workflows.tuning.tune_weights` said, where the weights come from there

    Raises
    ------
    InputRefusedError
        With code ``"not-alike"`` and what differs, where tasks, classes, preprocessing or post-processing do not fit together;
        ``"weights"`` where there is not one for each, 0 or more and not all 0; ``"ensemble-classifier"`` where a member has a
        classifier of its own; ``"exists"``.
    """
    _check_alike(members)
    shares = _shares(weights, members)
    states = [read_weights(member) for member in members]
    networks = [
        network_with(member.spec["network"], state) for member, state in zip(members, states, strict=True)
    ]
    arguments: dict[str, Any] = {
        "members": [member.spec["network"] for member in members],
        "weights": shares,
        **_joining(members, networks),
    }
    first = members[0]
    spec = {
        "schema": 2,
        "name": name or f"{first.name[:55]}-ensemble",
        "task": first.task,
        "network": {"name": "ensemble", "arguments": arguments},
        "preprocessing": first.spec["preprocessing"],
        "tiling": _tiling(members),
        "postprocessing": _postprocessing(members, shares),
        "classes": list(first.classes),
        "purpose": f"An ensemble of {', '.join(member.title for member in members)}.",
        **_origin(members, _how({"weights": shares}, searched)),
    }
    return _written(out, spec, _joined(states))


def attach_classifier(
    detector: Bundle, classifier: Bundle, out: Path, *, fusion: Fusion | None = None, name: str = ""
) -> Bundle:
    """Write a detector with a classifier that judges its candidates, and return it.

    Parameters
    ----------
    detector, classifier : of volumes, both
    out : folder that the bundle is written into
    fusion : Fusion, optional
    name : of the new bundle; made from the detector's where empty

    Raises
    ------
    InputRefusedError
        With code ``"task"`` where they are not a detector and a classifier; ``"ensemble-classifier"`` where the detector has
        one already; ``"not-alike"`` where the classifier does not see cubes of volumes; ``"fusion-rule"``,
        ``"fusion-weight"``, ``"exists"``.
    """
    joint = fusion or Fusion()
    fuse([], [], joint.rule, joint.weight)
    _check_pair(detector, classifier)
    own, judging = read_weights(detector), read_weights(classifier)
    networks = [
        network_with(detector.spec["network"], own),
        network_with(classifier.spec["network"], judging),
    ]
    preprocessing = classifier.preprocessing
    settings = CubeSettings(
        preprocessing.isotropic_mm,
        _cube(classifier, networks[1]),
        preprocessing.window,
        joint.rule,
        joint.weight,
    ).as_json()
    part: dict[str, Any] = {"network": classifier.spec["network"], **settings}
    if names := classifier.postprocessing.get("test_time"):
        part["test_time"] = list(names)
    inherited: dict[str, Any] = {
        key: detector.spec[key]
        for key in ("task", "network", "preprocessing", "tiling", "postprocessing", "classes")
        if key in detector.spec
    }
    spec: dict[str, Any] = {
        "schema": 2,
        "name": name or f"{detector.name[:55]}-fused",
        **inherited,
        "classifier": {key: value for key, value in part.items() if value is not None},
        "purpose": f"{detector.title}, whose candidates {classifier.title} judges.",
        **_origin([detector, classifier], _how({"fusion": settings["fusion"]}, joint.searched)),
    }
    # a bundle of schema 1 is cut in a way of its own; the new one has to say how
    spec.setdefault("tiling", {})
    return _written(
        out, spec, {**own, **{f"{CLASSIFIER_PREFIX}{key}": value for key, value in judging.items()}}
    )


def _check_alike(members: Sequence[Bundle]) -> None:
    if len(members) < 2:
        raise InputRefusedError("An ensemble has two members at least.", code="members")
    fused = [member.title for member in members if member.classifier is not None]
    if fused:
        raise InputRefusedError(
            f"{', '.join(fused)} judges its candidates by a classifier of its own.", code="ensemble-classifier",
            hint="Join detectors without one, and attach a classifier to the ensemble.",
        )  # fmt: skip
    first, sameness = members[0], [_sameness(member) for member in members]
    problems = [
        f"{key} is {sameness[0][key]!r} of {first.title} and {other[key]!r} of {member.title}"
        for member, other in zip(members[1:], sameness[1:], strict=True)
        for key in sameness[0]
        if other[key] != sameness[0][key]
    ]
    if problems:
        raise InputRefusedError(
            f"These models do not see images alike, so that they cannot be one: {'; '.join(problems)}.",
            code="not-alike",
            hint="Join their candidates instead: run each, and search weights with 'models tune'.",
        )


def _sameness(member: Bundle) -> dict[str, Any]:
    """Return what has to be the same of all members."""
    said = {
        "task": member.task,
        "classes": list(member.classes),
        "preprocessing": member.preprocessing.as_json(),
    }
    rest = {key: value for key, value in member.postprocessing.items() if key not in ("threshold", "most")}
    return {**said, "postprocessing": rest}


def _shares(weights: Sequence[float] | None, members: Sequence[Bundle]) -> list[float]:
    given = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
    total = sum(given)
    if len(given) != len(members) or min(given) < 0 or not 0 < total < float("inf"):
        raise InputRefusedError(
            f"{len(members)} models need as many weights, 0 or more and not all 0; got {given}.",
            code="weights",
        )
    return [round(weight / total, 6) for weight in given]


def _joining(members: Sequence[Bundle], networks: Sequence[nn.Module]) -> dict[str, Any]:
    """Return the arguments of the ensemble that say how outputs are joined, after a look at what the members give."""
    import torch

    from napari_medlab.models.ensembling.averaging import channels_of

    with torch.inference_mode():
        outputs = [
            network(_example(member, networks)) for member, network in zip(members, networks, strict=True)
        ]
    are_maps = len({getattr(output, "shape", None) for output in outputs} | {None}) == 2
    if members[0].task == "detection":
        is_one_kind = len({(type(network), channels_of(network)) for network in networks}) == 1
        return {"join": "maps" if are_maps and is_one_kind else "boxes"}
    if not are_maps:
        shapes = ", ".join(str(tuple(getattr(output, "shape", ()))) for output in outputs)
        raise InputRefusedError(
            f"The models give outputs of different shapes, which cannot be averaged: {shapes}.",
            code="not-alike",
        )
    if members[0].task == "classification":
        return {"join": "maps", "probabilities": "softmax" if outputs[0].ndim > 1 else "sigmoid"}
    return {"join": "maps", "probabilities": members[0].postprocessing.get("probabilities", "sigmoid")}


def _example(member: Bundle, networks: Sequence[nn.Module]) -> torch.Tensor:
    """Return an image of nothing that all the networks take."""
    import math

    import torch

    from napari_medlab.models.predicting.placing import in_channels, spatial_dims

    if member.task == "classification":
        side = (
            max([*(_side(network) or 0 for network in networks), *member.tiling.get("core", [])])
            or USUAL_CUBE
        )
    else:
        multiple = math.lcm(*[int(getattr(network, "multiple", 1)) for network in networks])
        side = -(-64 // multiple) * multiple
    return torch.zeros(1, in_channels(member.spec["network"]), *[side] * spatial_dims(networks[0]))


def _tiling(members: Sequence[Bundle]) -> dict[str, Any]:
    """Return the first member's tiling with the widest halo of all."""
    tiling = members[0].tiling
    halos = [np.atleast_1d(member.tiling["halo"]) for member in members if "halo" in member.tiling]
    if not halos:
        return tiling
    widest = np.max(np.stack(np.broadcast_arrays(*halos)), axis=0).tolist()
    return {**tiling, "halo": widest[0] if len(widest) == 1 else widest}


def _postprocessing(members: Sequence[Bundle], shares: Sequence[float]) -> dict[str, Any]:
    """Return what the first member says, with the weighted mean of all thresholds."""
    said = [member.postprocessing for member in members]
    if not all("threshold" in one for one in said):
        return said[0]
    thresholds = np.broadcast_arrays(*[np.atleast_1d(one["threshold"]) for one in said])
    mean = np.round(np.average(np.stack(thresholds), axis=0, weights=shares), 6).tolist()
    is_one = all(isinstance(one["threshold"], int | float) for one in said)
    return {**said[0], "threshold": mean[0] if is_one else mean}


def _check_pair(detector: Bundle, classifier: Bundle) -> None:
    if (detector.task, classifier.task) != ("detection", "classification"):
        raise InputRefusedError(
            f"A classifier is attached to a detector; got {detector.title} for {detector.task} and {classifier.title} for "
            f"{classifier.task}.",
            code="task", hint="Name the detector first.",
        )  # fmt: skip
    if detector.classifier is not None:
        raise InputRefusedError(
            f"{detector.title} has a classifier already.", code="ensemble-classifier",
            hint="Choose the detector that it was made from.",
        )  # fmt: skip
    volumes = {*detector.preprocessing.kinds, *classifier.preprocessing.kinds} == {"volume"}
    more = sorted(set(classifier.preprocessing.as_json()) - CUBES_ALONE)
    if not volumes or more:
        raise InputRefusedError(
            f"{classifier.title} cannot judge what {detector.title} finds: cubes are cut from volumes, at one spacing and with "
            f"a window; "
            + (f"it wants {', '.join(more)} besides." if more else "they read other kinds of image."),
            code="not-alike",
        )


def _cube(classifier: Bundle, network: nn.Module) -> tuple[int, ...]:
    """Return the shape of the cubes that a classifier judges."""
    from napari_medlab.models.predicting.placing import spatial_dims

    core, side = classifier.tiling.get("core"), _side(network)
    if core is None and side is None:
        raise InputRefusedError(
            f"{classifier.title} does not say how large the cubes are that it judges.", code="classifier",
            hint="Its tiling needs a core, such as [32, 32, 32].",
        )  # fmt: skip
    dims = spatial_dims(network)
    if dims != 3:
        raise InputRefusedError(
            f"{classifier.title} judges squares, and cubes are cut from volumes.", code="not-alike"
        )
    return (side,) * dims if core is None and side else tuple(int(size) for size in core or ())


def _side(network: nn.Module) -> int | None:
    """Return the side of the largest cube that a network, or a member of an ensemble, looks at."""
    sides = [int(side) for part in network.modules() if isinstance(side := getattr(part, "side", None), int)]
    return max(sides, default=None)


def _origin(members: Sequence[Bundle], how: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a spec says of where the model comes from."""
    data = [one for member in members for one in _texts(member.spec.get("training", {}).get("data"))]
    licences = [str(member.spec.get("licence", "")) for member in members]
    limits = [limit for member in members for limit in member.limits]
    joined = {
        "bundles": [{"name": member.name, "hash": member.hash, **_held_out(member)} for member in members]
    }
    return {
        "parent": None,
        "training": {"data": list(dict.fromkeys(data)), "joined_from": {**joined, **how}},
        "figures": {},
        "licence": " and ".join(dict.fromkeys(one or "not stated" for one in licences)),
        "limits": list(dict.fromkeys([NOT_MEASURED, *limits])),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _how(weights: Mapping[str, Any], searched: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return how members are weighted, and where that comes from."""
    return {**weights, **({} if searched is None else {"searched": dict(searched)})}


def _held_out(member: Bundle) -> dict[str, Any]:
    """Return what a member was not trained on, where it says so."""
    said = member.spec.get("training", {}).get("hold_out")
    return {"hold_out": said} if said else {}


def _texts(data: object) -> list[str]:
    if isinstance(data, list):
        return [str(one) for one in data]
    return [str(data)] if data else []


def _joined(states: Sequence[Tensors]) -> Tensors:
    from napari_medlab.models.ensembling.members import joined_weights

    return joined_weights(states)


def _written(out: Path, spec: dict[str, Any], weights: Tensors) -> Bundle:
    """Write a bundle whose tensors were seen to fit its networks."""
    own = {key: value for key, value in weights.items() if not key.startswith(CLASSIFIER_PREFIX)}
    network_with(spec["network"], own if "classifier" in spec else weights)
    out.mkdir(parents=True, exist_ok=True)
    return write_bundle(out, spec, weights)
