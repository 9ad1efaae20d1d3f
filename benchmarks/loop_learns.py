"""Whether a model learns from hard examples, and from which: nodules, masses and glomeruli, on phantoms never seen.

Run as ``python benchmarks/loop_learns.py [--task nodules …] [--seeds 5] [--work DIR] [--share 0.3]``. For every seed a
pool of new patients is made from a site that the shipped model does not know. The model looks at them, a scripted reader
accepts what the phantoms say, and packages of the same number of examples are cut by different rules, each of which trains
the shipped model further. Everything goes through the functions that the window and the command line call. All models of a
task are judged on the same frozen test patients. Intervals of 95 % come from drawing test patients and seeds again, the
same ones for every rule, so that differences are paired. What the work folder holds is not done again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from loop_report import Learned, tell
from loop_tasks import NONE, TASKS, rules, shortened
from measuring import Record, arguments, recording

from napari_medlab.evaluation import Resampling, froc, match
from napari_medlab.evaluation.bootstrap import percentile_interval, resample
from napari_medlab.jobs import CancelToken
from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from loop_tasks import Task
    from numpy.typing import NDArray

    from napari_medlab.hardcases.mining import MiningRule
    from napari_medlab.models.bundles import Bundle

TEST_SEED, POOL_SEED, POOL_STEP = 60_000, 70_000, 100
REPLICATES = 2000
QUICK_SHARE = 0.05


def main() -> None:
    """Train what is not trained yet, or read what was found before, and record the figures of every task."""
    parser = arguments(__doc__)
    parser.add_argument("--task", nargs="+", choices=tuple(TASKS), help="which models; all where left out")
    parser.add_argument("--seeds", type=int, help="pools and trainings for each rule; 5 where left out")
    parser.add_argument("--share", type=float, help="of patients, examples and steps, to try it in short")
    parser.add_argument("--processes", type=int, help="seeds at a time")
    parser.add_argument(
        "--work", type=Path, help="projects and models are kept here; gone afterwards without"
    )
    parser.add_argument("--out", type=Path, help="write all of it there as JSON, too")
    parser.add_argument(
        "--show", type=Path, nargs="+", metavar="FILE", help="train nothing: tell what --out wrote before"
    )
    options = parser.parse_args()
    with recording(__file__, options) as record:
        if options.show:
            show(record, options.show)
        else:
            learn(record, options)


def show(record: Record, paths: list[Path]) -> None:
    """Record what was found in earlier runs, under the date of their files."""
    record.is_of_before(max(path.stat().st_mtime for path in paths))
    for path in paths:
        for name, rows in json.loads(path.read_text()).items():
            tell(record, name, TASKS[name], {rule: Learned(**row) for rule, row in rows.items()})
    record.note("told from the JSON that an earlier run had written")


def learn(record: Record, options: argparse.Namespace) -> None:
    """Train and judge the models of every task."""
    processes = options.processes or max(1, (os.cpu_count() or 2) // 2)
    # several trainings side by side: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    seeds, share = (
        options.seeds or (1 if options.quick else 5),
        options.share or (QUICK_SHARE if options.quick else 1.0),
    )
    document = {}
    with TemporaryDirectory() as passing:
        work = options.work or Path(passing)
        for name in options.task or (list(TASKS)[:1] if options.quick else TASKS):
            task = shortened(TASKS[name], share)
            _tested(task, work / name)
            with ProcessPoolExecutor(processes) as pool:
                list(pool.map(partial(_learn, task, work / name), range(seeds)))
            learned = _figures(task, work / name, seeds)
            tell(record, name, task, learned)
            document[name] = {rule: asdict(row) for rule, row in learned.items()}
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1))


def _say(*words: object) -> None:
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def _tested(task: Task, work: Path) -> None:
    """Make the project of the frozen test patients, on which the shipped model has looked."""
    if (work / "test.done").exists():
        return
    shutil.rmtree(work / "test", ignore_errors=True)
    with Project.create(work / "test", reader="benchmark") as project:
        list(fill_with_phantoms(project, SampleSize(0, task.patients[1]), task.test, TEST_SEED))
        _run(project, _shipped(task))
    (work / "test.done").touch()
    _say(work.name, "test patients are ready")


def _shipped(task: Task) -> Bundle:
    from napari_medlab.models.bundles import find_bundle

    return find_bundle(task.bundle)


def _run(project: Project, bundle: Bundle, *, only: str = "") -> str:
    """Run a model on all cases, or those of one split, and return the run's id."""
    from napari_medlab.models.inference.worker import start_worker
    from napari_medlab.models.workflows.predict import run_bundle

    cases = [case.case_id for case in project.cases() if only in ("", case.split)]
    run_id = ""
    with closing(start_worker()) as worker:
        for event in run_bundle(project, bundle, cases, worker, CancelToken()):
            run_id = event.run_id
            if event.kind == "case failed":
                raise RuntimeError(event.error)
    return run_id


