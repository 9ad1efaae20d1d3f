"""The state of a training on disk: written whole or not at all, read without running anything in it."""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import replace_file
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_checkpoint", "write_checkpoint"]

SCHEMA = 1


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Put a state in the place of the one before; it holds tensors, numbers, texts, lists and dicts alone."""
    import torch

    buffer = io.BytesIO()
    torch.save({"schema": SCHEMA, **state}, buffer)
    replace_file(path, buffer.getvalue())


def read_checkpoint(path: Path, recipe: dict[str, Any]) -> dict[str, Any] | None:
    """Return the state that lies at ``path``, on the CPU, or None where there is none.

    Raises
    ------
    InputRefusedError
        Where it cannot be read, or belongs to a training by another recipe.
    """
    import torch

    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        fits = state["schema"] == SCHEMA and state["recipe"] == recipe
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        pickle.UnpicklingError,
    ) as error:
        raise InputRefusedError(
            f"The state of the training in {path} is damaged: {error}", code="checkpoint",
            hint="Move the file away; the training then begins anew.",
        ) from error  # fmt: skip
    if not fits:
        raise InputRefusedError(
            f"{path} holds the state of a training by another recipe.", code="other-checkpoint",
            hint="Give the same settings as before, or move the file away to begin anew.",
        )  # fmt: skip
    return state
