"""The page that compares two models: alone in its file, without a name, with everything that changed."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import pytest
from compared_projects import TOKEN, make_project
from PIL import Image as Pictures

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import Resampling, compare, match
from napari_medlab.evaluation.transitions import FalsePositiveChange
from napari_medlab.reports.comparison import ReportOptions, write_comparison_report
from napari_medlab.reports.run_figures import Measure, compared_runs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_medlab.project import Project
    from napari_medlab.reports.run_figures import ComparedRuns

NAMES = ("old <b>", "new & better")


class Page(HTMLParser):
    """Collects the tags, the addresses and the pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        names = ("src", "href", "xlink:href", "data", "action", "srcset", "poster")
        self.addresses += [value or "" for name, value in attrs if name in names]

    @property
    def pictures(self) -> list[np.ndarray]:
        """The pixels of the pictures, in order."""
        coded = [each.split(",")[1] for each in self.addresses if each.startswith("data:image/png;base64,")]
        return [np.asarray(Pictures.open(BytesIO(base64.b64decode(each))).convert("RGB")) for each in coded]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, ComparedRuns, tuple[str, str]]]:
    project, runs = make_project(tmp_path_factory.mktemp("compared") / "project")
    compared = compared_runs(project, runs, "train", Measure(resampling=Resampling(40)), fp_per_scan=1.0)
    yield project, compared, runs
    project.close()


