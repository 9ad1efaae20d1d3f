from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.annotations.formats.mini_mias import (
    CLASSES,
    SIDE,
    FilmEntry,
    is_mini_mias,
    placed_findings,
    read_films,
    write_films,
)
from napari_medlab.errors import InputRefusedError
from napari_medlab.geometry import Grid

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """This file lists the films in the database, as follows:

1st column: reference number. 2nd column: character of background tissue (F, G, D).
mdb001 G CIRC B 535 425 197
mdb003 D NORM\x20
mdb005 F CIRC B 477 133 30
mdb005 F CIRC B 500 168 26
mdb059 F CIRC B *NOTE 3*
mdb216 D CALC M
mdb241 D SPIC M 1024 0 0.5
"""
FILMS = Grid.axis_aligned((SIDE, SIDE), (1.0, 1.0), unit="px")


def written(folder: Path, text: str) -> Path:
    path = folder / "Info.txt"
    path.write_text(text, encoding="utf-8")
    return path


def told(folder: Path, text: str) -> str:
    with pytest.raises(InputRefusedError) as caught:
        read_films(written(folder, text))
    assert caught.value.code == "mini-mias"
    return caught.value.message


def test_entries_are_read_in_order(tmp_path: Path) -> None:
    entries = read_films(written(tmp_path, TABLE))
    assert entries == [
        FilmEntry("mdb001", "G", "CIRC", "B", (535.0, 425.0, 197.0)),
        FilmEntry("mdb003", "D", "NORM"),
        FilmEntry("mdb005", "F", "CIRC", "B", (477.0, 133.0, 30.0)),
        FilmEntry("mdb005", "F", "CIRC", "B", (500.0, 168.0, 26.0)),
        FilmEntry("mdb059", "F", "CIRC", "B"),
        FilmEntry("mdb216", "D", "CALC", "M"),
        FilmEntry("mdb241", "D", "SPIC", "M", (1024.0, 0.0, 0.5)),
    ]
    assert [entry.line for entry in entries] == [4, 5, 6, 7, 8, 9, 10]


def test_places_count_from_the_bottom_left_corner(tmp_path: Path) -> None:
    entries = read_films(written(tmp_path, TABLE))
    findings = placed_findings(
        entries, dict.fromkeys(("mdb001", "mdb003", "mdb005", "mdb059", "mdb241"), FILMS)
    )
    assert findings.case_ids.tolist() == ["mdb001", "mdb005", "mdb005", "mdb241"]
    assert findings.centres.tolist() == [[534.5, 598.5], [476.5, 890.5], [499.5, 855.5], [1023.5, 1023.5]]
    assert findings.diameters.tolist() == [394.0, 60.0, 52.0, 1.0]
    assert findings.labels.tolist() == ["CIRC benign"] * 3 + ["SPIC malignant"]
    assert findings.ids.tolist() == ["mdb001:4", "mdb005:6", "mdb005:7", "mdb241:10"]
    assert not findings.is_excluded.any()


def test_the_corner_pixels_of_a_film_are_hit() -> None:
    entry = FilmEntry("mdb001", "G", "CIRC", "B", (0.5, 0.5, 1.0))
    (lower_left,) = placed_findings([entry], {"mdb001": FILMS}).centres
    assert FILMS.to_index(lower_left).tolist() == [SIDE - 1, 0]
    entry = FilmEntry("mdb001", "G", "CIRC", "B", (1023.5, 1023.5, 1.0))
    (upper_right,) = placed_findings([entry], {"mdb001": FILMS}).centres
    assert FILMS.to_index(upper_right).tolist() == [0, SIDE - 1]


def test_places_are_in_the_world_of_the_image() -> None:
    grid = Grid.axis_aligned((SIDE, SIDE), (200.0, 200.0), (1000.0, -500.0), unit="um")
    entry = FilmEntry("mdb001", "G", "CIRC", "B", (535.0, 425.0, 197.0))
    findings = placed_findings([entry], {"mdb001": grid})
    np.testing.assert_allclose(findings.centres, [[1000 + 534.5 * 200, -500 + 598.5 * 200]])
    np.testing.assert_allclose(findings.diameters, [2 * 197 * 200])


