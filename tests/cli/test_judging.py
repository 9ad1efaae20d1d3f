"""Judging, publishing and rolling back from the command line, on a project whose runs are done."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import make_reviewed_project

from napari_medlab.annotations import Candidate, Finding, new_id
from napari_medlab.cli.judging import add_judging
from napari_medlab.cli.main import main
from napari_medlab.errors import ProjectError
from napari_medlab.models.bundles import find_bundle, read_bundle
from napari_medlab.models.bundles.importing import copy_bundle
from napari_medlab.models.workflows.predict import register_bundle
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    finish_run,
)

if TYPE_CHECKING:
    from pathlib import Path


def asked(*words: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    actions = parser.add_subparsers()
    for action, act in add_judging(actions):
        action.set_defaults(act=act)
    options = parser.parse_args([str(word) for word in words])
    result: dict[str, Any] = options.act(options)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project in which the shipped model and one trained from it are done with the frozen cases; the new one is right."""
    make_reviewed_project(tmp_path / "project")
    shipped = find_bundle("lung-nodules")
    copy = copy_bundle(shipped, tmp_path / "project" / "bundles")
    spec = json.loads((copy.folder / "bundle.json").read_text()) | {"parent": shipped.hash}
    (copy.folder / "bundle.json").write_text(json.dumps(spec))
    child = read_bundle(copy.folder)
    with Project.open(tmp_path / "project", reader="ann") as project:
        register_bundle(project, child, "trained")
        second = CaseRecord(new_id(), "", "another patient", split="test", frozen=True)
        project.commit(add_case(second))
        project.commit(add_findings([Finding(second.case_id, (0.0, 0.0, 0.0), 8.0)]))
        project.commit(finish_case(project.runs()[0].run_id, second.case_id, 0.1))
        for number, bundle in enumerate((shipped, child)):
            run_id = new_id()
            project.commit(add_run(run_id, bundle.hash, {}))
            for case in project.cases():
                centres = project.findings().for_case(case.case_id).centres.tolist()[: 3 * number]
                found = [Candidate(case.case_id, tuple(centre), 0.9, 8.0) for centre in centres]
                if found:
                    project.commit(add_candidates(run_id, case.case_id, 0, found))
                project.commit(finish_case(run_id, case.case_id, 0.1))
            project.commit(finish_run(run_id))
    return tmp_path / "project"


def current(folder: Path) -> str | None:
    with Project.open(folder, read_only=True) as project:
        return project.current_bundle()


def test_the_newest_proposal_is_judged_published_and_rolled_back(folder: Path) -> None:
    judged = asked("judge", folder)
    assert judged["may_publish"]
    assert judged["rule"]["metric"] == "cpm"
    assert judged["figures"]["difference"] > 0
    assert current(folder) is None
    published = asked("publish", folder)
    assert (published["published"], published["before"]) == (True, None)
    assert current(folder) == judged["hash"]
    back = asked("rollback", folder)
    assert (back["name"], back["before"]) == ("lung-nodules", judged["hash"])
    assert back["hash"] == find_bundle("lung-nodules").hash
    assert current(folder) is None


def test_the_rule_and_the_models_are_chosen(folder: Path) -> None:
    with Project.open(folder, read_only=True) as project:
        child = next(one.hash for one in project.bundles() if one.origin == "trained")
    shipped = find_bundle("lung-nodules").hash
    words = ["--model", shipped, "--against", child, "--metric", "sensitivity", "--at", 2, "--margin", 0.05]
    judged = asked("judge", folder, *words, "--needs", "not inferior", "--confidence", 0.9)
    assert not judged["may_publish"]
    assert "sensitivity at 2 false positives per scan" in judged["reason"]
    assert judged["rule"] | {"margin": 0.05, "needs": "not inferior", "confidence": 0.9} == judged["rule"]
    with pytest.raises(ProjectError) as caught:
        asked("publish", folder, *words)
    assert caught.value.code == "worse"
    assert caught.value.message.startswith("Refused: the new model is worse")


def test_a_name_that_two_versions_have_means_the_current_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped, child = find_bundle("lung-nodules").hash, asked("judge", folder)["hash"]
    capsys.readouterr()
    for step in ("publish", "rollback"):
        assert main(["models", "show", "lung-nodules", "--project", str(folder), "--json"]) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)["hash"] == (current(folder) or shipped)
        assert f"{(current(folder) or shipped)[:8]} was taken, the current model" in printed.err
        asked(step, folder)
        assert current(folder) == (child if step == "publish" else None)
        capsys.readouterr()
    assert main(["models", "show", shipped[:8], "--project", str(folder), "--json"]) == 0
    printed = capsys.readouterr()
    assert (json.loads(printed.out)["hash"], printed.err) == (shipped, "")


def test_a_model_that_is_refused_is_no_failure_of_ours(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = find_bundle("lung-nodules").hash
    with Project.open(folder, read_only=True) as project:
        child = next(one.hash for one in project.bundles() if one.origin == "trained")
    assert main(["models", "publish", str(folder), "--model", shipped, "--against", child, "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "worse"
    assert main(["models", "rollback", str(folder), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "nothing-before"
