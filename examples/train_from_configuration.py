"""Train a row of the practitioners' tables at toy size: a one-stage detector for mammograms with a centre-ness branch.

Run as ``python examples/train_from_configuration.py``; it takes about half a minute on one core. What comes out has
learnt next to nothing: the row itself asks for 20,000 steps on large images. Everything else is as in earnest.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_medlab.images import Image
from napari_medlab.jobs import CancelToken
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.preprocessing import Preprocessing
from napari_medlab.models.training.holding_out import HoldOut
from napari_medlab.models.training.samples import Sample, write_sample
from napari_medlab.models.workflows.retrain import Experiment, train_experiment
from napari_medlab.phantoms.mammogram import mammogram_exam

if TYPE_CHECKING:
    from napari_medlab.models.training.configuration import Configuration
    from napari_medlab.phantoms.mammogram import MammogramView

# A configuration of one's own names the one that it is based on and what it changes: objects are changed key by key, and
# everything else is replaced. Only sizes are changed here; the branches, their losses and the augmentation stay.
TOY = {
    "name": "toy-mammogram",
    "base": "mammogram-centreness-regression",
    "note": "The same at toy size.",
    "change": {
        "network": {
            "arguments": {
                "backbone": {"name": "resnet10", "planes": [8, 8, 16, 16]},
                "channels": 16,
                "convs": 1,
            }
        },
        "preprocessing": {"longest_side": 192},
        "recipe": {
            "steps": 20,
            "learning_rate": 1e-3,
            "schedule": {"warmup_steps": 5},
            "validation": {"every": 10},
        },
    },
}
EXAMS = 3


def main(folder: Path) -> None:
    """Write the configuration and the samples, train, and print how the losses went and what came out."""
    path = folder / "toy.json"
    path.write_text(json.dumps(TOY, indent=1))
    configuration = read_configuration(path)  # refused with every mistake in it, each with its path
    write_samples(folder / "samples", configuration)

    # The first of three folds is held out; patients are kept together by the name in the samples' group. It runs in a
    # process of its own. Stopped and started again with the same arguments, it goes on where it was.
    experiment = Experiment(configuration, [folder / "samples"], hold_out=HoldOut(fold=(1, 3)))
    for event in train_experiment(experiment, folder / "models", CancelToken()):
        if event["event"] == "data":
            print(f"{event['examples']} views to train on, {event['lesions']} of them with a lesion")
            print(f"{event['held_out']} views held out")
        elif event["event"] == "step":
            tell(event)
        elif event["event"] == "bundle":
            bundle = event["bundle"]
            print(f"{bundle.title}: {bundle.task} of {', '.join(bundle.classes)}")
            print("in it:", ", ".join(sorted(file.name for file in bundle.folder.iterdir())))
            made = bundle.spec["training"]
            print(f"made of the data {made['data'][0][:12]}… with seed {made['seed']}")


def write_samples(folder: Path, configuration: Configuration) -> None:
    """Write every view of some exams as a sample: prepared as the configuration says, with boxes in its pixels."""
    folder.mkdir()
    for seed in range(EXAMS):
        exam = mammogram_exam(seed, f"exam-{seed}", shape=(512, 416))
        for view in exam.views:
            write_sample(folder / f"{view.case_id}.npz", sample_of(view, exam.exam_id, configuration))
        print(f"exam {seed + 1} of {EXAMS}", file=sys.stderr)


def sample_of(view: MammogramView, patient: str, configuration: Configuration) -> Sample:
    """Return what the network is shown of a view."""
    image = Image.of_arrays([view.pixels], view.grid, kind="mammogram")
    # the same preprocessing is written into the bundle, so that it is the same wherever the model runs
    prepared = Preprocessing.from_json(configuration.preprocessing).prepare(image)
    pixels = prepared.read((0, 0), prepared.shape)
    # findings lie in the world; the lattice that the network sees knows where that is
    centres = prepared.grid.to_index(np.array([f.centre for f in view.findings], float).reshape(-1, 2))
    reach = np.array([f.diameter for f in view.findings])[:, None] / np.asarray(prepared.grid.spacing) / 2
    labels = np.array([configuration.classes.index(f.label) for f in view.findings], np.int64)
    return Sample(
        image=pixels,  # (channel, y, x)
        boxes=np.concatenate([centres - reach, centres + reach], axis=1).astype(
            np.float32
        ),  # (y0, x0, y1, x1)
        labels=labels,
        is_ignored=np.zeros(len(labels), np.bool_),
        group=patient,
    )


def tell(step: dict[str, object]) -> None:
    """Print the terms of the loss now and then, and what the held-out fold says."""
    number, losses, metrics = step["number"], step["losses"], step["metrics"]
    assert isinstance(number, int)
    assert isinstance(losses, dict)
    if number == 1 or number % 5 == 0:
        print(f"step {number:3}:", ", ".join(f"{name} {value:.3f}" for name, value in losses.items()))
    if isinstance(metrics, dict):
        print(
            f"held out after step {number}:",
            ", ".join(f"{name} {value:.3f}" for name, value in metrics.items()),
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
