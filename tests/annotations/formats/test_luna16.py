from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from napari_medlab.annotations import Candidate, CandidateTable, Finding, FindingTable
from napari_medlab.annotations.formats.luna16 import (
    read_candidates,
    read_findings,
    read_reference,
    read_series,
    write_candidates,
    write_findings,
    write_series,
)
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path

ANNOTATIONS = """seriesuid,coordX,coordY,coordZ,diameter_mm
1.2.3,-128.6994211,-175.3192718,-298.3875064,5.651470635
1.2.4,1,2e1,-3.5,-1
"""


def written(folder: Path, text: str, name: str = "annotations.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_findings_are_read_in_order(tmp_path: Path) -> None:
    findings = read_findings(written(tmp_path, ANNOTATIONS))
    assert findings.case_ids.tolist() == ["1.2.3", "1.2.4"]
    assert findings.centres.tolist() == [[-128.6994211, -175.3192718, -298.3875064], [1.0, 20.0, -3.5]]
    assert findings.diameters.tolist() == [5.651470635, -1.0]
    assert not findings.is_excluded.any()


def test_the_id_of_an_object_is_its_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path, ANNOTATIONS.replace("1.2.4", "\n1.2.4"))
    assert read_findings(path).ids.tolist() == ["annotations:2", "annotations:4"]


def test_a_reference_has_its_excluded_findings_last(tmp_path: Path) -> None:
    excluded = written(tmp_path, ANNOTATIONS, "annotations_excluded.csv")
    findings = read_reference(written(tmp_path, ANNOTATIONS), excluded)
    assert findings.is_excluded.tolist() == [False, False, True, True]
    assert len(set(findings.ids.tolist())) == 4


@pytest.mark.parametrize("column", ["probability", "score", "Score ", "class"])
def test_a_score_may_be_called_otherwise(tmp_path: Path, column: str) -> None:
    path = written(tmp_path, f"seriesuid,coordX,coordY,coordZ,{column}\n1.2.3,1,2,3,1\n")
    candidates = read_candidates(path)
    assert candidates.scores.tolist() == [1.0]
    assert candidates.labels.tolist() == ["nodule"]


def test_further_columns_are_used_or_left_aside(tmp_path: Path) -> None:
    header = "reader,class,coord_z,coord_y,coord_x,diameter_mm,probability,seriesuid"
    path = written(tmp_path, f"\ufeff{header}\nme,0,3,2,1,7.5,0.25,1.2.3\nme,mass,3,2,1,7.5,0.5,1.2.3\n")
    candidates = read_candidates(path)
    assert candidates.centres[0].tolist() == [1.0, 2.0, 3.0]
    assert candidates.diameters.tolist() == [7.5, 7.5]
    assert candidates.labels.tolist() == ["non-nodule", "mass"]
    assert candidates.scores.tolist() == [0.25, 0.5]


def test_series_are_listed_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "seriesuids.csv"
    path.write_bytes(b"1.2.9\r\n1.2.3\r\n\r\n1.2.9\r\n")
    assert read_series(path) == ["1.2.9", "1.2.3"]


def test_a_header_above_the_series_is_no_series(tmp_path: Path) -> None:
    assert read_series(written(tmp_path, "seriesuid\n1.2.3\n")) == ["1.2.3"]


def test_errors_are_told_together_with_their_lines(tmp_path: Path) -> None:
    rows = "1.2.3,abc,nan,3,4\n,1,2,3,\n1.2.3,1,2,3\n1.2.3,1,-inf,1_0,4\n"
    with pytest.raises(InputRefusedError) as refusal:
        read_findings(written(tmp_path, ANNOTATIONS + rows))
    assert refusal.value.code == "csv"
    assert refusal.value.message.splitlines() == [
        "annotations.csv line 4: coordX is 'abc', expected a number",
        "annotations.csv line 4: coordY is 'nan', expected a finite number",
        "annotations.csv line 5: seriesuid is '', expected 1 to 256 printable characters",
        "annotations.csv line 5: diameter_mm is '', expected a number",
        "annotations.csv line 6: 4 cells, expected 5",
        "annotations.csv line 7: coordY is '-inf', expected a finite number",
        "annotations.csv line 7: coordZ is '1_0', expected a number",
    ]


def test_no_more_than_ten_errors_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as refusal:
        read_findings(written(tmp_path, ANNOTATIONS + "1.2.3,a,b,c,d\n" * 50))
    assert len(refusal.value.message.splitlines()) == 10


