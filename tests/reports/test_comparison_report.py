from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.evaluation import Comparison, Resampling, compare, match
from napari_medlab.project import Project
from napari_medlab.project.adding import add_images
from napari_medlab.reports.comparison import MOST_PICTURES, write_comparison_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1.5\nDimSize = 60 50 20\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    volume = np.zeros((20, 50, 60), "<i2")
    volume[10, 20:30, 25:35] = 300
    with Project.create(tmp_path / "project") as made:
        paths = []
        for name in ("<ct>", "second"):
            paths.append(made.folder / "images" / f"{name}.mha")
            paths[-1].write_bytes(header.encode() + volume.tobytes())
        list(add_images(made, paths))
        yield made


def comparison_of(project: Project, copies: int = 1) -> Comparison:
    """Compare two models: one finding was fixed, one broke, one is still missed, and false positives changed."""
    one, two = [case.case_id for case in project.cases()]
    findings = FindingTable.from_objects(
        [
            Finding(one, (29.5, 24.5, 15.0), 8.0),
            Finding(two, (5.0, 5.0, 3.0), 8.0),
            *[Finding(two, (58.0, 3.0 + n, 28.5 + 20 * n), 6.0) for n in range(copies)],
        ]
    )
    before = [Candidate(two, (5.0, 5.0, 3.0), 0.8, 8.0), Candidate(one, (10.0, 40.0, 9.0), 0.9, 8.0)]
    after = [Candidate(one, (29.5, 24.5, 15.0), 0.8, 8.0), Candidate(two, (40.0, 10.0, 9.0), 0.9, 8.0)]
    matches = [match(findings, CandidateTable.from_objects(found), [one, two]) for found in (before, after)]
    return compare(*matches, resampling=Resampling(50))


def test_the_page_stands_alone(project: Project, tmp_path: Path) -> None:
    path = write_comparison_report(project, comparison_of(project), NAMES, tmp_path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path == tmp_path / "report.html"
    assert page.tags.count("html") == page.tags.count("svg") == 1
    assert not {"script", "link", "iframe", "object", "embed"} & set(page.tags)
    outside = [a for a in page.addresses if not a.startswith(("#", "data:"))]
    assert outside == []
    assert not re.search(r"url\(\s*['\"]?(https?:|//)", text)


def test_every_lesion_that_changed_is_pictured(project: Project, tmp_path: Path) -> None:
    from io import BytesIO

    from PIL import Image as Picture

    page = Page(write_comparison_report(project, comparison_of(project), NAMES, tmp_path).read_text(encoding="utf-8"))
    pictures = [a for a in page.addresses if a.startswith("data:image/png;base64,")]
    assert len(pictures) == 5
    pixels = np.asarray(Picture.open(BytesIO(base64.b64decode(pictures[0].split(",")[1]))))
    assert pixels.shape == (150, 150, 3)
    # the first is the fixed finding: the bright square is in its middle
    assert pixels[70:80, 70:80].min() > pixels[20:30, 20:30].max()


def test_figures_and_names_are_told_and_no_name_is_markup(project: Project, tmp_path: Path) -> None:
    comparison = comparison_of(project)
    text = write_comparison_report(project, comparison, NAMES, tmp_path).read_text(encoding="utf-8")
    assert "old &lt;b&gt; → new &amp; better" in text
    assert "&lt;ct&gt;" in text
    assert "<ct>" not in text
    assert f"CPM {comparison.cpm_a:.3f} → {comparison.cpm_b:.3f}" in text
    for title in ("Fixed: missed before, found now (1)", "Broken: found before, missed now (1)", "Still missed (1)"):
        assert title in text


def test_nothing_is_overwritten(project: Project, tmp_path: Path) -> None:
    comparison = comparison_of(project)
    (tmp_path / "report.html").write_text("mine")
    first = write_comparison_report(project, comparison, NAMES, tmp_path)
    second = write_comparison_report(project, comparison, NAMES, tmp_path)
    assert [first.name, second.name] == ["report-2.html", "report-3.html"]
    assert (tmp_path / "report.html").read_text() == "mine"


def test_what_is_too_many_to_picture_is_counted(project: Project, tmp_path: Path) -> None:
    text = write_comparison_report(
        project, comparison_of(project, MOST_PICTURES + 3), NAMES, tmp_path
    ).read_text(encoding="utf-8")
    assert "… and 3 more" in text
    assert f"Still missed ({MOST_PICTURES + 3})" in text
