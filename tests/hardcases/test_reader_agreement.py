"""Two readers of one project compared, on hand-made work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, Finding, Region
from napari_medlab.cli.main import main
from napari_medlab.errors import InputRefusedError
from napari_medlab.hardcases.errors.reader_agreement import (
    SeveralReaders,
    agreement_of_readers,
    reader_agreement,
)
from napari_medlab.project import Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_findings,
    add_run,
    finish_case,
    set_finding,
    set_region,
    set_verdict,
)
from napari_medlab.project.records import CaseRecord, VerdictName

if TYPE_CHECKING:
    from pathlib import Path

RUN = "d" * 32
CASES = ("one", "two")
GIVEN = Finding("one", (0.0, 0.0, 0.0), 6.0, finding_id="a" * 32)
MARKS = [Candidate("one", (20.0 * n, 50.0, 0.0), 0.9, 4.0, candidate_id=f"{n:032x}") for n in range(1, 5)]


def square(side: int) -> tuple[np.ndarray, ...]:
    return (np.array([[-0.5, -0.5], [-0.5, side - 0.5], [side - 0.5, side - 0.5], [side - 0.5, -0.5]]),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Project.create(tmp_path / "project", reader="importer") as project:
        for name in CASES:
            project.commit(add_case(CaseRecord(name, f"{name}.mha", name)))
        project.commit(add_findings([GIVEN]))
        project.commit(add_run(RUN, "", {}))
        project.commit(add_candidates(RUN, "one", 0, MARKS))
        for name in CASES:
            project.commit(finish_case(RUN, name, 1.0))
    return tmp_path / "project"


def work(folder: Path, reader: str, verdicts: list[VerdictName], *, side: int, adds: bool) -> None:
    with Project.open(folder, reader=reader) as project:
        for mark, verdict in zip(MARKS, verdicts, strict=False):
            project.commit(set_verdict("one", RUN, mark.candidate_id, before=None, after=verdict))
        project.commit(set_region(None, Region("one", square(side), GIVEN.finding_id)))
        if adds:
            project.commit(set_finding(None, Finding("one", (80.0, 0.0, 0.0), 5.0)))


def test_verdicts_lesions_and_outlines_are_compared(folder: Path) -> None:
    work(folder, "anna", ["model wrong", "model wrong", "ambiguous", "agreed"], side=4, adds=True)
    work(folder, "ben", ["model wrong", "ambiguous", "ambiguous"], side=2, adds=False)
    with Project.open(folder, read_only=True) as project:
        found = reader_agreement(project, RUN, ("anna", "ben"))
    assert found.verdicts.n_objects == 3
    assert found.verdicts.kappa == pytest.approx((2 / 3 - 4 / 9) / (1 - 4 / 9))
    assert (found.lesions.n_cases, found.lesions.n_first, found.lesions.n_second) == (1, 2, 1)
    assert (found.lesions.found_by_first, found.lesions.found_by_second) == (1.0, 0.5)
    assert found.outlines.n == 1
    assert found.outlines.mean == pytest.approx(2 * 4 / (16 + 4))


def test_of_three_readers_the_group_and_each_pair_are_told(folder: Path) -> None:
    work(folder, "anna", ["model wrong", "model wrong", "agreed", "agreed"], side=10, adds=False)
    work(folder, "ben", ["model wrong", "model wrong", "agreed", "model wrong"], side=10, adds=False)
    work(folder, "cleo", ["model wrong", "model wrong", "agreed"], side=10, adds=False)
    with Project.open(folder, read_only=True) as project:
        found = agreement_of_readers(project, RUN, ())
    assert isinstance(found, SeveralReaders)
    assert found.readers == ("anna", "ben", "cleo")
    assert (found.judged_by_all, found.fleiss_kappa) == (3, 1.0)
    assert found.krippendorff_alpha < 1
    assert [pair.readers for pair in found.pairs] == [("anna", "ben"), ("anna", "cleo"), ("ben", "cleo")]
    assert json.loads(json.dumps(found.as_json()))["fleiss_kappa"] == 1.0


def test_what_one_reader_took_out_is_a_lesion_of_the_other_alone(folder: Path) -> None:
    work(folder, "anna", ["agreed"], side=4, adds=False)
    work(folder, "ben", ["agreed"], side=4, adds=False)
    with Project.open(folder, reader="ben") as project:
        project.commit(set_finding(GIVEN, replace(GIVEN, is_excluded=True)))
        found = reader_agreement(project, RUN, ("anna", "ben"))
    assert (found.lesions.n_first, found.lesions.n_second) == (1, 0)
    assert found.outlines.mean == 1.0


@pytest.mark.parametrize("readers", [(), ("anna",), ("anna", "anna"), ("anna", "nobody")])
def test_there_must_be_two_who_did_something(folder: Path, readers: tuple[str, ...]) -> None:
    work(folder, "anna", ["agreed"], side=4, adds=False)
    with Project.open(folder, read_only=True) as project, pytest.raises(InputRefusedError) as refused:
        reader_agreement(project, RUN, readers)
    assert refused.value.code == "readers"


def test_the_command_line_takes_the_only_two_there_are(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import json

    work(folder, "anna", ["agreed", "agreed"], side=4, adds=False)
    work(folder, "ben", ["agreed", "ambiguous"], side=4, adds=False)
    assert main(["evaluate", "agreement", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["readers"] == ["anna", "ben"]
    assert document["outlines"]["mean"] == 1.0
    assert main(["evaluate", "agreement", str(folder), "--readers", "anna", "nobody", "--json"]) == 3
