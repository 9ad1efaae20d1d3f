"""The panel that compares two runs: figures, lists of what changed, and the way to each place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from figure_hub import OTHER, FigureHub, add_other_run
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from review_hub import RUN, make_project

from napari_medlab.project import BundleRecord, Project
from napari_medlab.project.edits import add_bundle, add_run, finish_case
from napari_medlab.widgets.panels import panel as panels
from napari_medlab.widgets.panels.compare import ComparePanel, newest_runs
from napari_medlab.widgets.panels.compare_rows import KINDS, LesionRow, chosen_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytestqt.qtbot import QtBot

    from napari_medlab.reports.lesion_outlines import Side

PATIENCE = 20_000


class Outlines:
    """Notes which lesions are visited."""

    def __init__(self, _: object) -> None:
        self.visited: list[tuple[str, tuple[str, str]]] = []

    def visit(self, lesion: LesionRow, sides: tuple[Side, Side], text: str) -> None:
        self.visited.append((lesion.object_id, (sides[0].run_id, sides[1].run_id)))

    def clear(self) -> None:
        """Take nothing away."""

    def follow_case(self, _: str) -> None:
        """Draw nothing."""

    def follow_view(self) -> None:
        """Draw nothing."""


@pytest.fixture
def hub(qtbot: QtBot, tmp_path: Path) -> Iterator[FigureHub]:
    project = make_project(tmp_path / "project")
    add_other_run(project)
    made = FigureHub(project)
    yield made
    made.background.close()
    project.close()


@pytest.fixture
def panel(qtbot: QtBot, hub: FigureHub, monkeypatch: pytest.MonkeyPatch) -> ComparePanel:
    monkeypatch.setattr(panels, "controller_of", lambda _: hub)
    monkeypatch.setattr("napari_medlab.widgets.panels.compare.ComparedOutlines", Outlines)
    made = ComparePanel(None)
    qtbot.addWidget(made)
    made.resize(300, 900)
    made.show()
    made._a.setCurrentIndex(made._a.findData(RUN))
    made._b.setCurrentIndex(made._b.findData(OTHER))
    made._split.setCurrentText("training cases")
    made.compare()
    qtbot.waitUntil(lambda: "difference" in made.summary.text(), timeout=PATIENCE)
    return made


def shown_kinds(panel: ComparePanel) -> list[str]:
    return [row.kind for row in panel._shown]


def test_both_runs_have_figures_with_intervals_and_a_paired_difference(panel: ComparePanel) -> None:
    text = panel.summary.text()
    assert text.startswith("theirs → ours: CPM ")
    assert "p = " in text
    assert text.count(" to ") >= 3
    assert [line.name for line in panel._curve._lines] == ["before", "after"]
    assert all(line.band is not None for line in panel._curve._lines)


def test_chips_count_nothing_before_anything_is_compared(panel: ComparePanel) -> None:
    panel._forget()
    assert [chip.text() for chip in panel._chips.values()] == [
        f"{kind.sign} – {kind.title}" for kind in KINDS.values()
    ]
    assert not any(chip.isEnabled() for chip in panel._chips.values())


def test_chips_count_what_changed_and_choose_what_is_listed(panel: ComparePanel) -> None:
    assert panel.compared is not None
    counts = panel.compared.comparison.transitions.counts
    for kind, chip in panel._chips.items():
        assert chip.text() == f"{KINDS[kind].sign} {counts[kind]} {KINDS[kind].title}"
    assert shown_kinds(panel) == [kind for kind in KINDS for _ in range(counts[kind])]
    panel._chips["fixed"].setChecked(False)
    assert "fixed" not in shown_kinds(panel)
    assert panel.table.model().rowCount() == len(panel._shown)


def test_another_operating_point_changes_the_lists_and_resamples_nothing(
    panel: ComparePanel, qtbot: QtBot
) -> None:
    before = panel.compared
    assert before is not None
    panel.set_point(0.01)
    qtbot.waitUntil(lambda: panel.compared is not before, timeout=PATIENCE)
    assert panel.compared is not None
    assert panel.compared.comparison.a is before.comparison.a
    assert panel.compared.comparison.fp_per_scan == pytest.approx(0.01)
    assert "new_false_positive" not in shown_kinds(panel)


def test_a_row_is_visited_with_both_runs_and_keys_step_through(panel: ComparePanel, qtbot: QtBot) -> None:
    visited = panel._outlines.visited  # type: ignore[attr-defined]
    panel.table.selectRow(0)
    for key in (Qt.Key.Key_J, Qt.Key.Key_J, Qt.Key.Key_K, Qt.Key.Key_Down):
        QTest.keyClick(panel.table, key)
    ids = [row.object_id for row in panel._shown]
    assert [object_id for object_id, _ in visited] == [ids[0], ids[1], ids[2], ids[1], ids[2]]
    assert {runs for _, runs in visited} == {(RUN, OTHER)}


def test_a_title_sorts_the_list_and_what_is_looked_at_stays_so(panel: ComparePanel) -> None:
    panel.table.selectRow(1)
    current = panel._shown[1].object_id
    panel._on_header(3)
    scores = [row.after for row in panel._shown if np.isfinite(row.after)]
    assert scores == sorted(scores, reverse=True)
    assert panel._shown[panel.table.currentIndex().row()].object_id == current
    panel._on_header(3)
    panel._on_header(3)
    assert panel._sort is None


def test_the_report_is_written_with_the_rule_that_was_used(
    panel: ComparePanel, qtbot: QtBot, tmp_path: Path
) -> None:
    panel.write_report(tmp_path)
    qtbot.waitUntil(lambda: panel.summary.text().startswith("Written"), timeout=PATIENCE)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "LUNA16 rules" in text
    assert "Case two" not in text


def test_runs_that_share_no_case_are_refused_in_words(panel: ComparePanel, qtbot: QtBot) -> None:
    panel._split.setCurrentText("frozen test cases")
    panel.compare()
    qtbot.waitUntil(lambda: not panel._task.is_running, timeout=PATIENCE)
    assert "no test case that both runs are done with" in panel.summary.text()


def test_the_same_run_twice_is_no_comparison(panel: ComparePanel) -> None:
    panel._a.setCurrentIndex(panel._b.currentIndex())
    panel.compare()
    assert panel.summary.text() == "Choose two different runs."


def test_a_judgement_is_shown_by_the_newest_runs_of_both(tmp_path: Path) -> None:
    from napari_medlab.project.edits import add_case
    from napari_medlab.project.records import CaseRecord

    hashes = ("1" * 64, "2" * 64)
    with Project.create(tmp_path / "judged", reader="ann") as project:
        project.commit(add_case(CaseRecord("c" * 32, "images/c.mha", "c", split="test", frozen=True)))
        for bundle_hash in hashes:
            project.commit(add_bundle(BundleRecord(bundle_hash, f"bundles/{bundle_hash[:4]}", "model")))
        for number, bundle_hash in enumerate((*hashes, hashes[1])):
            project.commit(add_run(f"{number}" * 32, bundle_hash, {}))
            project.commit(finish_case(f"{number}" * 32, "c" * 32, 1.0))
        assert newest_runs(project, hashes) == ("0" * 32, "2" * 32)
        assert newest_runs(project, ("3" * 64, hashes[0])) == ("", "0" * 32)


def make_row(kind: str, before: float, after: float, case_id: str = "a") -> LesionRow:
    return LesionRow(kind, case_id, f"{kind}{before}{after}", (0.0, 0.0), 5.0, before, after)


@pytest.mark.parametrize("descending", [False, True])
def test_scores_that_do_not_exist_stand_last_either_way(descending: bool) -> None:
    rows = [make_row("fixed", np.nan, 0.5), make_row("fixed", 0.4, 0.6), make_row("regressed", 0.9, 0.1)]
    ordered = chosen_rows(rows, KINDS, {}, (2, descending))
    assert [row.before for row in ordered[:2]] == sorted([0.4, 0.9], reverse=descending)
    assert np.isnan(ordered[2].before)


def test_rows_sort_by_the_names_of_cases_and_by_kind() -> None:
    rows = [make_row("regressed", 0.1, 0.2, "a"), make_row("fixed", 0.1, 0.2, "b")]
    names: dict[str, Any] = {"a": "zebra", "b": "ant"}
    assert [row.case_id for row in chosen_rows(rows, KINDS, names, (1, False))] == ["b", "a"]
    assert [row.kind for row in chosen_rows(rows, KINDS, names, (0, False))] == ["fixed", "regressed"]
    assert chosen_rows(rows, ["fixed"], names) == [rows[1]]
