"""The journal of experiments, on made-up bundles and runs."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from phantom_projects import add_plain_cases, made_up_run

from napari_medlab.errors import InputRefusedError
from napari_medlab.jobs import CancelledError, CancelToken
from napari_medlab.models.bundles.spec import spec_hash
from napari_medlab.models.workflows.experiment_changes import changes_between
from napari_medlab.models.workflows.experiments import (
    conclude,
    experiments_of,
    model_named,
    shareable_experiments,
)
from napari_medlab.models.workflows.judge import judge
from napari_medlab.project import BundleRecord, ExportRecord, Project
from napari_medlab.project.edits import (
    add_bundle,
    add_export,
    set_current_bundle,
    set_fields,
    set_finding,
    set_verdict,
)
from napari_medlab.reports.experiments import (
    Experiment,
    Figure,
    as_csv,
    as_json,
    as_markdown,
    metrics_of,
    points_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.project.records import Origin

RECIPE = {"steps": 400, "learning_rate": 1e-4, "batch_size": 4, "seed": 0, "optimiser": {"name": "adamw"}}
ENVIRONMENT = {"napari-medlab": "0.6", "torch": "2.13.0", "code_sha256": "a" * 64, "machine": "x86_64"}


def spec_of(name: str, parent: str | None, training: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - parts of a spec
    return {
        "schema": 2, "name": name, "task": "detection", "network": {"name": "retina", "arguments": {"width": 8}},
        "preprocessing": {"window": [-1000, 400]}, "postprocessing": {"threshold": 0.5}, "classes": ["nodule"],
        "weights_sha256": hashlib.sha256(json.dumps(training).encode()).hexdigest(), "parent": parent,
        "training": training, "created": "2026-11-20T10:00:00+00:00", **more,
    }  # fmt: skip


def tuned(packages: list[str], **recipe: float) -> dict[str, Any]:
    return {
        "part": "network", "recipe": {**RECIPE, **recipe}, "packages": packages, "examples": 30 * len(packages),
        "replay_share": 0.5, "environment": ENVIRONMENT,
    }  # fmt: skip


def keep(project: Project, spec: dict[str, Any]) -> str:
    """Add a bundle whose spec lies in the project, and return its hash."""
    digest = spec_hash(spec)
    folder = project.folder / "bundles" / digest[:12]
    folder.mkdir()
    (folder / "bundle.json").write_text(json.dumps(spec))
    origin: Origin = "trained" if spec["parent"] else "imported"
    project.commit(
        add_bundle(BundleRecord(digest, f"bundles/{digest[:12]}", spec["name"], spec["parent"], origin))
    )
    return digest


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with Project.create(tmp_path / "p", reader="ann-marie") as made:
        add_plain_cases(made, 2, 6)
        yield made


def package(project: Project, digest: str) -> None:
    """Record a package that rests on all edits of readers so far."""
    edits = [entry.id for entry in project.journal(kinds=("verdict.set", "finding.set", "group"))]
    project.commit(add_export(ExportRecord("exports/1", "hard", digest, tuple(edits))))


def three_rounds(project: Project) -> tuple[list[str], list[str]]:
    """Make a model and two trained from it, each a round of corrections further, and runs on all cases."""
    first = keep(project, spec_of("nodules", None, {"samples": 340, "recipe": RECIPE}))
    cases = [case.case_id for case in project.cases()]
    runs = [made_up_run(project, first, set(cases[:4]), dict.fromkeys(cases[2:], 0.95))]
    wrong = str(project.candidates(runs[0], cases[2]).ids[-1])
    project.commit(set_verdict(cases[2], runs[0], wrong, before=None, after="model wrong"))
    package(project, "1" * 64)
    second = keep(project, spec_of("nodules", first, tuned(["1" * 64])))
    runs.append(made_up_run(project, second, set(cases[:6]), {cases[2]: 0.95}))
    finding = project.finding(str(project.findings(cases[0]).ids[0]))
    assert finding is not None
    project.commit(set_finding(finding, None))
    project.commit(set_verdict(cases[2], runs[0], wrong, before="model wrong", after="ambiguous"))
    project.commit(set_verdict(cases[0], runs[0], finding.finding_id, before=None, after="agreed"))
    project.undo()
    package(project, "2" * 64)
    third = keep(project, spec_of("nodules", second, tuned(["1" * 64, "2" * 64], steps=800)))
    runs.append(made_up_run(project, third, set(cases), None))
    return [first, second, third], runs


def test_every_model_is_a_row_with_what_changed_and_what_it_rests_on(project: Project) -> None:
    (first, second, third), _ = three_rounds(project)
    rows = {row.about: row for row in experiments_of(project, evaluate=False)}
    assert [rows[each].round for each in (first, second, third)] == [0, 1, 2]
    assert [rows[each].parent for each in (first, second, third)] == ["", first, second]
    assert rows[first].changed == ("trained on 340 samples",)
    assert rows[second].changed == (
        "trained further on 1 package with 30 examples", "steps 400", "learning rate 0.0001", "batch size 4", "seed 0",
    )  # fmt: skip
    assert rows[third].changed == (
        "trained further on 2 packages with 60 examples, 1 of them new", "recipe steps 400 → 800",
    )  # fmt: skip
    assert [(rows[each].packages, rows[each].examples) for each in (first, second, third)] == [
        (0, 340),
        (1, 30),
        (2, 60),
    ]
    # the second verdict on the same candidate adds no object, and what was undone counts for none
    assert [rows[each].corrected for each in (first, second, third)] == [0, 1, 2]
    assert [rows[each].edits for each in (first, second, third)] == [0, 1, 5]
    assert rows[second].at == "2026-11-20T10:00:00+00:00"


def test_a_judgement_gives_the_figures_and_what_the_model_became(project: Project) -> None:
    (first, second, third), runs = three_rounds(project)
    project.commit(set_current_bundle(None, first))
    told = judge(project, runs[0], runs[1])
    project.commit(set_current_bundle(first, second))
    refused = judge(project, runs[2], runs[0])
    rows = {row.about: row for row in experiments_of(project)}
    row = rows[second]
    assert row.figure is not None
    assert row.difference is not None
    assert (row.figure.value, [row.figure.low, row.figure.high]) == (
        told.figures["proposed"], told.figures["proposed_interval"],
    )  # fmt: skip
    assert (row.difference.value, row.against, row.verdict) == (
        told.figures["difference"],
        first,
        "may be published",
    )
    assert (row.is_current, row.state, len(row.published)) == (True, "current", 1)
    assert (row.run_id, row.against_run_id, row.reason) == (runs[1], runs[0], told.reason)
    assert not refused.may_publish
    assert (rows[first].verdict, rows[first].against) == ("refused", third)
    assert rows[first].state.startswith("published 20")


def test_what_was_never_judged_is_measured_against_its_parent(project: Project) -> None:
    hashes, runs = three_rounds(project)
    seen: list[tuple[int, int]] = []
    rows = {row.about: row for row in experiments_of(project, on_progress=lambda *at: seen.append(at))}
    figures = [rows[each].figure for each in hashes]
    assert all(figure is not None and figure.low is not None for figure in figures)
    assert [figure.value for figure in figures if figure is not None] == sorted(
        figure.value for figure in figures if figure is not None
    )
    difference = rows[hashes[2]].difference
    assert difference is not None
    assert difference.value > 0
    assert (rows[hashes[2]].against_run_id, rows[hashes[0]].difference) == (runs[1], None)
    assert seen == [(0, 3), (1, 3), (2, 3)]
    assert all(row.figure is None for row in experiments_of(project, evaluate=False))
    cancel = CancelToken()
    cancel.cancel("enough")
    with pytest.raises(CancelledError):
        experiments_of(project, cancel=cancel)


def test_predictions_made_elsewhere_are_rows_of_their_own(project: Project) -> None:
    run_id = made_up_run(project, "", {case.case_id for case in project.cases()})
    (row,) = experiments_of(project)
    assert (row.about, row.origin, row.name, row.run_id) == (
        run_id,
        "predictions",
        "imported predictions",
        run_id,
    )
    assert row.figure is not None
    assert row.figure.value == 1.0
    conclude(project, run_id, "hard to beat")
    assert experiments_of(project)[0].conclusion == "hard to beat"


def test_a_bundle_whose_files_are_gone_or_others_says_so(project: Project) -> None:
    digest = keep(project, spec_of("nodules", None, {}))
    (project.folder / "bundles" / digest[:12] / "bundle.json").write_text("{}")
    project.commit(add_bundle(BundleRecord("e" * 64, "bundles/nowhere", "gone", digest, "trained")))
    assert [row.changed for row in experiments_of(project)] == [("its files are not here",)] * 2
    assert experiments_of(project)[1].round == 1


def test_parents_that_form_a_ring_end(project: Project) -> None:
    for one, other in ("ab", "ba"):
        project.commit(add_bundle(BundleRecord(one * 64, "", one, other * 64, "imported")))
    assert [row.round for row in experiments_of(project)] == [1, 1]


def test_a_conclusion_is_stored_and_taken_away(project: Project) -> None:
    digest = keep(project, spec_of("nodules", None, {}))
    conclude(project, digest, "too many vessels")
    conclude(project, digest, "fewer vessels")
    assert experiments_of(project)[0].conclusion == "fewer vessels"
    conclude(project, digest, "")
    assert project.conclusions() == {}
    assert project.undo() is not None
    assert project.conclusions() == {digest: "fewer vessels"}


def test_models_are_named_by_name_or_by_the_first_digits(project: Project) -> None:
    first = keep(project, spec_of("nodules", None, {}))
    assert {
        model_named(project, name) for name in ("nodules", first, first[:6], f"nodules · {first[:8]}")
    } == {first}
    keep(project, spec_of("nodules", first, tuned([])))
    for name in ("nodules", "masses", ""):
        with pytest.raises(InputRefusedError) as caught:
            model_named(project, name)
        assert caught.value.code == "unknown-bundle"


def test_only_what_differs_is_told(project: Project) -> None:
    parent = spec_of("nodules", None, tuned(["1" * 64]))
    assert changes_between(parent, spec_of("nodules", "x", tuned(["1" * 64])))[1:] == ()
    other = tuned(["1" * 64], learning_rate=3e-4, seed=1)
    other["recipe"]["optimiser"] = {"name": "sgd"}
    other["environment"] = {**ENVIRONMENT, "torch": "2.14.0", "code_sha256": "b" * 64, "machine": "arm"}
    child = spec_of(
        "nodules", "x", other, classes=["nodule", "mass"], postprocessing={"threshold": 0.25, "merge_mm": 4.0}
    )
    assert changes_between(parent, child)[1:] == (
        'classes ["nodule"] → ["nodule", "mass"]', "postprocessing merge mm none → 4", "postprocessing threshold 0.5 → 0.25",
        "recipe learning rate 0.0001 → 0.0003", "recipe optimiser name adamw → sgd", "recipe seed 0 → 1",
        "torch 2.13.0 → 2.14.0", "the code was changed",
    )  # fmt: skip
    wide = spec_of("nodules", "x", {**other, "recipe": {f"setting {n}": n for n in range(40)}})
    assert len(changes_between(parent, wide)) == 13
    assert changes_between(parent, wide)[-1].endswith("further settings")


def test_paths_and_notes_are_not_told(project: Project) -> None:
    parent = spec_of("nodules", None, tuned([]))
    child = spec_of("nodules", "x", {**tuned([]), "hold_out": "/home/doe/list.csv", "replay_share": None})
    assert changes_between(parent, child) == ("held out changed", "replayed share 0.5 → none")
    child = spec_of("nodules", "x", {**tuned([]), "hold_out": "fold:1/5"})
    assert changes_between(parent, child) == ("held out none → fold:1/5",)


ROW = Experiment(
    "a" * 64, "2026-11-21T20:00:00+00:00", "nodules", "trained", "b" * 64, "nodules", 2, ("steps 400 → 800",), 1, 30, 7, 5,
    Figure("CPM", 0.7123456, 0.65, 0.77), Figure("CPM", -0.01, -0.03, 0.01), "b" * 64, "nodules", "may be published",
    "May be published: …", (), False, "=HYPERLINK(\"http://x\")\n![a](http://x) | *bold*",
)  # fmt: skip


def test_csv_reads_back_and_runs_no_formula() -> None:
    header, cells = csv.reader(io.StringIO(as_csv([ROW])))
    row = dict(zip(header, cells, strict=True))
    assert row["conclusion"].startswith("'=HYPERLINK")
    assert (float(row["figure"]), float(row["difference"]), row["low"]) == (0.7123456, -0.01, "0.65")
    assert (row["corrected objects"], row["state"], row["date"]) == ("5", "may be published", ROW.at)


def test_markdown_has_one_line_for_each_row_and_no_markup_of_others() -> None:
    text = as_markdown([ROW, Experiment("c" * 64, "2026-11-22T00:00:00", "n", "imported")])
    lines = text.splitlines()
    assert lines[4].startswith("| 2026-11-22 |")
    assert "CPM 0.712 (0.650 to 0.770)" in lines[5].replace("\\", "")
    assert "\\!\\[a\\]" in lines[5]
    assert {line.replace("\\|", "").count("|") for line in lines[2:6]} == {10}
    assert as_json([ROW])["experiments"][0]["figure"] == {
        "metric": "CPM",
        "value": 0.7123456,
        "interval": [0.65, 0.77],
    }


def test_a_parent_that_is_not_here_goes_by_its_hash_once() -> None:
    row = Experiment("c" * 64, "2026-11-22T00:00:00", "n", "shipped", parent="d" * 64)
    assert row.parent_title == "dddddddd, not in this project"
    assert "| dddddddd, not in this project |" in as_markdown([row]).replace("\\", "")
    assert Experiment("c" * 64, "2026-11-22T00:00:00", "n", "shipped").parent_title == ""


def test_points_lie_along_rounds_or_corrections_for_one_metric() -> None:
    rows = [
        ROW,
        Experiment("c" * 64, "2026", "n", "imported", figure=Figure("CPM", 0.5)),
        Experiment("d", "2025", "m", "x"),
    ]
    rows.append(Experiment("e", "2027", "m", "x", figure=Figure("Dice", 0.8)))
    assert metrics_of(rows) == ["CPM", "Dice"]
    assert [(x, row.about[0]) for x, row in points_of(rows, "CPM", "round")] == [(0, "c"), (2, "a")]
    assert [(x, row.about[0]) for x, row in points_of(rows, "CPM", "corrected")] == [(0, "c"), (5, "a")]


def test_names_of_the_project_do_not_leave(project: Project) -> None:
    case = project.cases()[0]
    project.names.remember(case.case_id, source="/ward/scan77.dcm", patient="Doe^Jane")
    project.commit(set_fields(case.case_id, {}, {"site": "A"}))
    digest = keep(project, spec_of("nodules", None, {}))
    project.commit(add_bundle(BundleRecord("f" * 64, "", "model^of Doe^Jane", digest, "trained")))
    conclude(project, digest, "ann-marie: better on scan77.dcm, case 0 and Doe^Jane; lesions of 3 mm")
    rows = experiments_of(project)
    safe = shareable_experiments(project, rows)
    for text in (as_markdown(safe), as_csv(safe), json.dumps(as_json(safe))):
        assert not any(name in text for name in ("ann-marie", "scan77", "case 0", "Doe", "Jane"))
        assert "lesions of 3 mm" in text
        assert "ffffffffffff" in text
    # the control: they are there before
    assert all(name in as_csv(rows) for name in ("ann-marie", "scan77.dcm", "case 0", "Doe^Jane"))
