from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_medlab.annotations.formats import xml_files
from napari_medlab.errors import InputRefusedError

if TYPE_CHECKING:
    from pathlib import Path


def written(folder: Path, text: str | bytes, name: str = "reading.xml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_elements_and_texts_are_read(tmp_path: Path) -> None:
    root = xml_files.parse(
        written(tmp_path, '<?xml version="1.0"?><a xmlns="http://x"><b k="1">é</b><b/></a>')
    )
    assert xml_files.local_name(root) == "a"
    assert [(child.text, child.get("k")) for child in root] == [("é", "1"), (None, None)]


LAUGHS = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;">]><a>&y;</a>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (LAUGHS, "entities"),
        (OUTSIDE, "entities"),
        ('<!DOCTYPE a SYSTEM "http://example.org/a.dtd"><a/>', "document type"),
        ("<a>" * 65 + "</a>" * 65, "line 1: elements are nested deeper than 64"),
        ("<a>\n<b></a>", "line 2: mismatched tag"),
        ("<a>&x;</a>", "undefined entity"),
        ("", "no element found"),
        ('<?xml version="1.0" encoding="no-such"?><a/>', "encoding"),
        (b"\x00\x01\x02", "line 1"),
    ],
)
def test_what_is_not_harmless_is_refused(tmp_path: Path, text: str | bytes, what: str) -> None:
    with pytest.raises(InputRefusedError, match=what) as caught:
        xml_files.parse(written(tmp_path, text))
    assert caught.value.code == "xml"


def test_size_and_number_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "<a>" + "<b/>" * 100 + "</a>")
    with pytest.raises(InputRefusedError, match="no more than 100 are read"):
        xml_files.parse(path, max_bytes=100)
    monkeypatch.setattr(xml_files, "MAX_ELEMENTS", 100)
    with pytest.raises(InputRefusedError, match="more than 100 elements"):
        xml_files.parse(path)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputRefusedError) as caught:
        xml_files.parse(tmp_path / "none.xml")
    assert caught.value.code == "file"


def test_the_beginning_tells_the_kind(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff<?xml version='1.0'?>\n<LidcReadMessage/>")
    assert xml_files.begins_with(path, b"ASAP", b"LidcReadMessage")
    assert not xml_files.begins_with(path, b"ASAP")
    assert not xml_files.begins_with(written(tmp_path, "LidcReadMessage", "a.txt"), b"LidcReadMessage")
    assert not xml_files.begins_with(tmp_path / "none.xml", b"a")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 40))
def test_damaged_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    whole = b"<?xml version='1.0'?><a><b k='1'>text</b></a>"
    path = written(tmp_path_factory.mktemp("xml"), whole[:at] + noise + whole[at:])
    try:
        root = xml_files.parse(path)
    except InputRefusedError:
        return
    assert root.tag
