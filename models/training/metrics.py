"""The course of a training as lines of JSON beside its state: one line for a step, readable while it runs."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari_medlab.durable import replace_file, writing

if TYPE_CHECKING:
    from pathlib import Path

    from napari_medlab.models.training.loop import Step

__all__ = ["MetricsFile", "metrics_path", "read_metrics"]


def metrics_path(checkpoint: Path) -> Path:
    """Return where the course of a training lies whose state lies at ``checkpoint``."""
    return checkpoint.with_suffix(".metrics.jsonl")


class MetricsFile:
    """Writes a line for each step: ``number``, ``losses``, ``learning_rate``, ``seconds`` and, after a look, ``metrics``.

    A figure that is no number is written as null.

    Parameters
    ----------
    path : Path
    first : int
        The step that comes first; what an earlier run wrote of it and of later ones is dropped, since it comes again.
    """

    def __init__(self, path: Path, first: int) -> None:
        self._path = path
        kept = [line for line in read_metrics(path) if line["number"] < first]
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, "".join(json.dumps(line) + "\n" for line in kept).encode())

    def add(self, step: Step) -> None:
        """Append a step."""
        line: dict[str, Any] = {
            "number": step.number, "losses": step.losses, "learning_rate": step.learning_rate,
            "seconds": round(step.seconds, 3), "precision": step.precision,
        }  # fmt: skip
        if step.metrics is not None:
            line["metrics"] = {
                name: value if math.isfinite(value) else None for name, value in step.metrics.items()
            }
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a file; the last may have been cut by a crash."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):
            lines.append(json.loads(text))
    return [line for line in lines if isinstance(line, dict) and isinstance(line.get("number"), int)]