def _learn(task: Task, work: Path, seed: int) -> None:
    """Make the pool of a seed, and train and test the model of every rule on it."""
    folder = work / f"seed-{seed}"
    if not (work / f"seed-{seed}.pool").exists():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(work / "test", folder)
        with Project.open(folder, reader="benchmark") as project:
            first = POOL_SEED + POOL_STEP * seed
            list(fill_with_phantoms(project, SampleSize(task.patients[0], 0), task.pool, first))
            _run(project, _shipped(task))
        (work / f"seed-{seed}.pool").touch()
    for name, rule in rules(task).items():
        done = work / f"seed-{seed}-{_word(name)}.json"
        if not done.exists():
            began = time.monotonic()
            with Project.open(folder, reader="benchmark") as project:
                about = _taught(project, task, replace(rule, seed=seed), folder / "exports" / _word(name))
            done.write_text(json.dumps(about))
            _say(work.name, f"seed {seed}, {name}: {about['reasons']}, {time.monotonic() - began:.0f} s")


def _word(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def _taught(project: Project, task: Task, rule: MiningRule, package: Path) -> dict[str, object]:
    """Cut a package, train on it, run what comes out on the test patients, and return what was done."""
    from napari_medlab.models.training.fine_tuning import FINE_TUNING_OF
    from napari_medlab.models.workflows.hard_examples import HardOptions, export_hard_examples
    from napari_medlab.models.workflows.retrain import retrain

    shipped = _shipped(task)
    base = next(run.run_id for run in project.runs() if run.bundle_hash == shipped.hash)
    shutil.rmtree(package, ignore_errors=True)
    list(export_hard_examples(project, shipped, base, package, HardOptions(rule=rule)))
    dims = 3 if project.cases()[0].kind == "volume" else 2
    recipe = replace(FINE_TUNING_OF[shipped.task, dims].recipe, steps=task.steps, seed=rule.seed)
    out = project.folder / "bundles"
    bundle = next(
        e["bundle"] for e in retrain([package], shipped, out, recipe, CancelToken()) if e["event"] == "bundle"
    )
    run_id = _run(project, bundle, only="test")
    examples = json.loads((package / "manifest.json").read_text())["examples"]
    reasons: dict[str, int] = {}
    for example in examples:
        reasons[example["reason"]] = reasons.get(example["reason"], 0) + 1
    return {"run_id": run_id, "examples": len(examples), "reasons": reasons}


def _figures(task: Task, work: Path, seeds: int) -> dict[str, Learned]:
    """Return for each rule its mean over the seeds, and its difference from others, with intervals."""
    names = [NONE, *rules(task)]
    samples, means, examples = [], [], []
    for seed in range(seeds):
        abouts = [json.loads((work / f"seed-{seed}-{_word(name)}.json").read_text()) for name in names[1:]]
        with Project.open(work / f"seed-{seed}", read_only=True) as project:
            base = next(run.run_id for run in project.runs() if run.bundle_hash == _shipped(task).hash)
            mean, drawn = _of_runs(project, task, [base, *(str(about["run_id"]) for about in abouts)])
        means.append(mean)
        samples.append(drawn)
        examples.append([0, *(int(about["examples"]) for about in abouts)])
    # every replicate has test patients of its own, the same for all rules and seeds, and seeds of its own
    picked = np.random.default_rng(1).integers(seeds, size=(REPLICATES, seeds))
    stacked = np.stack(samples)
    replicates = np.stack([stacked[picked[n], :, n].mean(axis=0) for n in range(REPLICATES)], axis=1)
    figures, counts = np.mean(means, axis=0), np.mean(examples, axis=0)

    def minus(row: int, other: int) -> tuple[float, float, float]:
        return (
            float(figures[row] - figures[other]),
            *percentile_interval(replicates[row] - replicates[other]),
        )

    return {
        name: Learned(
            float(counts[row]), float(figures[row]), percentile_interval(replicates[row]),
            [float(mean[row]) for mean in means], {each: minus(row, at) for at, each in enumerate(names) if at != row},
        )
        for row, name in enumerate(names)
    }  # fmt: skip


def _of_runs(
    project: Project, task: Task, runs: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the figure of each run on the frozen test patients, and those of resampled patients, (runs, replicates)."""
    records = [case for case in project.cases() if case.frozen]
    cases = [case.case_id for case in records]
    if task.metric == "dice":
        from napari_medlab.reports.case_dice import dice_of_cases

        values = np.stack([dice_of_cases(project, run_id, cases) for run_id in runs])
        drawn = np.random.default_rng(0).integers(len(cases), size=(REPLICATES, len(cases)))
        return values.mean(axis=1), values[:, drawn].mean(axis=2)
    findings = project.findings()
    if task.label:
        findings = findings.where((findings.labels == task.label) | findings.is_excluded)
    tables = []
    for run_id in runs:
        candidates = project.candidates(run_id)
        wanted = candidates.labels == task.label if task.label else np.ones(len(candidates), np.bool_)
        tables.append(match(findings, candidates.where(wanted), cases))
    groups = {case.case_id: case.patient_key for case in records}
    drawn = resample(tables, Resampling(REPLICATES), groups=groups).mean(axis=2)
    return np.asarray([froc(table).cpm for table in tables]), drawn


if __name__ == "__main__":
    main()
