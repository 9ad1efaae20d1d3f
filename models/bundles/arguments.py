"""Building a network that a foreign file asks for, without letting it ask for more than there is."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from torch import nn

__all__ = ["build_bounded", "problems_of_arguments"]

MAX_VALUES = 4096
MAX_NUMBER = 1 << 16
MAX_TEXT = 128
MAX_LEVELS = 12
MAX_SECONDS = 120.0
SPARE_VALUES = 1 << 20
"""What a network may hold beyond its weights, such as tables that it computes for itself."""


class _TooLargeError(Exception):
    """Raised from within a constructor, to get out of it."""


def problems_of_arguments(arguments: object) -> list[str]:
    """Return what is odd about the arguments of a network: only plain values of modest size are not.

    Sizes of layers and their counts are numbers up to 65,536, and there are at most 4,096 values in all.
    """
    level, count = [arguments], 0
    for _ in range(MAX_LEVELS):
        count += len(level)
        if count > MAX_VALUES:
            return [f"its arguments hold over {MAX_VALUES} values"]
        if problems := [problem for value in level for problem in _problems_of_value(value)]:
            return problems[:10]
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return []
    return [f"its arguments are nested over {MAX_LEVELS} levels deep"]


def build_bounded(name: object, arguments: dict[str, Any], values: int) -> nn.Module:
    """Return the network of a name, untrained; given up as soon as it asks for more weights than there are.

    A layer that is far too large is noticed before any of its memory is touched.

    Parameters
    ----------
    name, arguments : as in :func:`napari_medlab.models.networks.build_network`
    values : int
        How many numbers the weights hold that are to be loaded into it.

    Raises
    ------
    InputRefusedError
        Where the name is not known, the arguments do not fit, or the network is larger than its weights.
    """
    from napari_medlab.models.networks import build_network

    if problems := problems_of_arguments(arguments):
        raise _not_fitting(name, "; ".join(problems))
    try:
        with _bounded(2 * values + SPARE_VALUES):
            return build_network(name, arguments)
    except InputRefusedError:
        raise
    except Exception as error:  # constructors of many makers raise whatever they like about odd arguments
        raise _not_fitting(name, f"{type(error).__name__}: {str(error)[:300]}") from error


def _problems_of_value(value: object) -> list[str]:
    if isinstance(value, str):
        return [f"{value[:40]!r}… is too long"] if len(value) > MAX_TEXT else []
    if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        return [f"{value:g} is larger than {MAX_NUMBER}"]
    plain = value is None or isinstance(value, bool | int | float | dict | list | tuple)
    return [] if plain else [f"{type(value).__name__} is no plain value"]


def _inner(value: object) -> list[object]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return list(value) if isinstance(value, list | tuple) else []


def _not_fitting(name: object, reason: str) -> InputRefusedError:
    return InputRefusedError(
        f"The network {str(name)[:80]!r} cannot be built: {reason}.", code="network-arguments",
        hint="Check the arguments against the weights: they have to be those with which the model was trained.",
    )  # fmt: skip


@contextmanager
def _bounded(most: int) -> Iterator[None]:
    """Stop this thread's construction of a network at ``most`` values, or after two minutes."""
    from torch.nn.modules.module import (
        register_module_buffer_registration_hook,
        register_module_parameter_registration_hook,
    )

    thread, started, seen = threading.get_ident(), time.monotonic(), 0

    def note(module: nn.Module, name: str, tensor: torch.Tensor | None) -> None:
        nonlocal seen
        if threading.get_ident() != thread or tensor is None:
            return
        seen += tensor.numel()
        if seen > most:
            raise _TooLargeError(f"{type(module).__name__}.{name} makes it larger than its weights are")
        if time.monotonic() - started > MAX_SECONDS:
            raise _TooLargeError(f"it takes over {MAX_SECONDS:.0f} s to build")

    hooks = [
        register_module_parameter_registration_hook(note),
        register_module_buffer_registration_hook(note),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
