"""What a name means in a project where several models have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from phantom_projects import shipped

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import Bundle, write_bundle
from napari_medlab.models.workflows.naming import model_in_project
from napari_medlab.models.workflows.predict import register_bundle
from napari_medlab.project import Project
from napari_medlab.project.edits import set_current_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "project", reader="ann") as project:
        yield project


def version(project: Project, limits: str, *, name: str = "tiny", is_known: bool = True) -> Bundle:
    """Write a bundle into a project; versions differ in what they say of their limits."""
    spec = {
        "name": name, "task": "detection", "classes": ["nodule"], "limits": limits,
        "network": {"name": "centre-heatmap", "arguments": {}},
        "preprocessing": {"kind": "volume", "spacing_mm": 1.5, "window": [-1000, 400]},
        "postprocessing": {"threshold": 0.5},
    }  # fmt: skip
    bundle = write_bundle(project.folder / "bundles", spec, {"weight": torch.zeros(1)}, "# A card\n")
    if is_known:
        register_bundle(project, bundle, "trained")
    return bundle


def test_one_model_of_a_name_is_no_choice(project: Project) -> None:
    only = version(project, "")
    for wanted in ("tiny", only.hash[:8], str(only.folder)):
        assert (model_in_project(project, wanted)[0].hash, model_in_project(project, wanted)[1]) == (
            only.hash,
            "",
        )


def test_the_newest_is_meant_until_one_is_current(project: Project) -> None:
    first, second, third = (version(project, limits) for limits in "abc")
    meant, choice = model_in_project(project, "tiny")
    assert meant.hash == third.hash
    assert choice.startswith(
        f"3 models are called tiny: {third.hash[:8]} was taken, the newest of the project;"
    )
    assert {first.hash[:8], second.hash[:8]} <= set(choice.replace(",", "").split())
    project.commit(set_current_bundle(None, second.hash))
    meant, choice = model_in_project(project, "tiny")
    assert (meant.hash, "the current model" in choice) == (second.hash, True)
    assert model_in_project(project, first.hash[:8])[0].hash == first.hash


def test_a_proposal_called_like_the_model_that_ships_does_not_take_its_place(project: Project) -> None:
    child = version(project, "", name="lung-nodules")
    assert model_in_project(project, "lung-nodules")[0].hash == shipped().hash
    project.commit(set_current_bundle(None, child.hash))
    assert model_in_project(project, "lung-nodules")[0].hash == child.hash


def test_what_the_project_knows_none_of_is_refused(project: Project) -> None:
    for limits in "ab":
        version(project, limits, is_known=False)
    with pytest.raises(InputRefusedError, match="2 models are called 'tiny'"):
        model_in_project(project, "tiny")
    with pytest.raises(InputRefusedError, match="No model is called"):
        model_in_project(project, "nothing")
