from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from reviewed_projects import WRONG, make_reviewed_project

from napari_medlab.annotations import Candidate
from napari_medlab.cli.main import main
from napari_medlab.cli.queue_text import queue_text
from napari_medlab.hardcases.errors.filters import QueueFilter, Span
from napari_medlab.project import CaseRecord, Project
from napari_medlab.project.edits import (
    add_candidates,
    add_case,
    add_run,
    finish_case,
    set_fields,
    set_filter,
    set_verdict,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("queue") / "project"
    return folder, make_reviewed_project(folder)


def queue(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
    status = main(["queue", *map(str, words), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_the_errors_of_training_cases_worst_first(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_id = made
    status, said = queue(capsys, folder)
    assert status == 0
    assert {key: said[key] for key in ("run_id", "model", "fp_per_scan")} == {
        "run_id": run_id,
        "model": "lung-nodules",
        "fp_per_scan": 1.0,
    }
    assert [(item["kind"], item["case"]) for item in said["items"]] == [
        ("fp", "ct-1"),
        ("fn", "ct-0"),
        ("fp", "ct-0"),
        ("fn", "ct-1"),
    ]
    first = said["items"][0]
    assert (tuple(first["centre"]), first["score"]) == WRONG["ct-1"]
    assert set(first) == {
        *(
            "kind",
            "object_id",
            "case_id",
            "centre",
            "diameter",
            "score",
            "distance",
            "label",
            "case",
            "verdict",
        ),
        *("cause", "overlap", "other"),
    }
    assert (first["cause"], first["overlap"], first["other"]) == ("background", None, "")
    assert [item["cause"] for item in said["items"] if item["kind"] == "fn"] == ["missed", "missed"]
    assert [item["verdict"] for item in said["items"]] == ["ambiguous", None, None, None]


def test_people_are_shown_a_table(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, run_id = made

    def shown(*words: str) -> list[str]:
        assert main(["queue", str(folder), *words]) == 0
        return capsys.readouterr().out.splitlines()

    assert shown() == [
        f"4 errors of lung-nodules (run {run_id}) at 1 false positives per scan, worst first",
        "",
        "rank  kind  score  size     case  place              verdict",
        "   1  fp     0.80  6.0 mm   ct-1  20.0 60.0 40.0 mm  ambiguous",
        "   2  fn     0.00  10.0 mm  ct-0  30.5 30.2 30.1 mm",
        "   3  fp     0.70  6.0 mm   ct-0  60.0 20.0 20.0 mm",
        "   4  fn     0.00  10.0 mm  ct-1  30.5 30.2 30.1 mm",
    ]
    assert shown("--top", "1")[3:] == [
        "   1  fp     0.80  6.0 mm  ct-1  20.0 60.0 40.0 mm  ambiguous", "and 3 more: --top all"
    ]  # fmt: skip
    assert shown("--top", "all") == shown()
    with pytest.raises(SystemExit):
        shown("--top", "0")
    assert len(shown("--kind", "duplicate")) == 1


def test_units_of_other_images_and_cases_to_read_are_told() -> None:
    item = {"kind": "poor outline", "case_id": "c", "score": 0.0, "overlap": 0.45, "diameter": -1.0,
            "centre": [3.0, 4.0], "case": "slide", "verdict": None}  # fmt: skip
    said = {"model": None, "run_id": "r", "fp_per_scan": 0.5, "items": [item] * 30,
            "cases": [{"case": "next", "doubt": 0.5, "expected_errors": 1.0, "candidates": 3}]}  # fmt: skip
    lines = queue_text(said, {"c": "um"}, 20).splitlines()
    assert lines[3] == "   1  poor outline  Dice 0.45        slide  3.0 4.0 µm"
    assert lines[22] == "  20  poor outline  Dice 0.45        slide  3.0 4.0 µm"
    assert lines[23] == "and 10 more: --top all"
    assert lines[-1].split() == ["1", "next", "0.50", "1.0", "3"]


def test_predictions_made_elsewhere_go_by_their_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "project"
    first = make_reviewed_project(folder)
    with Project.open(folder) as project:
        project.commit(add_run("e" * 32, "", {"model": "theirs"}))
        project.commit(finish_case("e" * 32, project.cases()[0].case_id, 0.1))
    assert queue(capsys, folder, "--run", "theirs")[1]["run_id"] == "e" * 32
    assert queue(capsys, folder, "--run", first)[1]["run_id"] == first
    assert queue(capsys, folder, "--run", "lung-nodules")[1]["error"]["code"] == "unknown-run"


@pytest.mark.parametrize("kind", ["fp", "fn"])
def test_one_kind_alone(made: tuple[Path, str], capsys: pytest.CaptureFixture[str], kind: str) -> None:
    _, said = queue(capsys, made[0], "--kind", kind)
    assert [item["kind"] for item in said["items"]] == [kind, kind]


def test_several_kinds_take_turns(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, said = queue(capsys, made[0], "--kind", "fp", "--kind", "low-confidence")
    assert [item["kind"] for item in said["items"]] == ["fp", "low confidence"] * 2 + ["low confidence"] * 2
    # the operating point is 0.7, and nearest to it is the false positive on it
    assert [item["score"] for item in said["items"] if item["kind"] == "low confidence"] == [
        0.7,
        0.8,
        0.9,
        0.9,
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cause", "missed"], ["fn", "fn"]),
        (["--cause", "background", "--cause", "missed"], ["fp", "fn", "fp", "fn"]),
        (["--cause", "localisation"], []),
        (["--status", "open"], ["fn", "fp", "fn"]),
        (["--status", "ambiguous"], ["fp"]),
        (["--status", "model-wrong"], []),
        (["--field", "site=A"], ["fn", "fp"]),
        (["--field", "slice_thickness_mm=1.5"], ["fp", "fn"]),
        (["--field", "slice_thickness_mm=0.5..2"], ["fp", "fn", "fp", "fn"]),
        (["--field", "slice_thickness_mm=..1", "--status", "open"], ["fn", "fp"]),
        (["--field", "site=A", "--field", "slice_thickness_mm=1.5"], []),
        (["--filter", "sure and wrong"], ["fp"]),
        (["--filter", "sure and wrong", "--status", "open"], []),
        (["--filter", "unsure"], ["low confidence"]),
        (["--filter", "upper third"], ["fp"]),
    ],
)
def test_filters(
    filtered: Path, capsys: pytest.CaptureFixture[str], words: list[str], expected: list[str]
) -> None:
    status, said = queue(capsys, filtered, *words)
    assert (status, [item["kind"] for item in said["items"]]) == (0, expected)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with fields and filters."""
    folder = tmp_path_factory.mktemp("filtered") / "project"
    make_reviewed_project(folder)
    filters = {
        "sure and wrong": QueueFilter(kinds=frozenset(["fp"]), score=Span(0.75)),
        "unsure": QueueFilter(kinds=frozenset(["low confidence"]), score=Span(high=0.7)),
        "upper third": QueueFilter(places=frozenset(["upper"])),
    }
    with Project.open(folder) as project:
        first, second = (case.case_id for case in project.cases() if not case.frozen)
        project.commit(set_fields(first, {}, {"site": "A", "slice_thickness_mm": 1.0}))
        project.commit(set_fields(second, {}, {"site": "B", "slice_thickness_mm": 1.5}))
        for name, each in filters.items():
            project.commit(set_filter(name, None, each.as_json()))
    return folder


def test_an_unknown_filter_is_refused(
    made: tuple[Path, str], filtered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = queue(capsys, filtered, "--filter", "nothing")
    assert (status, said["error"]["code"]) == (3, "unknown-filter")
    assert said["error"]["hint"] == "It has 'sure and wrong', 'unsure', 'upper third'."
    assert queue(capsys, made[0], "--filter", "nothing")[1]["error"]["hint"] == "It has none yet."


def test_what_readers_do_not_agree_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = make_reviewed_project(tmp_path / "p")
    with Project.open(tmp_path / "p", reader="bob") as project:
        (doubted,) = project.verdicts(run_id)
        case_id = str(project.candidates(run_id).where([3]).case_ids[0])
        project.commit(set_verdict(case_id, run_id, doubted, before=None, after="agreed"))
    _, said = queue(capsys, tmp_path / "p", "--kind", "disagreement")
    assert [(item["object_id"], item["other"]) for item in said["items"]] == [
        (doubted, "ann: ambiguous; bob: agreed")
    ]


def test_fewer_false_positives_per_scan_leave_fewer_errors(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = queue(capsys, made[0], "--fp-per-scan", "0.5", "--run", made[1])
    assert said["fp_per_scan"] == 0.5
    assert [item["score"] for item in said["items"] if item["kind"] == "fp"] == [0.8]


def test_a_run_on_the_frozen_test_set_does_not_hide_the_one_to_review(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = make_reviewed_project(tmp_path / "p")
    with Project.open(tmp_path / "p") as project:
        project.commit(add_run("judged", "", {}))
        (frozen,) = [case.case_id for case in project.cases() if case.frozen]
        project.commit(finish_case("judged", frozen, 0.1))
    assert queue(capsys, tmp_path / "p")[1]["run_id"] == run_id
    said = queue(capsys, tmp_path / "p", "--run", "judged")[1]
    assert (said["model"], said["items"]) == (None, [])


def test_without_a_run_there_is_no_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Project.create(tmp_path / "p").close()
    status, said = queue(capsys, tmp_path / "p")
    assert (status, said["error"]["code"]) == (3, "no-run")


def test_an_unknown_run_is_refused(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    status, said = queue(capsys, made[0], "--run", "nothing")
    assert (status, said["error"]["code"]) == (3, "unknown-run")


@pytest.mark.parametrize(
    "words",
    [
        ["--fp-per-scan", "0"],
        ["--fp-per-scan", "nan"],
        ["--kind", "all"],
        ["--cause", "bad luck"],
        ["--status", "done"],
        ["--field", "A"],
        ["--field", "slice_thickness_mm=3..1"],
    ],
)
def test_wrong_usage(made: tuple[Path, str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["queue", str(made[0]), *words])
    assert caught.value.code == 2


def test_several_values_of_one_field_are_alternatives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_reviewed_project(tmp_path / "p")
    with Project.open(tmp_path / "p") as project:
        for case in project.cases():
            project.commit(set_fields(case.case_id, case.fields, {"site": case.name}))
    both = queue(capsys, tmp_path / "p", "--field", "site=ct-0", "--field", "site=ct-1")[1]["items"]
    assert {item["case"] for item in both} == {"ct-0", "ct-1"}
    status, said = queue(capsys, tmp_path / "p", "--field", "site=ct-0", "--field", "site=0..1")
    assert (status, said["error"]["code"]) == (3, "option")


def test_what_lies_on_a_planar_image_has_two_coordinates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Project.create(tmp_path / "p") as project:
        project.commit(add_run("e" * 32, "", {}))
        for case_id, kind, centre in (("a" * 32, "volume", (1.0, 2.0, 3.0)), ("b" * 32, "photo", (4.0, 5.0))):
            project.commit(add_case(CaseRecord(case_id, kind, kind, kind)))
            project.commit(add_candidates("e" * 32, case_id, 0, [Candidate(case_id, centre, 0.5)]))
            project.commit(finish_case("e" * 32, case_id, 0.1))
    items = queue(capsys, tmp_path / "p", "--fp-per-scan", "4")[1]["items"]
    assert {item["case"]: item["centre"] for item in items} == {
        "volume": [1.0, 2.0, 3.0],
        "photo": [4.0, 5.0],
    }


def unread_project(folder: Path) -> None:
    """Make a project with a run on three cases that nobody has read, in doubt about the second and the third."""
    with Project.create(folder, reader="ann") as project:
        project.commit(add_run("1" * 32, "", {}))
        project.commit(add_run("2" * 32, "", {}))
        for number, scores in enumerate(([0.98], [0.5, 0.4], [0.6])):
            case = CaseRecord(f"{number:032x}", "", f"case {number}", "photo")
            project.commit(add_case(case))
            for run_id in ("1" * 32, "2" * 32):
                found = [
                    Candidate(
                        case.case_id, (100.0 * n, 0.0), score * int(run_id[0] == "1" or number > 0), 4.0
                    )
                    for n, score in enumerate(scores)
                ]
                project.commit(add_candidates(run_id, case.case_id, 0, found))
                project.commit(finish_case(run_id, case.case_id, 0.1))


def test_unread_cases_are_listed_the_one_to_read_next_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unread_project(tmp_path / "p")
    status, said = queue(capsys, tmp_path / "p", "--run", "1" * 32, "--kind", "unread")
    assert status == 0
    assert [(item["kind"], item["case"], item["score"]) for item in said["items"]] == [
        ("unread", "case 1", 0.5), ("unread", "case 1", 0.4), ("unread", "case 2", 0.6), ("unread", "case 0", 0.98),
    ]  # fmt: skip
    assert [case["case"] for case in said["cases"]] == ["case 1", "case 2", "case 0"]
    more = ("--kind", "unread", "--cases", 1, "--run", "1" * 32)
    for by, first in (("errors", "case 1"), ("uncertainty", "case 1")):
        said = queue(capsys, tmp_path / "p", *more, "--by", by)[1]
        assert [case["case"] for case in said["cases"]] == [first]
    said = queue(capsys, tmp_path / "p", *more, "--measure", "variance", "--with", "2" * 32)[1]
    assert [case["case"] for case in said["cases"]] == ["case 0"]


def test_ranking_by_variance_alone_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unread_project(tmp_path / "p")
    status, said = queue(capsys, tmp_path / "p", "--kind", "unread", "--measure", "variance")
    assert (status, said["error"]["code"]) == (3, "members")


def test_the_words_of_the_command_line_are_those_of_the_rule() -> None:
    from napari_medlab.cli.queue import CRITERIA, MEASURES
    from napari_medlab.models.workflows import next_cases

    assert (CRITERIA, MEASURES) == (next_cases.CRITERIA, next_cases.MEASURES)


def test_unlike_cases_are_told_apart_by_their_images(
    made: tuple[Path, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from shutil import copytree

    from napari_medlab.annotations import new_id
    from napari_medlab.project.adding import add_images

    copytree(made[0], tmp_path / "p")
    with Project.open(tmp_path / "p", reader="ann") as project:
        copytree(made[0] / "images", tmp_path / "more")
        paths = [
            (tmp_path / "more" / f"ct-{n}.mha").rename(tmp_path / "more" / f"new-{n}.mha") for n in range(2)
        ]
        run_id = new_id()
        project.commit(add_run(run_id, "", {}))
        for case in (*project.cases()[:2], *add_images(project, paths)):
            spots = [(10.0, 10.0, 10.0), (60.0, 20.0, 20.0)]
            found = [Candidate(case.case_id, at, 0.5, 8.0) for at in spots]
            project.commit(add_candidates(run_id, case.case_id, 0, found))
            project.commit(finish_case(run_id, case.case_id, 0.1))
    status, said = queue(capsys, tmp_path / "p", "--kind", "unread", "--by", "mixed")
    assert status == 0
    assert {case["case"] for case in said["cases"]} == {"new-0", "new-1"}
