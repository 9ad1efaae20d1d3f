"""Nothing that names somebody goes into a package or among samples."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "exchange"))

from planted_sources import Tokens, planted_project, searched

from napari_medlab.hardcases.mining import MiningRule
from napari_medlab.jobs import CancelToken
from napari_medlab.models.bundles import find_bundle
from napari_medlab.models.configurations import read_configuration
from napari_medlab.models.workflows.hard_examples import HardOptions, export_hard_examples
from napari_medlab.models.workflows.samples import SampleOptions, export_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Survived

    from napari_medlab.project import Project


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, list[str]]]:
    folder, tokens = tmp_path_factory.mktemp("planted"), Tokens()
    with planted_project(folder, tokens) as project:
        yield project, tokens.given


def check_nothing_named(planted: tuple[Project, list[str]], out: Path, what: str, survived: Survived) -> None:
    project, tokens = planted
    run_id = project.runs()[0].run_id
    written = searched(out).lower()
    leaked = [token for token in tokens if token.lower().encode() in written]
    survived(
        "patient data", "planted tokens", tried=len(tokens), survived=len(tokens) - len(leaked), control="", detail=what
    )  # fmt: skip
    assert len(tokens) >= 60
    assert leaked == []
    assert str(project.folder.parent).lower().encode() not in written
    assert run_id.lower().encode() not in written


@pytest.mark.promise
@pytest.mark.parametrize(
    ("name", "part"), [("lung-nodules", "network"), ("lung-nodules", "classifier"), ("glomeruli", "network")]
)
def test_no_token_goes_into_a_package(
    planted: tuple[Project, list[str]],
    tmp_path: Path,
    name: str,
    part: Literal["network", "classifier"],
    survived: Survived,
) -> None:
    project, _ = planted
    run_id = project.runs()[0].run_id
    options = HardOptions(8.0, MiningRule("random", budget=40, per_case=40), part=part)
    written = list(export_hard_examples(project, find_bundle(name), run_id, tmp_path / "out", options))
    assert len(written) >= 2
    check_nothing_named(planted, tmp_path / "out", "packages of hard examples", survived)


@pytest.mark.promise
@pytest.mark.parametrize("name", ["nodule-unet", "lung-vgg-24", "kidney-small"])
def test_no_token_goes_among_samples(
    planted: tuple[Project, list[str]], tmp_path: Path, name: str, survived: Survived
) -> None:
    project, _ = planted
    run_id = project.runs()[0].run_id
    configuration = replace(read_configuration(name), classes=("mass", "glomerulus"))
    is_of_run = configuration.task == "classification"
    options = SampleOptions(run_id=run_id if is_of_run else "")
    events = list(export_samples(project, configuration, tmp_path / "out", CancelToken(), options))
    assert events[-1].samples >= 1
    check_nothing_named(planted, tmp_path / "out", "samples", survived)
