"""What networks return is tensors, or tensors within lists, tuples, dicts and dataclasses: one way to walk through them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["flattened", "mapped", "refilled"]


def mapped(outputs: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:  # noqa: ANN401 - any nesting
    """Return the same nesting with every tensor changed; what is no tensor stays as it is."""
    if isinstance(outputs, torch.Tensor):
        return change(outputs)
    if isinstance(outputs, dict):
        return {key: mapped(value, change) for key, value in outputs.items()}
    if isinstance(outputs, tuple) and hasattr(outputs, "_fields"):
        return type(outputs)(*(mapped(value, change) for value in outputs))
    if isinstance(outputs, (list, tuple)):
        return type(outputs)(mapped(value, change) for value in outputs)
    if is_dataclass(outputs) and not isinstance(outputs, type):
        return replace(
            outputs, **{f.name: mapped(getattr(outputs, f.name), change) for f in fields(outputs) if f.init}
        )
    return outputs


def flattened(outputs: Any) -> list[torch.Tensor]:  # noqa: ANN401 - any nesting
    """Return the tensors one after the other, in the order in which :func:`mapped` meets them."""
    found: list[torch.Tensor] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor)
        return tensor

    mapped(outputs, note)
    return found


def refilled(template: Any, tensors: list[torch.Tensor]) -> Any:  # noqa: ANN401 - any nesting
    """Return the nesting of ``template`` with other tensors in it, in the order of :func:`flattened`."""
    given = iter(tensors)
    return mapped(template, lambda _: next(given))
