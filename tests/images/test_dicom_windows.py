"""The limits of brightness that a DICOM header offers."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dicom_phantom import mammogram
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from napari_medlab.images import open_here
from napari_medlab.images.dicom.attributes import TAGS
from napari_medlab.images.dicom.values import Elements
from napari_medlab.images.dicom.windows import CURVE, windows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_medlab.images import Window


def header(**texts: str) -> Elements:
    elements = Elements()
    for keyword, text in texts.items():
        elements.raw[TAGS[keyword][0]] = text.encode("latin-1")
    return elements


def table(
    descriptor: Sequence[int], data: bytes, name: str = "", *, signed: bool = False, little: bool = True
) -> Elements:
    item = Elements(little=little)
    order = "<" if little else ">"
    item.raw[TAGS["LUTDescriptor"][0]] = b"".join(
        struct.pack(order + "H", value % 65536) for value in descriptor
    )
    item.raw[TAGS["LUTData"][0]] = data
    if name:
        item.raw[TAGS["LUTExplanation"][0]] = name.encode()
    if signed:
        item.signed.add(TAGS["LUTDescriptor"][0])
    elements = header(WindowCenter="40", WindowWidth="80")
    elements.sequences[TAGS["VOILUTSequence"][0]] = [item]
    return elements


def limits(windows: Sequence[Window]) -> list[tuple[str, float, float]]:
    return [(window.name, window.low, window.high) for window in windows]


def test_windows_come_in_their_order_with_their_names() -> None:
    found = windows_of(
        header(WindowCenter="40\\-600", WindowWidth="400\\1500", WindowCenterWidthExplanation="SOFT\\LUNG")
    )
    assert limits(found) == [("SOFT", -160, 240), ("LUNG", -1350, 150)]
    assert not any(window.curve for window in found)


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"WindowCenter": "40"},
        {"WindowWidth": "40"},
        {"WindowCenter": "40", "WindowWidth": "0"},
        {"WindowCenter": "40", "WindowWidth": "-5"},
        {"WindowCenter": "nan", "WindowWidth": "5"},
        {"WindowCenter": "5", "WindowWidth": "inf"},
        {"WindowCenter": "five", "WindowWidth": "5"},
        {"WindowCenter": "", "WindowWidth": ""},
    ],
)
def test_what_is_no_window_is_left_out(texts: dict[str, str]) -> None:
    assert windows_of(header(**texts)) == ()


def test_one_bad_window_spoils_no_other() -> None:
    found = windows_of(
        header(WindowCenter="1\\nan\\40", WindowWidth="0\\5\\80", WindowCenterWidthExplanation="A\\B\\C")
    )
    assert limits(found) == [("C", 0, 80)]


def test_names_are_short_and_printable() -> None:
    (found,) = windows_of(
        header(WindowCenter="1", WindowWidth="2", WindowCenterWidthExplanation="a\x1b[31m\n" + "b" * 100)
    )
    assert found.name.startswith("a[31mb")
    assert len(found.name) == 40


def test_no_more_windows_are_offered_than_anybody_reads() -> None:
    assert len(windows_of(header(WindowCenter="\\".join(["1"] * 50), WindowWidth="\\".join(["2"] * 50)))) == 8


@given(centre=st.integers(-2000, 5000), width=st.integers(1, 4000))
def test_a_sigmoid_is_that_of_the_standard(centre: int, width: int) -> None:
    (found,) = windows_of(header(WindowCenter=str(centre), WindowWidth=str(width), VOILUTFunction="SIGMOID"))
    values = np.linspace(found.low, found.high, CURVE)
    np.testing.assert_allclose(found.curve, 1 / (1 + np.exp(-4 * (values - centre) / width)), atol=1e-4)
    assert found.low < centre < found.high


@pytest.mark.parametrize("little", [True, False])
def test_a_table_of_16_bits_becomes_a_curve_over_its_values(*, little: bool) -> None:
    values = (np.linspace(0, 1, 1000) ** 2 * 4095).astype("<u2" if little else ">u2")
    curve, line = windows_of(table((1000, 200, 12), values.tobytes(), "NORMAL", little=little))
    assert (curve.name, curve.low, curve.high) == ("NORMAL", 200, 1199)
    expected = np.interp(np.linspace(0, 999, CURVE), np.arange(1000), values / 4095)
    np.testing.assert_allclose(curve.curve, expected, atol=1e-4)
    assert (line.low, line.high) == (0, 80)


def test_a_table_of_8_bits_may_be_stored_in_bytes_or_in_words() -> None:
    values = np.arange(0, 201, dtype=np.uint8)
    bytes_ = windows_of(table((201, 0, 8), values.tobytes() + b"\0"))[0]
    words = windows_of(table((201, 0, 8), values.astype("<u2").tobytes()))[0]
    assert bytes_ == words
    assert (bytes_.low, bytes_.high, len(bytes_.curve)) == (0, 200, 201)
    np.testing.assert_allclose(bytes_.curve, values / 255, atol=1e-4)


def test_the_first_value_may_be_negative_where_values_are_signed() -> None:
    data = np.arange(300, dtype="<u2").tobytes()
    assert windows_of(table((300, -1024, 16), data, signed=True))[0].low == -1024
    assert windows_of(table((300, -1024, 16), data))[0].low == 65536 - 1024


def test_a_count_of_0_means_65536() -> None:
    found = windows_of(table((0, 0, 16), np.arange(65536, dtype="<u2").tobytes()))[0]
    assert (found.low, found.high, len(found.curve)) == (0, 65535, CURVE)
    assert (found.curve[0], found.curve[-1]) == (0, 1)


@pytest.mark.parametrize(
    ("descriptor", "count"),
    [
        ((300, 0), 300),
        ((300, 0, 16), 299),
        ((300, 0, 16), 10),
        ((300, 0, 0), 300),
        ((300, 0, 32), 300),
        ((1, 0, 16), 1),
        ((), 5),
    ],
)
def test_a_broken_table_is_left_out_and_the_windows_stay(descriptor: tuple[int, ...], count: int) -> None:
    found = windows_of(table(descriptor, np.zeros(count, "<u2").tobytes()))
    # half as many words as values are as many bytes as values: a table of bytes, which cannot be told from a short one
    assert limits(found)[-1] == ("", 0, 80)
    assert len(found) == 1 or (len(descriptor) == 3 and 2 * count >= descriptor[0] > count)


@given(
    descriptor=st.lists(st.integers(-40000, 70000), max_size=4),
    data=st.binary(max_size=700),
    signed=st.booleans(),
)
def test_whatever_a_table_holds_a_curve_is_brightness_over_some_values(
    descriptor: list[int], data: bytes, *, signed: bool
) -> None:
    for window in windows_of(table(descriptor, data, signed=signed)):
        assert window.low < window.high
        assert all(0 <= value <= 1 for value in window.curve)


def test_the_windows_of_a_file_are_those_of_its_header(tmp_path: Path) -> None:
    dataset = mammogram(np.full((6, 5), 500, np.uint16))
    dataset.WindowCenter, dataset.WindowWidth = [500, 600], [100, 200]
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "US", [256, 400, 8]))
    item.add(DataElement("LUTData", "OW", np.arange(256, dtype="<u2").tobytes()))
    item.LUTExplanation = "CURVED"
    dataset.VOILUTSequence = [item]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert limits(open_here(tmp_path / "a.dcm").windows) == [
        ("CURVED", 400, 655),
        ("", 450, 550),
        ("", 500, 700),
    ]