def test_an_image_of_another_size_is_refused() -> None:
    entry = FilmEntry("mdb001", "G", "CIRC", "B", (10.0, 10.0, 5.0), line=7)
    for shape in ((512, 512), (1, SIDE, SIDE)):
        grid = Grid.axis_aligned(shape, (1.0,) * len(shape))
        with pytest.raises(InputRefusedError, match="line 7") as caught:
            placed_findings([entry], {"mdb001": grid})
        assert caught.value.code == "size"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("mdb001 X CIRC B 1 2 3", "the tissue is 'X'"),
        ("mdb001 G LUMP B 1 2 3", "the class is 'LUMP'"),
        ("mdb001 G", "the class is ''"),
        ("mdb001 G CIRC", "the severity is ''"),
        ("mdb001 G CIRC X 1 2 3", "the severity is 'X'"),
        ("mdb001 G NORM B", "a normal film is followed by 'B'"),
        ("mdb001 G CIRC B 1 2", "2 words after the severity"),
        ("mdb001 G CIRC B 1 2 3 4", "4 words after the severity"),
        ("mdb001 G CIRC B 1 1025 3", "Y is '1025', expected a number from 0 to 1024"),
        ("mdb001 G CIRC B -1 2 3", "X is '-1'"),
        ("mdb001 G CIRC B 1 2 0", "the radius is 0"),
        ("mdb001 G CIRC B 1 2 nan", "the radius is 'nan'"),
        ("mdb001 G CIRC B 1 2 1e999", "the radius is '1e999'"),
        ("mdb001xyz G CIRC B 1 2 3", "the film is 'mdb001xyz'"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, line: str, what: str) -> None:
    message = told(tmp_path, f"{TABLE}{line}\n")
    assert message.startswith("Info.txt line 11: ")
    assert what in message


def test_faults_are_told_together_up_to_ten(tmp_path: Path) -> None:
    message = told(tmp_path, TABLE + "mdb001 X CIRC B 1 2 3\n" * 50)
    assert [line.partition(": ")[0] for line in message.splitlines()] == [
        f"Info.txt line {n}" for n in range(11, 21)
    ]


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    assert "no film" in told(tmp_path, "nothing here\n")
    (tmp_path / "bytes.txt").write_bytes(b"mdb001 \xff\xfe")
    for name, code in (("bytes.txt", "mini-mias"), ("nothing.txt", "file")):
        with pytest.raises(InputRefusedError) as caught:
            read_films(tmp_path / name)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TABLE, True),
        ("\ufeffREFNUM BG CLASS SEVERITY X Y RADIUS\r\nmdb003 D NORM\r\n", True),
        ("seriesuid,coordX,coordY,coordZ,diameter_mm\nmdb001,1,2,3,4\n", False),
        ("", False),
    ],
)
def test_a_table_is_known_by_its_content(tmp_path: Path, text: str, expected: bool) -> None:
    assert is_mini_mias(written(tmp_path, text)) == expected
    assert not is_mini_mias(tmp_path / "nothing.txt")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = written(tmp_path, "mine")
    with pytest.raises(InputRefusedError) as caught:
        write_films(path, [])
    assert caught.value.code == "exists"
    assert path.read_text(encoding="utf-8") == "mine"


POSITIONS = st.floats(0, SIDE) | st.integers(0, SIDE).map(float)
PLACES = st.none() | st.tuples(POSITIONS, POSITIONS, POSITIONS.filter(bool))
NAMES = st.integers(0, 999).map("mdb{:03d}".format)
TISSUES = st.sampled_from("FGD")
ENTRIES = st.builds(
    FilmEntry, NAMES, TISSUES, st.sampled_from(CLASSES), st.sampled_from("BM"), PLACES
) | st.builds(FilmEntry, NAMES, TISSUES, st.just("NORM"))


@settings(max_examples=60, deadline=None)
@given(st.lists(ENTRIES, min_size=1))
def test_tables_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, entries: list[FilmEntry]) -> None:
    path = tmp_path_factory.mktemp("mias") / "Info.txt"
    write_films(path, entries)
    assert is_mini_mias(path)
    again = read_films(path)
    assert again == entries
    grids = dict.fromkeys({entry.film for entry in entries}, FILMS)
    findings = placed_findings(again, grids)
    places = [entry.place for entry in entries if entry.place]
    np.testing.assert_array_equal(findings.centres[:, 0] if places else [], [x - 0.5 for x, _, _ in places])
    np.testing.assert_array_equal(findings.diameters, [2 * radius for _, _, radius in places])
