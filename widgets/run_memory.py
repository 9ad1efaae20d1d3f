"""What a model runs on by this reader's choice: kept between sessions on this machine, as its devices are its own."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass

from napari_medlab.durable import make_folder, replace_file, state_folder

__all__ = ["RunChoice", "recall_choice", "remember_choice"]

FILE = "run.json"


@dataclass(frozen=True)
class RunChoice:
    """Device and precision, ``"auto"`` for the worker's choice; address and certificates of a cluster, empty for none."""

    device: str = "auto"
    precision: str = "auto"
    cluster: str = ""
    certificates: str = ""


def recall_choice() -> RunChoice:
    """Return what was chosen last; the automatic choice where that cannot be read."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads((state_folder() / FILE).read_text(encoding="utf-8"))
        return RunChoice(str(stored["device"]), str(stored["precision"]), str(stored.get("cluster", "")),
                         str(stored.get("certificates", "")))  # fmt: skip
    return RunChoice()


def remember_choice(choice: RunChoice) -> None:
    """Keep this; a disk that takes nothing is no reason to disturb the reader."""
    with suppress(OSError):
        make_folder(state_folder())
        replace_file(state_folder() / FILE, json.dumps(asdict(choice)).encode())
