"""What the three examples ``full_loop_….py`` share: the loop on the command line, and a reader who knows the truth.

Every step is a command as it would be typed, ``napari-medlab project init …`` and so on, given to the entry of the command
line with ``--json``. Only the verdicts are given from Python, as a person gives them in the window.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import shlex
import sys
import tempfile
from collections import Counter
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_medlab.cli.main import main as command_line
from napari_medlab.hardcases.errors.verdicts import Judging, judge
from napari_medlab.models.workflows.hard_examples import queue_of_run
from napari_medlab.project import Project, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_medlab.annotations import Finding

__all__ = ["Material", "Size", "in_folder", "medlab", "part_of", "round_the_loop"]

Exchange = Literal["luna16", "coco"]
REFUSED = "worse"
"""The code of the error by which a model is refused that the frozen test set shows to be worse."""


@dataclass(frozen=True)
class Size:
    """How much is made and done; the defaults are for trying, not for learning anything.

    Parameters
    ----------
    train, test : int
        Patients to review and learn from, and in the frozen test set.
    budget : int
        Hard examples beside the replay.
    steps : int
        Of the training.
    """

    train: int = 3
    test: int = 2
    budget: int = 8
    steps: int = 4


@dataclass(frozen=True)
class Material:
    """What was written to be brought in.

    Parameters
    ----------
    train, test : sequences of Path
        Images, or folders with them.
    reference : sequence of str or Path
        What follows ``project import-reference DIR``.
    truth : mapping of str to sequence of Finding
        What really lies on each image, by the name of its case: what the reader sees. World coordinates.
    """

    train: Sequence[Path]
    test: Sequence[Path]
    reference: Sequence[str | Path]
    truth: Mapping[str, Sequence[Finding]]


def part_of(folder: Path, number: int, size: Size) -> Path:
    """Return the folder for an image: ``train`` for the first patients, ``test`` for the others; made where it is not there."""
    part = folder / ("train" if number < size.train else "test")
    part.mkdir(exist_ok=True)
    return part


def medlab(*words: str | Path | float, may_refuse: str = "") -> dict[str, Any]:
    """Run a command as ``napari-medlab WORDS --json`` does, and return the document that it prints.

    An error with the code ``may_refuse`` is returned as well; any other ends the example.
    """
    said = [str(word) for word in words]
    print(f"\n$ napari-medlab {shlex.join(said)}", flush=True)
    with redirect_stdout(io.StringIO()) as printed:
        status = command_line([*said, "--json"])
    document: dict[str, Any] = json.loads(printed.getvalue())
    if status and document["error"]["code"] != may_refuse:
        sys.exit(f"{document['error']['message']} {document['error']['hint']}")
    return document


def round_the_loop(folder: Path, model: str, exchange: Exchange, size: Size, material: Material) -> None:
    """Go once round: project, run, review, hard examples, training, the frozen test set's verdict, journal and figures.

    Parameters
    ----------
    folder : where the project and everything else is written
    model : the name of the model to begin with
    exchange : the format in which the frozen test set leaves for ``evaluate``
    size, material : what to do it with
    """
    project = folder / "project"
    medlab("project", "init", project)
    for split, images in (("train", material.train), ("test", material.test)):
        added = medlab("project", "add", project, *images, "--split", split)
        print(f"{len(added['added'])} images added, {added['cases']} in all")
    brought = medlab("project", "import-reference", project, *material.reference)
    print(
        f"{brought['added']} findings, {brought['outlines']} of them with outlines, on {brought['cases']} images"
    )
    ran = medlab("project", "run", project, "--model", model)
    print(f"{ran['candidates']} candidates on {ran['cases']} images")

    queue = medlab("queue", project)
    print(f"{len(queue['items'])} errors at {queue['fp_per_scan']:g} false positive per image on average")
    print("the reader says:", review(project, queue["run_id"], queue["fp_per_scan"], material.truth))
    package = project / "exports" / "round-1"
    cut = medlab("export", project, "--format", "hard", "--budget", size.budget, "--out", package)
    print(f"{cut['examples']} hard examples: {counted(cut['by_reason'])}")
    trained = medlab("train", "--package", package, "--project", project, "--steps", size.steps)
    print(f"model {trained['hash'][:12]} after {trained['steps']} steps, {trained['seconds']:.0f} s")

    judged = medlab("models", "publish", project, may_refuse=REFUSED)
    print(judged["error"]["message"] if "error" in judged else f"Published. {judged['reason']}")
    print(medlab("journal", project, "--format", "markdown")["text"])
    tell_figures(folder, project, trained["hash"], exchange)


def review(
    project_folder: Path, run_id: str, fp_per_scan: float, truth: Mapping[str, Sequence[Finding]]
) -> str:
    """Give a verdict on every error, as a reader who sees what really lies there, and say how many of each were given.

    Where the reference lacks what the model has marked, the reference is wrong, and gets a finding; else the model is.
    """
    verdicts: Counter[str] = Counter()
    with Project.open(project_folder, reader="reader") as project:
        names = {case.case_id: case.name for case in project.cases()}
        given = {
            one.finding_id: one for one in map(project.findings().finding, range(len(project.findings())))
        }
        for item in queue_of_run(project, run_id, fp_per_scan, ["fp", "fn"]):
            there = any(lies_on(item.centre, finding) for finding in truth[names[item.case_id]])
            verdict = Verdict("reference wrong" if item.kind == "fp" and there else "model wrong")
            project.commit(judge([Judging(item, run_id)], verdict, project.finding, given.get))
            verdicts[verdict.verdict] += 1
    return counted(verdicts)


def lies_on(centre: Sequence[float], finding: Finding) -> bool:
    """Tell whether a place lies within the radius of a finding."""
    return math.dist(centre[: len(finding.centre)], finding.centre) < finding.diameter / 2


def tell_figures(folder: Path, project: Path, trained: str, exchange: Exchange) -> None:
    """Take the frozen test set out of the project and evaluate the new model; then hold it against the one before."""
    run = medlab("project", "run", project, "--model", trained, "--split", "test")["run_id"]
    out = folder / "candidates"
    medlab("export", project, "--format", exchange, "--run", run, "--split", "test", "--out", out)
    if exchange == "luna16":
        tell_froc(out)
    else:
        reference = folder / "reference"
        medlab("export", project, "--format", exchange, "--split", "test", "--out", reference)
        tell_precision(reference / "annotations.json", out)
    compared = medlab("compare", project, "--report", folder)
    print(counted({name: compared["counts"][name] for name in CHANGES}))
    print(f"The page to keep: {compared['report']}")


def tell_froc(folder: Path) -> None:
    """Evaluate an export of tables as LUNA16 does."""
    figures = medlab(
        "evaluate", "froc", "--reference", folder / "annotations.csv", "--ignore", folder / "annotations_excluded.csv",
        "--cases", folder / "seriesuids.csv", "--candidates", folder / "candidates.csv", "--bootstrap", 200,
    )  # fmt: skip
    low, high = figures["interval"]["cpm"]
    print(f"CPM {figures['cpm']:.3f} (95 % interval {low:.3f} to {high:.3f}), {figures['findings']} findings")


def tell_precision(reference: Path, folder: Path) -> None:
    """Evaluate an export of results as COCO does."""
    figures = medlab(
        "evaluate", "coco", "--reference", reference, "--predictions", folder / "results_bbox.json",
        "--images", folder / "annotations.json", "--bootstrap", 50,
    )  # fmt: skip
    low, high = figures["interval"]["AP50"]
    print(f"AP50 {figures['AP50']:.3f} (95 % interval {low:.3f} to {high:.3f})")


CHANGES = ("fixed", "regressed", "still_missed", "new_false_positive", "removed_false_positive")


def counted(counts: Mapping[str, int]) -> str:
    """Return counts in words."""
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in counts.items()) or "nothing"


def in_folder(go: Callable[[Path, Size], None], description: str, size: Size) -> None:
    """Read the command line of an example, and run it in the folder that was named, or in one that is deleted afterwards."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        help="a new folder for everything (default: one that is deleted)",
    )
    parser.add_argument(
        "--train", type=int, default=size.train, help="patients to learn from (default: %(default)s)"
    )
    parser.add_argument(
        "--test", type=int, default=size.test, help="patients in the frozen test set (default: %(default)s)"
    )
    parser.add_argument(
        "--budget", type=int, default=size.budget, help="hard examples (default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=int, default=size.steps, help="of the training (default: %(default)s)"
    )
    said = vars(parser.parse_args())
    folder = said.pop("folder")
    if folder is not None:
        folder.mkdir(parents=True)
        go(folder, Size(**said))
        return
    with tempfile.TemporaryDirectory() as temporary:
        go(Path(temporary), Size(**said))
