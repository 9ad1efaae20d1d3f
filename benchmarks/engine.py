"""The tiled engine against MONAI's SlidingWindowInferer: time, memory, and how far either is from the whole image at once.

Run as ``python benchmarks/engine.py``, or with ``--quick`` for a minute's worth. Each run has a process of its own, with
the same network, weights, precision and image. MONAI needs the image as float32 in memory, and leaves logits there; the
engine reads it tile by tile, and writes probabilities to disk. What the image itself takes is counted for neither: the
volume is in memory as int16 before, the slide is a file. The volume is a chest CT of a patient, brought to 200 slices, where
``MEDLAB_TEST_DATA`` names a folder of samples, and an enlarged phantom otherwise. Last, the slide's area grows tenfold.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from engine_images import chest, write_section
from engine_runs import RUNS
from figures import Figure, Goal, Growth
from measuring import Record, arguments, recording

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is first imported

AREA = "Engine"
VOLUME, SMALL_VOLUME = (200, 512, 512), (64, 192, 192)
SIDES, SMALL_SIDES = (
    {"slide": 20_000, "part": 5_000, "tenth": 6_325},
    {"slide": 3_000, "part": 3_000, "tenth": 949},
)
EXACT = Goal(1e-3)
GOALS = {"volume": (1 / 2, 1 / 2), "slide": (1 / 3, 1 / 10)}
"""Share of MONAI's time and of its memory, with the last rule of :data:`SKIPS`."""
SKIPS = {"volume": ("none", "air", "lungs"), "slide": ("none", "glass")}
RUNS_OF = (
    ("volume", "volume", "fp32"),
    ("volume", "volume", "bf16"),
    ("slide", "slide", "bf16"),
    ("part", "slide", "fp32"),
)
"""The image, its kind, and the precision."""


def main() -> None:
    """Print the figures, or those of one run where a run was asked for."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=["volume", "slide", "part"], help="one image alone")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        asked = json.loads(options.run)
        print(json.dumps(RUNS[asked["run"]](asked)))
        return
    with tempfile.TemporaryDirectory() as folder, recording(__file__, options) as record:
        for name, kind, precision in RUNS_OF:
            if options.only in (None, name):
                path = make_image(Path(folder), name, is_small=options.quick)
                compare(record, kind, precision, path)
                if name == "slide":
                    tenth = make_image(Path(folder), "tenth", is_small=options.quick)
                    grow(record, (tenth, path))


def compare(record: Record, kind: str, precision: str, path: Path) -> None:
    """Run both on one image, and record times, memory, and how far either is from the whole at once."""
    asked = {"kind": kind, "precision": precision, "path": str(path)}
    about = f"{path.stem}, {precision}"
    monai = child({**asked, "run": "monai"})
    peer = "MONAI's SlidingWindowInferer"
    for skip in SKIPS[kind]:
        ours = child(
            {**asked, "run": "engine", "skip": skip, "out": f"{path.with_suffix('')}-{precision}-{skip}"}
        )
        print(f"{about}, skipping {skip}: {ours['tiles']} tiles of {ours['total']}; processor time {ours['cpu_seconds']:.1f} s, "
              f"MONAI {monai['cpu_seconds']:.1f} s", flush=True)  # fmt: skip
        share, memory = GOALS[kind] if skip == SKIPS[kind][-1] else (1.0, 1.0)
        how = f"{about}, skipping {skip}"
        record.add(
            Figure(
                AREA,
                "inference",
                ours["seconds"],
                "s",
                Goal(round(share, 3), "ratio"),
                peer,
                monai["seconds"],
                how=how,
            ),
            Figure(
                AREA, "peak of memory", ours["mib"], "MiB", Goal(memory, "ratio"), peer, monai["mib"], how=how
            ),
        )
    far = child({**asked, "run": "exactness"})
    what, engine, theirs = "difference from the whole image at once", far["engine"], far["monai"]
    goal = EXACT if precision == "fp32" else None
    how = f"{about}, the largest of any voxel of a piece that the network can see at once"
    record.add(Figure(AREA, what, engine, "", goal, peer, theirs, how=how))


def grow(record: Record, paths: tuple[Path, ...]) -> None:
    """Measure slides of several areas, the smallest first, skipping nothing, so that the work grows as the area."""
    runs = [
        child({"kind": "slide", "precision": "bf16", "path": str(path), "run": "engine", "skip": "none",
               "out": f"{path.with_suffix('')}-growth"})
        for path in paths
    ]  # fmt: skip
    areas = tuple(run["pixels"] for run in runs)
    record.add(
        Growth(
            AREA, "inference on a slide", "s", "pixels", "n", areas, tuple(run["seconds"] for run in runs)
        ),
        Growth(AREA, "peak of memory", "MiB", "pixels", "n", areas, tuple(run["mib"] for run in runs)),
    )


def child(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what a run in a process of its own prints."""
    command = [sys.executable, __file__, "--run", json.dumps(asked)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def make_image(folder: Path, name: str, *, is_small: bool) -> Path:
    """Write the volume or a slide, and return where it is."""
    if name == "volume":
        path = folder / "volume.npy"
        if not path.exists():
            np.save(path, chest(SMALL_VOLUME if is_small else VOLUME))
        return path
    path = folder / f"{name}.tif"
    write_section(path, (SMALL_SIDES if is_small else SIDES)[name])
    return path


if __name__ == "__main__":
    main()
