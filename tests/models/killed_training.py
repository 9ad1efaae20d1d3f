"""Trains a small network, each time in a child of its own that somebody may kill; a script.

For each path of a state that it reads, it says the number of the child, then each step, and at last ``ended`` and how.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from training_pieces import RECIPE, GoesRound, MaskObjective, brightened, small_net

from napari_medlab.jobs import CancelToken
from napari_medlab.models.training.loop import Step, train

STEPS = 240


def train_once(state: Path | None, steps: int = STEPS) -> None:
    """Train, going on from ``state`` where it is there, and save the weights beside it at the end."""
    recipe = replace(RECIPE, steps=steps, ema_decay=0.9, checkpoint_seconds=0.01)
    network = small_net()
    report = say if state is not None else lambda _: None
    train(
        network, MaskObjective(), GoesRound(), recipe, CancelToken(), report, transforms=([brightened], []), checkpoint=state
    )  # fmt: skip
    if state is not None:
        torch.save(network.state_dict(), state.with_suffix(".weights"))


def say(what: Step | str) -> None:
    """Print a step's number, or a word, at once."""
    os.write(1, f"{what.number if isinstance(what, Step) else what}\n".encode())


def main() -> None:
    """Train in a child for each line of standard input: the modules are loaded once."""
    torch.set_num_threads(1)
    train_once(None, steps=1)  # loads what torch loads late
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                train_once(Path(line.strip()))
                status = 0
            finally:
                os._exit(status)
        say(f"child {pid}")
        say(f"ended {os.waitpid(pid, 0)[1]}")


if __name__ == "__main__":
    main()
