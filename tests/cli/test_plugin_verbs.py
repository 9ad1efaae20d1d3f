"""The template of a stranger's package, installed, refused, allowed and used like any model, from the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from napari_medlab.cli.main import main
from napari_medlab.images.writers import write_image
from napari_medlab.models.inference.worker import IN_THREAD
from napari_medlab.phantoms.chest_ct import Site
from napari_medlab.project import Project
from napari_medlab.project.sample import SampleSize, fill_with_phantoms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SMALL = Site(shape=(24, 64, 64))
NAMES = ("own-outlines", "own-roundness", "own-spots")


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the template as a person would, without the network, and return the folder of packages."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(repository / "examples" / "own_model", folder / "source")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    done = subprocess.run(
        [*command, "--target", str(folder / "site"), str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture
def site(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a copy of it that is on the path of this process and of those that it starts; nothing is allowed yet."""
    site = shutil.copytree(installed, tmp_path / "site")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MEDLAB_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv(IN_THREAD, "1")
    finders = list(sys.meta_path)
    yield site
    sys.meta_path[:] = finders
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_model"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "project"
    with Project.create(folder, reader="ann") as project:
        list(fill_with_phantoms(project, SampleSize(train=2, test=1), SMALL))
    return folder


@pytest.fixture
def project(sample: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sample, tmp_path / "project")


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main([*map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def in_another_process(*words: object) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "napari_medlab.cli.main", *map(str, words), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout)


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in said(capsys, "models", "list")[1]["models"] if row["name"] in NAMES}


