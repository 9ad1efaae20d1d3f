"""Trainings that were paused or killed: what lies beside their state, so that they go on though the window was closed."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import replace_file
from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles.documents import read_document
from napari_medlab.models.training.examples import FineTuningOptions
from napari_medlab.models.training.metrics import metrics_path, read_metrics
from napari_medlab.models.training.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PausedTraining", "note_training", "paused_trainings"]

SUFFIX = ".training.json"


@dataclass(frozen=True)
class PausedTraining:
    """A training with all that is needed to go on with it exactly.

    Parameters
    ----------
    state : Path
        Its checkpoint.
    packages : tuple of Path
    parent : Path
        The folder of the bundle that it began with.
    recipe : Recipe
    options : FineTuningOptions
    """

    state: Path
    packages: tuple[Path, ...]
    parent: Path
    recipe: Recipe
    options: FineTuningOptions

    @property
    def course(self) -> list[dict[str, Any]]:
        """Its steps so far, as :mod:`~napari_medlab.models.training.metrics` writes them."""
        return read_metrics(metrics_path(self.state))

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, which are those of a request to the training process."""
        return {
            "packages": [str(path) for path in self.packages], "bundle": str(self.parent),
            "recipe": self.recipe.as_json(), "options": self.options.as_json(),
        }  # fmt: skip

    def forget(self) -> None:
        """Remove the note about it, and nothing else."""
        _note_path(self.state).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove its state, too: it cannot go on any more."""
        for path in (self.state, metrics_path(self.state)):
            path.unlink(missing_ok=True)
        self.forget()


def note_training(training: PausedTraining) -> None:
    """Write down what a training is, beside its state."""
    replace_file(_note_path(training.state), json.dumps(training.as_json(), indent=1).encode())


def paused_trainings(out: Path) -> list[PausedTraining]:
    """Return the trainings that may go on in a folder of bundles, the one that was last at work first."""
    found = [one for one in _read(out) if one.state.is_file()]
    return sorted(found, key=lambda one: one.state.stat().st_mtime, reverse=True)


def _read(out: Path) -> Iterator[PausedTraining]:
    for path in out.glob(f"*{SUFFIX}"):
        with suppress(OSError, ValueError, KeyError, TypeError, InputRefusedError):
            said = read_document(path)
            yield PausedTraining(
                path.with_name(path.name.removesuffix(SUFFIX) + ".checkpoint"),
                tuple(Path(one) for one in said["packages"]), Path(said["bundle"]), Recipe.from_json(said["recipe"]),
                FineTuningOptions.from_json(said["options"]),
            )  # fmt: skip


def _note_path(state: Path) -> Path:
    return state.with_suffix(SUFFIX)
