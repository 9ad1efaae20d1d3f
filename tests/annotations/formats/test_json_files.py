from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.annotations.formats import json_files
from napari_medlab.annotations.formats.json_files import read_json, write_json
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path


def told(folder: Path, text: str | bytes, **options: int) -> InputRefusedError:
    path = folder / "file.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputRefusedError) as caught:
        read_json(path, **options)
    assert "file.json" in caught.value.message
    return caught.value


def test_values_come_back_as_they_were_written(tmp_path: Path) -> None:
    value = {
        "text": 'brackets [[[[ in "text" \\',
        "numbers": [1, 0.1, -2.5e-300, 2**60],
        "none": None,
        "yes": True,
    }
    write_json(tmp_path / "new.json", value)
    assert read_json(tmp_path / "new.json") == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"a": [1,\n 2,', "line 2 column 4"),
        ("", "line 1 column 1"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        ("[1, NaN]", "NaN is no number"),
        ("[-Infinity]", "-Infinity is no number"),
        ("[" * 65 + "]" * 65, "65 deep"),
        ("[" * 200_000, "200000 deep"),
        ('{"a":' * 100_000, "100000 deep"),
        ('["\\"[[", ' + "[" * 64 + "]" * 65, "65 deep"),
        ("[1" + "0" * 5000 + "]", "4300"),
        (b"[\xff]", "not a text in UTF-8"),
    ],
)
def test_what_is_no_safe_json_is_refused(tmp_path: Path, text: str | bytes, fault: str) -> None:
    error = told(tmp_path, text)
    assert error.code == "json"
    assert fault in error.message


def test_brackets_in_strings_are_not_deep(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps(["[" * 100, '\\"' + "{" * 100]), encoding="utf-8")
    assert len(read_json(path)) == 2


def test_sixty_four_deep_is_read(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_text("[" * 64 + "]" * 64, encoding="utf-8")
    assert read_json(tmp_path / "file.json")


def test_a_byte_order_mark_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "file.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "file.json") == [1]


def test_large_and_missing_files_are_refused(tmp_path: Path) -> None:
    assert told(tmp_path, "[1, 2, 3]", max_bytes=8).code == "too-large"
    with pytest.raises(InputRefusedError) as caught:
        read_json(tmp_path / "missing.json")
    assert caught.value.code == "file"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write_json(tmp_path / "new.json", 1)
    with pytest.raises(InputRefusedError) as caught:
        write_json(tmp_path / "new.json", 2)
    assert caught.value.code == "exists"
    assert read_json(tmp_path / "new.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new.json"]


@given(st.lists(st.lists(st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6), min_size=2, max_size=2)))
def test_points_are_arrays(pairs: list[list[float]]) -> None:
    assert json_files.points(pairs, "ring").tolist() == [[float(x), float(y)] for x, y in pairs]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("text", "'text', expected a list"),
        ([[1, 2], 3], "holds 3, expected points"),
        ([[1, 2], [1]], "points of 1 and 2 numbers"),
        ([[1]], "points of 1 numbers"),
        ([[1, "2"]], "holds '2', expected numbers"),
        ([[1, True]], "holds True, expected numbers"),
        ([[1, None]], "holds None, expected numbers"),
        ([[1, 1e8]], "100000000.0"),
        ([[1, float("inf")]], "inf"),
        ([[1, 10**400]], "too many digits"),
    ],
)
def test_points_that_are_none_are_refused(value: object, fault: str) -> None:
    with pytest.raises(ValueError, match="ring") as caught:
        json_files.points(value, "ring")
    assert fault in str(caught.value)


@pytest.mark.parametrize("value", [None, True, "1", 1.5, -1, 2**60, 10**4000, float("nan")])
def test_numbers_that_are_not_whole_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"id is .*expected a whole number"):
        json_files.integer(value, "id")


def test_third_coordinates_are_left_out() -> None:
    assert np.array_equal(json_files.points([[1, 2, 3], [4, 5, 6]], "ring"), [[1, 2], [4, 5]])
