from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_medlab.safe_paths import is_file_name, safe_join

FOLDER = Path("/data/set")
TRICKS = [
    "../x", "a/../../x", "/x", "\\x", "\\\\server\\x", "C:x", "C:\\x", "a/b:stream", "con", "a/NUL.txt", "lpt1.pt", "x.",
    "x ", "COM¹", "a\x00b", "a\nb", "", "..", "a/..", "x" * 600, "file:///etc/passwd", "imagesTr\\..\\..\\x",
]  # fmt: skip


@pytest.mark.parametrize("name", TRICKS)
def test_no_name_leads_out_of_a_folder(name: str) -> None:
    with pytest.raises(ValueError, match="no place inside"):
        safe_join(FOLDER, name)


@pytest.mark.parametrize(
    "name", ["a", "a/b.json", "./imagesTr/a.nii.gz", "a//b", "a\\b", "1.2.840/1.2.840.mhd"]
)
def test_plain_names_lie_inside(name: str) -> None:
    assert safe_join(FOLDER, name).is_relative_to(FOLDER)


@given(
    st.lists(
        st.sampled_from(["..", ".", "/", "\\", "a", "C:", "con", " ", "\0"]) | st.text(max_size=3), max_size=8
    )
)
def test_no_random_name_leads_out(parts: list[str]) -> None:
    try:
        found = safe_join(FOLDER, "".join(parts))
    except ValueError:
        return
    assert found.resolve().is_relative_to(FOLDER)


def test_a_name_is_one_of_a_file_on_every_system() -> None:
    assert is_file_name("4f2a4f2a")
    assert is_file_name("1.2.840.113")
    assert not any(map(is_file_name, ["a/b", "a\\b", "..", "nul", "a:b", "a.", "", "a\n"]))
