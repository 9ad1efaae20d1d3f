"""The course of a training for TensorBoard, where that is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_medlab.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.training.loop import Step

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """Writes event files into a folder, which ``tensorboard --logdir`` shows.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    MissingExtraError
        Where the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise MissingExtraError(
                "Event files for TensorBoard need the package tensorboard, which is not installed.",
                code="missing-tensorboard",
                hint="Install it (pip install tensorboard), or leave it out: the metrics.jsonl file holds the same.",
            ) from error
        self._writer = SummaryWriter(str(folder))

    def add(self, step: Step) -> None:
        """Write what a step reports: losses, learning rate and, after a look, the figures of the validation."""
        named = {f"loss/{name}": value for name, value in step.losses.items()}
        named["learning_rate"] = step.learning_rate
        named |= {f"validation/{name}": value for name, value in (step.metrics or {}).items()}
        for name, value in named.items():
            self._writer.add_scalar(name, value, step.number)

    def close(self) -> None:
        """Write out what is still in memory."""
        self._writer.close()
