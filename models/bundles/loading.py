"""From a bundle to networks with their weights: everything is matched before anything is loaded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.arguments import build_bounded
from napari_medlab.models.bundles.tensors import parse_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from napari_medlab.models.bundles.bundle import Bundle

__all__ = [
    "CLASSIFIER_PREFIX",
    "check_has_network",
    "load_classifier",
    "load_network",
    "network_with",
    "read_weights",
]

CLASSIFIER_PREFIX = "classifier."
"""What the names of the classifier's tensors begin with, in the file that both networks share."""

LISTED = 3


def load_network(bundle: Bundle) -> nn.Module:
    """Return the bundle's network with its weights, ready for inference.

    Raises
    ------
    InputRefusedError
        Where the weights are not those that the spec names, or their names, shapes or types do not fit the network, or
        one is not finite.
    """
    weights = read_weights(bundle)
    if bundle.classifier is not None:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(CLASSIFIER_PREFIX)}
    return _loaded(bundle, bundle.spec["network"], weights)


def load_classifier(bundle: Bundle) -> nn.Module | None:
    """Return the network that classifies the bundle's candidates, ready for inference; None where there is none.

    Raises
    ------
    InputRefusedError
        As :func:`load_network` does.
    """
    if bundle.classifier is None:
        return None
    length = len(CLASSIFIER_PREFIX)
    weights = {
        name[length:]: tensor
        for name, tensor in read_weights(bundle).items()
        if name.startswith(CLASSIFIER_PREFIX)
    }
    return _loaded(bundle, bundle.classifier["network"], weights)


def read_weights(bundle: Bundle) -> dict[str, torch.Tensor]:
    """Return the tensors of a bundle by name, as stored: what is parsed are the very bytes whose hash was checked.

    Raises
    ------
    InputRefusedError
        Where the file was changed or is damaged.
    """
    from napari_medlab.models.bundles.bundle import WEIGHTS, bundle_refused

    check_has_network(bundle)
    try:
        payload = (bundle.folder / WEIGHTS).read_bytes()
        if hashlib.sha256(payload).hexdigest() != bundle.spec["weights_sha256"]:
            raise ValueError("it is not the file that the spec names")
        return parse_tensors(payload)
    except (OSError, ValueError) as error:
        raise bundle_refused(bundle.folder, [f"{WEIGHTS}: {error}"]) from error


def check_has_network(bundle: Bundle) -> None:
    """Refuse a bundle that is a package's own code, where what is wanted needs a network.

    Raises
    ------
    InputRefusedError
        ``is-code``.
    """
    if bundle.code is not None:
        raise InputRefusedError(
            f"{bundle.title} is code of the package {bundle.code['package']}: it has no network that can be loaded, trained, "
            "joined or exported here.",
            code="is-code", hint="Export hard examples for it, train it with its own tools, and install the new version.",
        )  # fmt: skip


def network_with(network: dict[str, Any], weights: Mapping[str, torch.Tensor]) -> nn.Module:
    """Return a network of the closed table with weights, which have to fit exactly.

    Parameters
    ----------
    network : dict
        ``{"name": …, "arguments": {…}}``
    weights : tensors by name; floating-point ones may have another precision than the network's

    Raises
    ------
    ValueError
        With everything that does not fit, beginning with the first.
    InputRefusedError
        Where the network cannot be built.
    """
    total = sum(tensor.numel() for tensor in weights.values())
    built = build_bounded(network["name"], network["arguments"], total)
    expected: dict[str, torch.Tensor] = built.state_dict()
    if problems := problems_of_weights(weights, expected):
        more = f", and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
        raise ValueError("; ".join(problems[:LISTED]) + more)
    built.load_state_dict({name: tensor.to(expected[name].dtype) for name, tensor in weights.items()})
    return built.eval()


def problems_of_weights(
    weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> list[str]:
    """Return what keeps tensors from being the weights of a network."""
    import torch

    problems = [f"it has no {name}" for name in sorted(set(expected) - set(weights))]
    problems += [f"the network has no {name[:120]}" for name in sorted(set(weights) - set(expected))]
    for name, tensor in weights.items():
        wanted = expected.get(name)
        if wanted is None:
            continue
        if tensor.shape != wanted.shape or tensor.is_floating_point() != wanted.is_floating_point():
            problems.append(
                f"{name} is {tuple(tensor.shape)} {tensor.dtype}, expected {tuple(wanted.shape)} {wanted.dtype}"
            )
        elif tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            problems.append(f"{name} holds values that are not finite")
    return problems


def _loaded(bundle: Bundle, network: dict[str, Any], weights: Mapping[str, torch.Tensor]) -> nn.Module:
    from napari_medlab.models.bundles.bundle import WEIGHTS, bundle_refused

    try:
        return network_with(network, weights)
    except InputRefusedError as error:
        raise InputRefusedError(
            f"{bundle.folder}: {error.message}", code=error.code, hint=error.hint
        ) from error
    except ValueError as error:
        raise bundle_refused(bundle.folder, [f"{WEIGHTS} does not fit the network: {error}"]) from error
