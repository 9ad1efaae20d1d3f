"""``napari-medlab project run DIR``: a model over the cases of a project, whose candidates it keeps as a run."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from napari_medlab.cli.cluster_arguments import add_cluster_arguments, cluster_of, say_workers
from napari_medlab.cli.failures import every_case_failed
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from napari_medlab.jobs.worker_process import Worker
    from napari_medlab.models.inference.workers import Workers
    from napari_medlab.models.workflows.predict import RunEvent
    from napari_medlab.project import CaseRecord, Project

__all__ = ["add_run_model_arguments", "run_model"]


def add_run_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which model is run, on which cases, and how."""
    add = parser.add_argument
    add(
        "--model",
        metavar="NAME",
        help="a name, a hash or a bundle's folder (default: the current model; before one was published, the model that ships "
        "for most of the images)",
    )
    add("--split", choices=("train", "test", "all"), default="all", help="which cases (default: all)")
    add("--device", default="auto", metavar="DEVICE", help="auto (the default), cpu, cuda, cuda:1 or mps")
    add("--precision", default="auto", choices=("auto", "float32", "bfloat16", "float16", "openvino"))
    add("--threshold", type=float, metavar="X", help="the least score, 0 to 1, in place of the model's own")
    add_cluster_arguments(parser)


def run_model(options: argparse.Namespace) -> dict[str, Any]:
    """Run a model; cases that an earlier run of it is done with are not computed again, and one that fails stops no other."""
    from napari_medlab.cli.naming import model_in
    from napari_medlab.cli.project import open_to_write
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.workflows.predict import PredictOptions, run_bundle
    from napari_medlab.models.workflows.publishing import current_model

    asked = PredictOptions(options.device, options.precision, threshold=options.threshold)
    with open_to_write(options.folder) as project:
        named = options.model
        bundle = model_in(project, named) if named else current_model(project)
        cases = [case for case in project.cases() if options.split in ("all", case.split)]
        keys = [case.case_id for case in cases if case.kind in bundle.preprocessing.kinds]
        if not cases:
            which = "cases" if options.split == "all" else f"{options.split} cases"
            raise InputRefusedError(
                f"The project has no {which}.",
                code="no-cases",
                hint="Add images with napari-medlab project add DIR PATH.",
            )
        if not keys:
            raise _reads_none(project, cases, options.split)
        run_id, failed = "", {}
        with _workers(options) as workers:
            for event in run_bundle(project, bundle, keys, workers, CancelToken(), options=asked):
                run_id = event.run_id
                if event.kind == "case failed":
                    failed[event.case_id] = event.error
                _say(event)
        found = sum(len(project.candidates(run_id, key)) for key in keys)
    return {
        **every_case_failed(list(failed.values()), len(keys)),
        "run_id": run_id, "model": bundle.name, "hash": bundle.hash, "cases": len(keys), "candidates": found,
        "other_kinds": len(cases) - len(keys), "failed": failed,
    }  # fmt: skip


def _reads_none(project: Project, cases: Sequence[CaseRecord], split: str) -> InputRefusedError:
    """Return what is said where a model reads none of the cases: what they are, and which models read them."""
    from napari_medlab.models.bundles import shipped_bundles
    from napari_medlab.models.bundles.registry import bundle_paths, usable_bundles

    counts = Counter(case.kind for case in cases)
    own = usable_bundles(bundle_paths(project.folder / "bundles"))[0]
    models = {b.name: b.preprocessing.kinds for b in (*shipped_bundles(), *own) if b.task != "classification"}
    fitting = [
        f"{name} reads {' and '.join(f'{kind}s' for kind in kinds if counts[kind])}: --model {name}."
        for name, kinds in models.items()
        if counts.keys() & set(kinds)
    ]
    known = "; ".join(
        f"{name} reads {' and '.join(f'{kind}s' for kind in kinds)}" for name, kinds in models.items()
    )
    of = "" if split == "all" else f"{split} "
    return InputRefusedError(
        f"Your {_are(counts, of)}.", code="no-cases",
        hint=" ".join(fitting) or f"{known}. Import a model with napari-medlab models import, or name one with --model.",
    )  # fmt: skip


def _are(counts: Counter[str], of: str) -> str:
    """Return what cases are: ``"12 cases are photos"``, ``"3 test cases are 2 slides and 1 photo"``."""
    total = counts.total()
    if total == 1:
        return f"only {of}case is a {next(iter(counts))}"
    if len(counts) == 1:
        return f"{total} {of}cases are {next(iter(counts))}s"
    each = [f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.most_common()]
    return f"{total} {of}cases are {' and '.join(each)}"


@contextmanager
def _workers(options: argparse.Namespace) -> Iterator[Worker | Workers]:
    """Give what runs the model: the workers of the cluster that was asked for, or a process of our own."""
    from napari_medlab.models.inference.worker import start_worker
    from napari_medlab.models.inference.workers import OnCluster

    with cluster_of(options) as cluster:
        if cluster is not None:
            yield OnCluster(cluster)
            return
        with closing(start_worker()) as worker:
            yield worker


def _say(event: RunEvent) -> None:
    if event.kind == "workers":
        say_workers(event.workers)
    if event.kind in ("case done", "case failed"):
        sys.stderr.write(f"{event.done} of {event.total} cases{f': {event.error}' if event.error else ''}\n")
