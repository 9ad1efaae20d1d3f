"""Nothing that names somebody goes out, in whatever format; what looks for it finds it in the source."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from planted_sources import Tokens, planted_project, searched

from napari_medlab.exchange.collecting import Selection
from napari_medlab.exchange.exporting import Outgoing, export_objects
from napari_medlab.exchange.writers import WRITERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Survived

    from napari_medlab.project import Project


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Project, list[str]]]:
    folder, tokens = tmp_path_factory.mktemp("planted"), Tokens()
    with planted_project(folder, tokens) as project:
        yield folder, project, tokens.given


@pytest.mark.promise
def test_the_control_finds_every_token_in_the_source(
    planted: tuple[Path, Project, list[str]], survived: Survived
) -> None:
    folder, _, tokens = planted
    source = searched(folder)
    missed = [token for token in tokens if token.encode() not in source]
    survived(
        "patient data", "planted tokens", tried=0, survived=0,
        control=f"the same search finds {len(tokens) - len(missed)} of {len(tokens)} tokens in the sources",
    )  # fmt: skip
    assert len(tokens) >= 60
    assert missed == []


@pytest.mark.promise
@pytest.mark.parametrize("of_run", [False, True], ids=["reference", "run"])
@pytest.mark.parametrize("name", WRITERS)
def test_no_token_goes_out(
    planted: tuple[Path, Project, list[str]],
    tmp_path: Path,
    name: str,
    of_run: bool,
    survived: Survived,
) -> None:
    folder, project, tokens = planted
    selection = Selection(run_id=project.runs()[0].run_id if of_run else "")
    outgoing = Outgoing(name, with_images=True, overlap="last")
    done = export_objects(project, tmp_path / "out", outgoing, selection)
    written = searched(tmp_path / "out")
    assert done.cases >= 2
    assert done.images == done.cases
    assert done.findings + done.candidates > 0
    leaked = [token for token in tokens if token.lower().encode() in written.lower()]
    survived(
        "patient data", "planted tokens", tried=len(tokens), survived=len(tokens) - len(leaked), control="",
        detail=f"export {name}",
    )  # fmt: skip
    assert leaked == []
    assert str(folder).encode() not in written
    assert project.exports()[-1].format == name
