"""Nothing that names somebody stands in reports, tables, pictures, states of trainings, models, copies, logs or dumps."""

from __future__ import annotations

import logging
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exchange"))

from planted_sources import Tokens, planted_project, searched
from toy_sizes import at_toy_size

from napari_medlab.evaluation import Resampling
from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.exporting import Outgoing, export_objects
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.training.process import train_configuration
from napari_medlab.models.workflows.experiments import experiments_of, shareable_experiments
from napari_medlab.models.workflows.retrain import Experiment, experiment_path
from napari_medlab.models.workflows.samples import SampleOptions, export_samples
from napari_medlab.project import open_case
from napari_medlab.reports.comparison import ReportOptions, write_comparison_report
from napari_medlab.reports.experiments import as_csv, as_markdown
from napari_medlab.reports.plots import FrocLine, froc_figure, save_figure
from napari_medlab.reports.run_figures import Measure, compared_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Survived

    from napari_medlab.project import Project


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, list[str]]]:
    folder, tokens = tmp_path_factory.mktemp("planted"), Tokens()
    with planted_project(folder, tokens) as project:
        yield project, tokens.given


def found_in(written: bytes, tokens: list[str]) -> list[str]:
    """Return the tokens that stand in what was written, in capitals or not."""
    small = written.lower()
    return [token for token in tokens if token.lower().encode() in small]


def kept_as_written(project: Project) -> str:
    """Return what readers wrote, which a copy and the table of models keep: comments, tags and names of models."""
    verdicts = [verdict for run in project.runs() for verdict in project.verdicts(run.run_id).values()]
    told = [text for verdict in verdicts for text in (verdict.comment, *verdict.tags)]
    return "\n".join([*told, *(str(run.configuration["model"]) for run in project.runs())])


def write_report(project: Project, out: Path) -> None:
    """Write the page that compares two models, of which there are here twice the same."""
    run_id = project.runs()[0].run_id
    compared = compared_runs(project, (run_id, run_id), "train", Measure(resampling=Resampling(20)))
    options = ReportOptions((run_id, run_id), Measure())
    write_comparison_report(project, compared.comparison, ("before", "after"), out, options)


def write_plots(project: Project, out: Path) -> None:
    """Write the curves of a run as pictures."""
    run_id = project.runs()[0].run_id
    compared = compared_runs(project, (run_id, run_id), "train", Measure(resampling=Resampling(20)))
    figure = froc_figure([FrocLine("model", compared.a.report.curve)])
    for ending in (".png", ".svg"):
        save_figure(figure, out / f"froc{ending}")


def write_journal(project: Project, out: Path) -> None:
    """Write the table of all models, with what was concluded and judged."""
    rows = shareable_experiments(project, experiments_of(project))
    (out / "journal.csv").write_text(as_csv(rows))
    (out / "journal.md").write_text(as_markdown(rows))


def write_copy(project: Project, out: Path) -> None:
    """Write a copy of the project that can be handed on."""
    project.share(out / "copy")


def write_training(project: Project, out: Path) -> None:
    """Train on samples; what is left is the state that it was stopped in, its course, and a model."""
    configuration = at_toy_size(replace(read_configuration("kidney-small"), classes=("mass",)))
    configuration = replace(configuration, recipe=replace(configuration.recipe, steps=12))
    samples = out.with_name(f"{out.name}-samples")
    list(export_samples(project, configuration, samples, CancelToken(), SampleOptions(other="ignore")))
    experiment, cancel = Experiment(configuration, [samples]), CancelToken()
    request = {
        **experiment.as_request(),
        "out": str(out),
        "checkpoint": str(experiment_path(experiment, out)),
        "device": "cpu",
    }
    events = train_configuration(request, cancel)
    with suppress(CancelledError):
        for event in events:
            if event["event"] == "step":
                cancel.cancel()
    state = experiment_path(experiment, out)
    assert state.exists()
    state.rename(out / "stopped.checkpoint")
    list(train_configuration(request, CancelToken()))
    assert list(out.rglob("model.safetensors"))


def write_logs(project: Project, out: Path) -> None:
    """Write all that is logged while images are opened and sent out."""
    handler = logging.FileHandler(out / "log.txt")
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        for case in project.cases():
            open_case(project, case.case_id).decoded()
            logging.getLogger("napari_medlab").debug("case %s", case.case_id)
        export_objects(
            project,
            out.with_name(f"{out.name}-sent"),
            Outgoing("nifti", with_images=True, overlap="last"),
            Selection(),
        )
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


def write_dump(project: Project, out: Path) -> None:
    """Write what is told of a process that crashed while it held images and names of the project."""
    code = (
        "import ctypes, faulthandler, sys\n"
        "from napari_medlab.project import Project, open_case\n"
        "faulthandler.enable()\n"
        "project = Project.open(sys.argv[1], read_only=True)\n"
        "names, images = project.names.known_names(), [open_case(project, case.case_id) for case in project.cases()]\n"
        "ctypes.string_at(0)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(project.folder)], capture_output=True, check=False, timeout=120
    )
    assert ended.returncode != 0
    assert b"Segmentation fault" in ended.stderr
    (out / "dump.txt").write_bytes(ended.stdout + ended.stderr)


WAYS: dict[str, Callable[[Project, Path], None]] = {
    "comparison report": write_report,
    "plots": write_plots,
    "journal of models": write_journal,
    "shared project": write_copy,
    "states, courses and models of trainings": write_training,
    "logs": write_logs,
    "crash dumps": write_dump,
}

KEEP_WHAT_WAS_WRITTEN = ("journal of models", "shared project")


@pytest.mark.promise
@pytest.mark.parametrize("way", WAYS)
def test_no_token_is_left_anywhere(
    planted: tuple[Project, list[str]], tmp_path: Path, way: str, survived: Survived
) -> None:
    project, tokens = planted
    out = tmp_path / "out"
    out.mkdir()
    WAYS[way](project, out)
    written = searched(out)
    if way in KEEP_WHAT_WAS_WRITTEN:
        written_by_readers = kept_as_written(project)
        tokens = [token for token in tokens if token not in written_by_readers]
    leaked = found_in(written, tokens)
    survived(
        "patient data", "planted tokens", tried=len(tokens), survived=len(tokens) - len(leaked), control="", detail=way
    )  # fmt: skip
    assert len(tokens) >= 60
    assert len(written) > 200
    assert leaked == []