def test_models_are_listed_shown_refused_and_allowed(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = rows(capsys)
    assert [row["allowed"] for row in listed.values()] == [False] * 3
    assert listed["own-spots"]["code"] == {
        "package": "own-model",
        "version": "0.1.0",
        "call": "own_model.spots:detect",
    }
    assert listed["own-spots"]["path"] == str(site / "own_model" / "spots")
    status, shown = said(capsys, "models", "show", "own-spots")
    assert (status, shown["allowed"], shown["bundle"]["limits"]) == (
        0,
        False,
        "Vessels and ribs are round, too.",
    )

    status, refusal = said(capsys, "models", "verify", "own-spots")
    assert (status, refusal["error"]["code"]) == (3, "not-allowed")
    assert "own_model" not in sys.modules

    assert said(capsys, "models", "allow", "own-spots")[1]["allowed"] is True
    assert [row["allowed"] for row in rows(capsys).values()] == [False, False, True]
    assert said(capsys, "models", "disallow", "own-spots")[1]["allowed"] is False
    assert said(capsys, "models", "allow", "lung-nodules")[1]["error"]["code"] == "not-code"


@pytest.mark.parametrize("name", NAMES)
def test_the_template_keeps_to_its_contract(
    site: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    said(capsys, "models", "allow", name)
    status, verified = said(capsys, "models", "verify", name)
    assert (status, verified["verified"]) == (0, True), verified
    assert len(verified["checks"]) >= 12


def test_one_that_breaks_its_promise_is_told_with_every_check(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = site / "own_model" / "spots" / "__init__.py"
    code.write_text(code.read_text().replace("score=min(", "score=2 * min("))
    said(capsys, "models", "allow", "own-spots")
    assert main(["models", "verify", "own-spots", "--json"]) == 3
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "conformance"
    assert "FAILED It finds an object of the trial image where it is" in printed.err
    assert "ok     An image of one value does not crash it" in printed.err


def test_it_runs_on_files_in_a_process_of_its_own(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_medlab.conformance.trials import usual_trial

    monkeypatch.delenv(IN_THREAD)
    scan = write_image(usual_trial("volume").image, tmp_path / "scan.nii.gz")
    arguments = ("predict", "--model", "own-spots", scan, "--out", tmp_path / "out")
    status, refusal = said(capsys, *arguments)
    assert (status, refusal["error"]["code"]) == (3, "not-allowed")
    said(capsys, "models", "allow", "own-spots")
    status, done = said(capsys, *arguments)
    assert (status, done["model"], done["threshold"]) == (0, "own-spots", 0.3)
    assert done["cases"][0]["candidates"] > 0
    assert done["hash"] == rows(capsys)["own-spots"]["hash"]
    assert "own_model" not in sys.modules


def test_a_segmenter_writes_its_mask(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from napari_medlab.conformance.trials import usual_trial

    scan = write_image(usual_trial("volume").image, tmp_path / "scan.nii.gz")
    said(capsys, "models", "allow", "own-outlines")
    status, done = said(capsys, "predict", "--model", "own-outlines", scan, "--out", tmp_path / "out")
    assert (status, done["cases"][0]["error"]) == (0, None)
    assert done["cases"][0]["mask"].endswith("scan.nii.gz")


def test_it_goes_through_a_project_like_any_other(
    site: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "models", "allow", "own-spots")
    status, run = said(capsys, "project", "run", project, "--model", "own-spots")
    assert (status, run["cases"], run["failed"]) == (0, 3, {})
    assert run["candidates"] > 0
    with Project.open(project, read_only=True) as opened:
        (record,) = opened.runs()
        assert record.bundle_hash == run["hash"]
        assert [one.name for one in opened.bundles() if one.hash == run["hash"]] == ["own-spots"]

    assert said(capsys, "queue", project, "--run", run["run_id"], "--fp-per-scan", 8)[0] == 0
    status, unread = said(capsys, "queue", project, "--kind", "unread", "--by", "diversity")
    assert (status, unread.get("error")) == (0, None)
    hard = ("export", project, "--format", "hard", "--run", run["run_id"], "--fp-per-scan", 8)
    assert said(capsys, *hard, "--look")[0] == 0
    status, package = said(capsys, *hard, "--out", project.parent / "hard")
    assert (status, package.get("examples", 0) > 0) == (0, True), package
    status, refusal = said(
        capsys,
        "train",
        "--package",
        project.parent / "hard",
        "--from",
        "own-spots",
        "--out",
        project.parent / "new",
    )
    assert (status, refusal["error"]["code"]) == (3, "is-code"), refusal

    attach = (
        "models",
        "attach",
        "own-spots",
        "own-roundness",
        "--weight",
        1,
        "--out",
        project.parent / "joined",
    )
    status, refusal = said(capsys, *attach)
    assert (status, refusal["error"]["code"]) == (3, "is-code"), refusal

    code = site / "own_model" / "spots" / "__init__.py"
    code.write_text(code.read_text().replace("0.05", "0.06"))
    status, refusal = in_another_process("project", "run", project, "--model", "own-spots")
    assert (status, refusal["error"]["code"]) == (3, "not-allowed")
    assert "has changed since it was allowed" in refusal["error"]["message"]
    said(capsys, "models", "allow", "own-spots")
    status, again = in_another_process("project", "run", project, "--model", "own-spots")
    assert status == 0
    assert again["run_id"] != run["run_id"]
    assert again["hash"] != run["hash"]
    status, compared = said(
        capsys, "compare", project, "--runs", run["hash"][:12], again["hash"][:12], "--bootstrap", 20
    )
    assert (status, compared["runs"]) == (0, [run["run_id"], again["run_id"]])


def test_a_classifier_judges_what_another_found(
    site: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from napari_medlab.jobs import CancelToken
    from napari_medlab.models.bundles import find_bundle
    from napari_medlab.models.inference.worker import start_worker
    from napari_medlab.models.workflows.predict import PredictOptions, run_bundle

    for name in ("own-spots", "own-roundness"):
        said(capsys, "models", "allow", name)
    _, run = said(capsys, "project", "run", project, "--model", "own-spots")
    with Project.open(project) as opened:
        cases = [case.case_id for case in opened.cases()]
        options = PredictOptions(candidates_of=run["run_id"])
        bundle = find_bundle("own-roundness")
        events = list(run_bundle(opened, bundle, cases, start_worker(), CancelToken(), options=options))
        assert [event.error for event in events if event.kind == "case failed"] == []
        judged = opened.candidates(events[0].run_id)
        assert len(judged) == run["candidates"]
        assert ((judged.scores >= 0) & (judged.scores <= 1)).all()


def test_the_page_shows_the_template_and_its_commands_work(
    site: Path,
    project: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from napari_medlab.conformance.trials import usual_trial

    page = (repository / "docs" / "how-to" / "own-model.md").read_text(encoding="utf-8")
    template = repository / "examples" / "own_model"
    for name in (
        "src/own_model/spots/__init__.py",
        "src/own_model/spots/bundle.json",
        "tests/test_own_model.py",
    ):
        assert (template / name).read_text(encoding="utf-8") in page, name
    assert page.split("```toml\n")[1].split("```")[0] in (template / "pyproject.toml").read_text(
        encoding="utf-8"
    )

    monkeypatch.chdir(project.parent)
    project.rename("nodules")
    write_image(usual_trial("volume").image, project.parent / "scan.nii.gz")
    commands = [line.split()[1:] for line in page.splitlines() if line.startswith("napari-medlab ")]
    assert len(commands) == 6
    for command in commands:
        assert main(command) == 0, capsys.readouterr().err


def test_a_detector_of_ones_own_takes_30_lines(repository: Path) -> None:
    folder = repository / "examples" / "own_model" / "src" / "own_model"
    for name in ("spots", "outlines", "roundness"):
        parts = [folder / name / part for part in ("__init__.py", "bundle.json")]
        lines = [line for part in parts for line in part.read_text(encoding="utf-8").splitlines()]
        assert len([line for line in lines if line.strip()]) <= 30, name


@pytest.mark.slow
def test_the_tests_of_the_template_pass_where_it_is_installed(
    site: Path, repository: Path, tmp_path: Path
) -> None:
    tests = shutil.copytree(repository / "examples" / "own_model" / "tests", tmp_path / "tests")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tests),
        str(tests),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tests)
    assert done.returncode == 0, done.stdout