@pytest.mark.parametrize("number", ["1e999", "Infinity", "NaN", "0x10", "1,5", "٣", "1 2", "--1", "=1"])
def test_what_is_no_finite_number_is_refused(tmp_path: Path, number: str) -> None:
    with pytest.raises(InputRefusedError, match="line 4: diameter_mm"):
        read_findings(written(tmp_path, f'{ANNOTATIONS}1.2.3,1,2,3,"{number}"\n'))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no column 'seriesuid'"),
        ("seriesuid,coordX,coordY,diameter_mm\n", "no column 'coordZ'"),
        ("seriesuid;coordX;coordY;coordZ;diameter_mm\n", "no column 'coordX'"),
        ('seriesuid,coordX,coordY,coordZ,diameter_mm\n"1.2', "is not a CSV file"),
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + "9" * 200_000, "is not a CSV file"),
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\n1\0,1,2,3,4\n", "printable"),
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\n" + "9" * 300 + ",1,2,3,4\n", "256 printable"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(InputRefusedError, match=what) as refusal:
        read_findings(written(tmp_path, text))
    assert refusal.value.code == "csv"


def test_candidates_without_a_score_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="no column 'probability'"):
        read_candidates(written(tmp_path, ANNOTATIONS))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputRefusedError, match="UTF-8"):
        read_findings(path)


@pytest.mark.parametrize("name", ["nowhere.csv", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputRefusedError, match="cannot be read") as refusal:
        read_findings(tmp_path / name)
    assert refusal.value.code == "file"


def test_an_empty_list_of_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError, match="no series"):
        read_series(written(tmp_path, "\n"))


def test_cells_that_a_spreadsheet_would_run_are_neutralised_and_numbers_stay_numbers(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    cases = ["=1+1", "+1", "-1", "@cmd", "\tx", "'quoted", "plain"]
    write_findings(path, FindingTable.from_objects([Finding(case, (-1.5, 2.0, 3.0), -1.0) for case in cases]))
    with path.open(encoding="utf-8", newline="") as file:
        cells = list(csv.reader(file))
    assert [row[0] for row in cells[1:]] == ["'=1+1", "'+1", "'-1", "'@cmd", "'\tx", "''quoted", "plain"]
    assert cells[1][1:] == ["-1.5", "2.0", "3.0", "-1.0"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path, "mine")
    with pytest.raises(InputRefusedError) as refusal:
        write_series(path, ["1.2.3"])
    assert refusal.value.code == "exists"
    assert path.read_text(encoding="utf-8") == "mine"


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    table = CandidateTable.from_objects([Candidate("1.2.3", (0.0, 0.0, 0.0), float("nan"))])
    with pytest.raises(InputRefusedError, match=r"line 2: .* not finite"):
        write_candidates(tmp_path / "out.csv", table)
    assert not (tmp_path / "out.csv").exists()


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=20)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, NUMBERS, NUMBERS, NUMBERS, NUMBERS)))
def test_tables_read_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float]]
) -> None:
    folder = tmp_path_factory.mktemp("luna16")
    findings = FindingTable.from_objects([Finding(str(row[0]), row[1:4], row[4]) for row in rows])  # type: ignore[misc]
    candidates = CandidateTable.from_objects([Candidate(str(row[0]), row[1:4], row[4]) for row in rows])  # type: ignore[misc]
    write_findings(folder / "f.csv", findings)
    write_candidates(folder / "c.csv", candidates)
    found, proposed = read_findings(folder / "f.csv"), read_candidates(folder / "c.csv")
    assert found.case_ids.tolist() == proposed.case_ids.tolist() == findings.case_ids.tolist()
    np.testing.assert_array_equal(found.centres, findings.centres)
    np.testing.assert_array_equal(found.diameters, findings.diameters)
    np.testing.assert_array_equal(proposed.scores, candidates.scores)


@settings(max_examples=40, deadline=None)
@given(st.lists(NAMES, min_size=1, unique=True))
@example(["SERIESUID"])  # which is how the header is called
def test_series_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, uids: list[str]) -> None:
    path = tmp_path_factory.mktemp("luna16") / "seriesuids.csv"
    write_series(path, uids)
    assert read_series(path) == uids


def test_the_real_reference_reads_back_exactly(test_data: Path, tmp_path: Path) -> None:
    for name in ("annotations.csv", "annotations_excluded.csv"):
        table = read_findings(test_data / "luna16" / name)
        write_findings(tmp_path / name, table)
        again = read_findings(tmp_path / name)
        np.testing.assert_array_equal(again.centres, table.centres)
        assert again.ids.tolist() == table.ids.tolist()
