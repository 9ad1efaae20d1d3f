from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.errors import InputRefusedError
from napari_medlab.evaluation import FP_POINTS, MatchTable, Resampling, bootstrap, froc, match
from napari_medlab.evaluation.precision_recall import precision_recall
from napari_medlab.reports.plots import (
    BAND_POINTS,
    COLOURS,
    Estimate,
    FrocLine,
    RecallLine,
    Series,
    as_png,
    as_svg,
    froc_figure,
    matrix_figure,
    recall_figure,
    save_figure,
    strata_figure,
)
from napari_medlab.reports.recall_bands import recall_band

if TYPE_CHECKING:
    from pathlib import Path


def table(n_found: int) -> MatchTable:
    findings = [Finding(f"case{i}", (0.0, 0.0, 0.0), 8.0) for i in range(20)]
    found = [Candidate(f"case{i}", (1.0, 0.0, 0.0), 0.5 + i / 100) for i in range(n_found)]
    false = [Candidate(f"case{i % 20}", (50.0, i, 0.0), 1 - i / 80) for i in range(80)]
    return match(FindingTable.from_objects(findings), CandidateTable.from_objects([*found, *false]))


def line(name: str, n_found: int) -> FrocLine:
    matched = table(n_found)
    return FrocLine(name, froc(matched), bootstrap(matched, Resampling(30), BAND_POINTS))


def test_axes_are_labelled_and_ticked_in_powers_of_2() -> None:
    (axes,) = froc_figure([line("one", 12)]).axes
    assert axes.get_xlabel() == "False positives per scan (mean number)"
    assert axes.get_ylabel() == "Sensitivity (share of findings)"
    assert axes.get_xscale() == "log"
    assert axes.get_xticks().tolist() == list(FP_POINTS)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1/8", "1/4", "1/2", "1", "2", "4", "8"]


def test_two_curves_differ_in_colour_and_dash_and_show_their_cpm() -> None:
    lines = [line("first", 12), line("second", 18)]
    (axes,) = froc_figure(lines).axes
    drawn = [each for each in axes.lines if each.get_label() and not str(each.get_label()).startswith("_")]
    assert [each.get_color() for each in drawn] == list(COLOURS)
    assert drawn[0].get_linestyle() != drawn[1].get_linestyle()
    legend = axes.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == [f"{each.name} (CPM {each.curve.cpm:.3f})" for each in lines]


def test_the_curve_is_drawn_as_it_is_read() -> None:
    each = line("one", 12)
    (axes,) = froc_figure([each]).axes
    x, y = axes.lines[0].get_data()
    np.testing.assert_array_equal(y, each.curve.sensitivity_at(x))


def test_the_band_lies_around_the_curve() -> None:
    each = line("one", 12)
    (axes,) = froc_figure([each]).axes
    (band,) = axes.collections
    vertices = np.asarray(band.get_paths()[0].vertices)
    assert each.band is not None
    ends = np.asarray(list(each.band.sensitivity.values()))
    assert (vertices[:, 1].min(), vertices[:, 1].max()) == pytest.approx((ends.min(), ends.max()))


def test_svg_is_one_document_and_always_the_same() -> None:
    text = as_svg(froc_figure([line("a < b & $c$", 12)], "Cost $1 & more"))
    assert ET.fromstring(text).tag.endswith("svg")
    assert "False positives per scan" in text
    assert text == as_svg(froc_figure([line("a < b & $c$", 12)], "Cost $1 & more"))


def test_png_has_the_size_asked_for() -> None:
    png = as_png(froc_figure([line("one", 12)]), 50)
    assert png.startswith(b"\x89PNG")
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (320, 240)


def test_a_curve_without_findings_says_so() -> None:
    empty = match(FindingTable.from_objects([]), CandidateTable.from_objects([]), ["one"])
    assert "no findings" in as_svg(froc_figure([FrocLine("one", froc(empty))]))


@pytest.mark.parametrize("n", [0, 3])
def test_no_and_three_curves_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"got {n}"):
        froc_figure([line("one", 12)] * n)


def test_drawing_needs_no_window_and_importing_no_matplotlib() -> None:
    code = """
import sys
import numpy as np
from napari_medlab.evaluation import FrocCurve
from napari_medlab.reports.plots import FrocLine, as_svg, froc_figure
assert "matplotlib" not in sys.modules
ends = np.array([0.0, 1.0])
as_svg(froc_figure([FrocLine("one", FrocCurve(ends[::-1], ends, ends, 1, 1))]))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_tenth_point_of_a_band_is_one_of_luna16() -> None:
    np.testing.assert_allclose(BAND_POINTS[::10], FP_POINTS)


def test_precision_is_drawn_as_far_as_recall_goes_with_its_band() -> None:
    matched = table(12)
    curve = precision_recall(matched)
    (axes,) = recall_figure([RecallLine("one", curve, recall_band(matched, Resampling(30)))]).axes
    x, y = axes.lines[0].get_data()
    assert np.asarray(x)[-1] == pytest.approx(12 / 20)
    np.testing.assert_array_equal(y, curve.precision_at(x))
    assert len(axes.collections) == 1
    legend = axes.get_legend()
    assert legend is not None
    assert legend.get_texts()[0].get_text() == f"one (AP {curve.average_precision:.3f})"


def test_each_stratum_has_a_line_with_its_interval_and_count() -> None:
    estimates = [Estimate("small", 0.5, (0.2, 0.8), 10), Estimate("unknown", np.nan, (np.nan, np.nan), 0)]
    (axes,) = strata_figure([Series("before", estimates), Series("after", estimates)]).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["small  (n = 10)", "unknown  (n = 0)"]
    assert len(axes.lines) == len(axes.collections) == 2
    with pytest.raises(ValueError, match="same strata"):
        strata_figure([Series("before", estimates), Series("after", estimates[:1])])


def test_every_cell_of_a_matrix_shows_its_count() -> None:
    counts = np.array([[12, 3], [0, 1500]])
    (axes,) = matrix_figure(["mass", "$background$"], ["mass", "missed"], counts).axes
    assert [text.get_text() for text in axes.texts] == ["12", "3", "0", "1,500"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mass", "$background$"]
    assert as_png(axes.figure).startswith(b"\x89PNG")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["plot.png", "plot.SVG"])
def test_a_plot_is_saved_by_its_ending_and_never_over_another(tmp_path: Path, name: str) -> None:
    path = save_figure(froc_figure([line("one", 12)]), tmp_path / name)
    figure = froc_figure([line("one", 12)])
    expected = as_png(figure) if name.endswith("png") else as_svg(figure).encode()
    assert path.read_bytes() == expected
    with pytest.raises(InputRefusedError) as caught:
        save_figure(figure, tmp_path / name)
    assert caught.value.code == "exists"


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        save_figure(froc_figure([line("one", 12)]), tmp_path / "plot.docx")
    assert caught.value.code == "plot-format"
    assert list(tmp_path.iterdir()) == []
