"""Cases per minute: one process without a cluster, and clusters of one and two workers on this machine, over TLS.

Run as ``python benchmarks/cluster_throughput.py``. All have the same cores, which are as many as there are workers in the
largest cluster: the process without a cluster has all of them as threads, and so has the one worker; two workers share them.
What is measured begins when every worker has the model open, and ends with the last candidate.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from figures import Figure, Goal
from measuring import arguments, recording

from napari_medlab.jobs import CancelToken
from napari_medlab.jobs.cluster import connect
from napari_medlab.jobs.cluster.certificates import make_certificates
from napari_medlab.jobs.worker_process import WorkerProcess
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.inference.worker import MODULE
from napari_medlab.models.inference.workers import InTurn, OnCluster
from napari_medlab.phantoms.chest_ct import SECOND_SITE, chest_phantom
from napari_medlab.project.sample import write_mha

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_medlab.models.inference.workers import Workers

CASES, QUICK_CASES = 24, 4
SHAPE, QUICK_SHAPE = (96, 192, 192), (24, 80, 80)
WORKERS = (1, 2)
VERB = (
    "import argparse, sys; from napari_medlab.cli.cluster import VERB; parser = argparse.ArgumentParser(); "
    "VERB.configure(parser); VERB.run(parser.parse_args(sys.argv[1:]))"
)
LEAST_OF_ALONE = 0.85
"""What one worker must reach of the process without a cluster: so much of the time may the way there and back cost."""


def main() -> None:
    """Print and record cases per minute."""
    options = arguments(__doc__).parse_args()
    count, shape = (QUICK_CASES, QUICK_SHAPE) if options.quick else (CASES, SHAPE)
    cores = max(WORKERS)
    with recording(__file__, options) as record, tempfile.TemporaryDirectory() as folder:
        images = _images(Path(folder), count, shape)
        with WorkerProcess(MODULE, threads=cores) as worker:
            alone = _per_minute(InTurn(worker), images, 1)
        found = {number: _on_cluster(Path(folder), images, number, cores) for number in WORKERS}
        for number, figure in found.items():
            goal = Goal(LEAST_OF_ALONE, "ratio", "least") if number == 1 else None
            what = f"a detector on {number} worker{'s' * (number > 1)}, {cores // number} threads each"
            record.add(Figure(
                "Cluster", what, figure, "cases/min", goal, f"no cluster, {cores} threads", alone,
                how=f"{count} CTs of {shape}, TLS on the loopback",
            ))  # fmt: skip


def _images(folder: Path, count: int, shape: tuple[int, int, int]) -> dict[str, Path]:
    """Write small CTs, and return them by name."""
    paths = {}
    for number in range(count):
        path = paths[f"case {number}"] = folder / f"{number}.mha"
        write_mha(path, chest_phantom(number, path.stem, replace(SECOND_SITE, shape=shape)))
    return paths


def _on_cluster(folder: Path, images: dict[str, Path], number: int, cores: int) -> float:
    certificates = folder / f"certificates {number}"
    make_certificates(certificates)
    with (
        _verb("scheduler", "--certificates", certificates, "--port", 0) as address,
        _verb("workers", address, "--certificates", certificates, "--per-machine", number),
        connect(address, certificates=certificates) as cluster,
    ):
        return _per_minute(OnCluster(cluster), images, number)


@contextmanager
def _verb(*words: object) -> Iterator[str]:
    """Run ``napari-medlab cluster`` and give the last word of the first line that it says."""
    process = subprocess.Popen(
        [sys.executable, "-c", VERB, *map(str, words)], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"},
    )  # fmt: skip
    try:
        if process.stderr is None:
            raise RuntimeError("it has nothing to say it with")
        yield process.stderr.readline().split()[-1]
    finally:
        process.terminate()
        process.wait()


def _per_minute(workers: Workers, images: dict[str, Path], number: int) -> float:
    """Return cases per minute once each of so many workers has the model open, which a case for each sees to."""
    bundle = find_bundle("lung-nodules")

    def request_of(name: str) -> dict[str, Any]:
        return {"op": "predict", "bundle": str(bundle.folder), "device": "cpu", "precision": "float32",
                "image": str(images[name.removeprefix("warm ")]), "case_id": name}  # fmt: skip

    names = list(images)
    while number > 1 and not _has(workers, number):
        time.sleep(0.5)
    for _ in workers.answers([f"warm {name}" for name in names[: 2 * number]], request_of, CancelToken()):
        pass
    began = time.perf_counter()
    ends = [
        event
        for _, event in workers.answers(names, request_of, CancelToken())
        if event["event"] in ("done", "failed")
    ]
    seconds = time.perf_counter() - began
    if [event["event"] for event in ends] != ["done"] * len(names):
        raise RuntimeError(f"not all cases were done: {ends}")
    return 60 * len(names) / seconds


def _has(workers: Workers, number: int) -> bool:
    """Tell whether there are so many workers."""
    counts = [
        event["count"]
        for event in workers.events({"op": "devices"}, CancelToken())
        if event["event"] == "workers"
    ]
    return max(counts, default=0) >= number


if __name__ == "__main__":
    main()