@pytest.fixture(scope="module")
def text(
    made: tuple[Project, ComparedRuns, tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> str:
    project, compared, runs = made
    folder = tmp_path_factory.mktemp("page")
    options = ReportOptions(runs, dice=compared.dice)
    path = write_comparison_report(project, compared.comparison, NAMES, folder, options)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_page_stands_alone(text: str) -> None:
    page = Page(text)
    assert page.tags.count("html") == 1
    assert page.tags.count("svg") == 3
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert [each for each in page.addresses if not each.startswith(("#", "data:"))] == []
    assert not re.search(r"url\(\s*['\"]?(https?:|//)|@import", text)
    assert text.count("<!") == text.count("<!--") + 1


def test_links_lead_to_sections_that_are_there(text: str) -> None:
    wanted = re.findall(r'<a href="#(\w+)">', text)
    assert wanted == ["fixed", "regressed", "still_missed", "new_false_positive", "removed_false_positive"]
    assert all(f'<h2 id="{each}">' in text for each in wanted)


def test_every_lesion_that_changed_is_pictured_in_images_of_every_kind(text: str) -> None:
    # three images, each with one fixed, one broken, one still missed, and a false positive of each run
    pictures = Page(text).pictures
    assert [each.shape for each in pictures] == [(200, 200, 3)] * 15
    broken = [(picture.reshape(-1, 3) == (0x00, 0x9E, 0x73)).all(axis=1).sum() for picture in pictures[3:6]]
    assert min(broken) > 5, "the outline of the reference is drawn in its colour"
    after = [(picture.reshape(-1, 3) == (0xE6, 0x9F, 0x00)).all(axis=1).sum() for picture in pictures[:3]]
    assert min(after) > 5, "and that of the model after in its own"


def test_counts_add_up(text: str, made: tuple[Project, ComparedRuns, tuple[str, str]]) -> None:
    counts = made[1].comparison.transitions.counts
    assert {kind: counts[kind] for kind in ("fixed", "regressed", "still_missed")} == {
        "fixed": 3, "regressed": 3, "still_missed": 3,
    }  # fmt: skip
    assert "<td>Findings that are found</td><td>3</td><td>3</td><td>+ 3 fixed − 3 broken</td>" in text
    assert "<td>False positives</td><td>3</td><td>3</td><td>+ 3 new − 3 removed</td>" in text


def test_figures_have_intervals_and_paired_differences(
    text: str, made: tuple[Project, ComparedRuns, tuple[str, str]]
) -> None:
    comparison = made[1].comparison
    assert f"CPM {comparison.cpm_a:.3f} → {comparison.cpm_b:.3f}" in text
    low, high = comparison.difference_interval
    row = re.search(r"<td>CPM</td>(.*?)</tr>", text)
    assert row is not None
    assert f"<td>{comparison.difference:+.3f} ({low:+.3f} to {high:+.3f})</td>" in row[1]
    assert "Average precision" in text


def test_how_well_outlines_agree_comes_first(
    text: str, made: tuple[Project, ComparedRuns, tuple[str, str]]
) -> None:
    dice = made[1].dice
    assert dice is not None
    verdicts = re.findall(r'<p class="big">.*?</p>', text)
    assert len(verdicts) == 2
    assert (
        f"Dice of its outlines {dice.a:.3f} → {dice.b:.3f}, difference {dice.difference:+.3f}" in verdicts[0]
    )
    assert "CPM" in verdicts[1]


def test_names_are_no_markup(text: str) -> None:
    assert "old &lt;b&gt; → new &amp; better" in text
    assert "old <b>" not in text


def test_no_name_path_or_typed_value_is_on_the_page(text: str) -> None:
    assert TOKEN not in text
    assert "case " in text
    assert "site: 1" in text
    assert "note" not in text


def test_names_are_told_where_they_are_asked_for(
    made: tuple[Project, ComparedRuns, tuple[str, str]], tmp_path: Path
) -> None:
    project, compared, runs = made
    options = ReportOptions(runs, with_names=True, most_pictures=1)
    text = write_comparison_report(project, compared.comparison, NAMES, tmp_path, options).read_text(
        encoding="utf-8"
    )
    assert f"site: {TOKEN} clinic" in text
    assert "… and 2 more" in text
    assert "Still missed (3)" in text


def test_nothing_is_overwritten(made: tuple[Project, ComparedRuns, tuple[str, str]], tmp_path: Path) -> None:
    project, compared, _ = made
    (tmp_path / "report.html").write_text("mine")
    few = ReportOptions(most_pictures=0)
    written = [write_comparison_report(project, compared.comparison, NAMES, tmp_path, few) for _ in range(2)]
    assert [path.name for path in written] == ["report-2.html", "report-3.html"]
    assert (tmp_path / "report.html").read_text() == "mine"


def test_an_image_that_cannot_be_read_is_no_obstacle_and_is_not_named(
    made: tuple[Project, ComparedRuns, tuple[str, str]], tmp_path: Path
) -> None:
    project, compared, _ = made
    gone = FalsePositiveChange("f" * 32, "x", (1.0, 2.0, 3.0), 0.5)
    changes = replace(compared.comparison.transitions, new_false_positive=(gone,))
    told: list[tuple[int, int]] = []
    options = ReportOptions(on_progress=lambda done, total: told.append((done, total)))
    path = write_comparison_report(
        project, replace(compared.comparison, transitions=changes), NAMES, tmp_path, options
    )
    assert "This image cannot be read." in path.read_text(encoding="utf-8")
    assert told[-1] == (4, 4)


def test_tables_of_a_command_line_have_a_page_too_without_their_series_numbers(tmp_path: Path) -> None:
    series = [f"1.3.6.1.4.1.{TOKEN}.{number}" for number in range(3)]
    findings = FindingTable.from_objects(
        [Finding(case, (0.0, 0.0, 0.0), 8.0, finding_id=f"f{case}") for case in series]
    )
    before = CandidateTable.from_objects([Candidate(series[0], (0.0, 0.0, 0.0), 0.9)])
    after = CandidateTable.from_objects([Candidate(case, (0.0, 0.0, 0.0), 0.9) for case in series[1:]])
    comparison = compare(
        *(match(findings, each, series) for each in (before, after)), resampling=Resampling(20)
    )
    text = write_comparison_report(None, comparison, NAMES, tmp_path).read_text(encoding="utf-8")
    page = Page(text)
    assert page.pictures == []
    assert page.tags.count("figure") == 3
    assert "Fixed: missed before, found now (2)" in text
    assert TOKEN not in text
