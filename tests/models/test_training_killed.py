"""A training is killed at any moment and goes on as if nothing had happened, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_medlab.models.training.checkpoints import read_checkpoint
from napari_medlab.models.training.metrics import metrics_path, read_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Survived

SCRIPT = Path(__file__).with_name("killed_training.py")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs processes that fork")


class Trainings:
    """Trains in processes that can be killed."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(self, state: Path, *, kill_after: float | None = None, patience: int = 0) -> bool:
        """Train; kill it some seconds after it told of ``patience`` steps. Return whether it came to its end."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{state}\n")
        self.process.stdin.flush()
        pid, steps = 0, 0
        for line in self.process.stdout:
            word, *rest = line.split()
            if word == "ended":
                return rest == ["0"]
            pid, steps = (int(rest[0]), steps) if word == "child" else (pid, steps + 1)
            if pid and kill_after is not None and steps >= patience:
                time.sleep(kill_after)
                os.kill(pid, signal.SIGKILL)
                kill_after = None
        raise AssertionError("the script is gone")

    def close(self) -> None:
        """End the script."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


@pytest.fixture
def trainings() -> Iterator[Trainings]:
    made = Trainings()
    yield made
    made.close()


def course(state: Path) -> list[dict[str, Any]]:
    """Return what was told of each step, but for how long it took."""
    return [
        {name: value for name, value in line.items() if name != "seconds"}
        for line in read_metrics(metrics_path(state))
    ]


def check_kills(trainings: Trainings, folder: Path, kills: int) -> int:
    """Kill a training so many times, each time after a few steps more, and hold it against one that ran through."""
    straight, broken = folder / "straight.checkpoint", folder / "broken.checkpoint"
    assert trainings.run(straight)
    recipe = torch.load(straight, weights_only=True)["recipe"]
    chance, survived = random.Random(kills), 0
    for _ in range(kills):
        assert not trainings.run(
            broken, kill_after=chance.uniform(0.0, 0.01), patience=1 + chance.randrange(4)
        )
        state = read_checkpoint(broken, recipe)
        left = [
            path.name for path in folder.iterdir() if "broken" in path.name and "partial" not in path.name
        ]
        assert set(left) <= {broken.name, metrics_path(broken).name}
        survived += state is None or 1 <= state["next"] <= len(course(straight))
    assert trainings.run(broken)
    assert course(broken) == course(straight)
    first, second = (
        torch.load(path.with_suffix(".weights"), weights_only=True) for path in (straight, broken)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    return survived


def cut_off_by_kills(folder: Path, kills: int) -> int:
    """Kill what writes a state in its place, again and again; return how often it was not whole afterwards."""
    state, size, cut = folder / "naive.checkpoint", 8 << 20, 0
    code = f"import sys\nwhile True:\n open(sys.argv[1], 'wb').write(bytes({size}))\n print(flush=True)"
    chance = random.Random(kills)
    for _ in range(kills):
        with subprocess.Popen([sys.executable, "-c", code, str(state)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            timer = threading.Timer(chance.uniform(0.0, 0.02), child.kill)
            timer.start()
            child.stdout.read()
        cut += state.stat().st_size != size
    return cut


def test_a_training_that_is_killed_three_times_goes_on_to_the_bit(
    trainings: Trainings, quick_folder: Path
) -> None:
    assert check_kills(trainings, quick_folder, 3) == 3


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.timeout(1200)
def test_a_training_that_is_killed_20_times_goes_on_to_the_bit(
    trainings: Trainings, quick_folder: Path, survived: Survived
) -> None:
    kept = check_kills(trainings, quick_folder, 20)
    cut = cut_off_by_kills(quick_folder, 20)
    survived(
        "durability", "training killed", tried=20, survived=kept,
        control=f"of a state that is written in its place, {cut} of 20 kills left a part",
        detail="the loss of every step and the last weights are those of a training that was never killed, to the bit",
    )  # fmt: skip
    assert kept == 20
    assert cut >= 5
