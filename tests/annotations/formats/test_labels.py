from __future__ import annotations

import pytest

from napari_medlab.annotations.formats.labels import checked_name, checked_text, leads_outside, shown
from napari_medlab.annotations.formats.plain_numbers import finite_numbers, whole_number


@pytest.mark.parametrize("text", ["a", " naïve =1+1 ", "x" * 256, "腫瘍"])
def test_printable_text_is_kept(text: str) -> None:
    assert checked_text(text) == text.strip()


@pytest.mark.parametrize("value", ["", "  ", "x" * 257, "a\nb", "a\x00b", "\u202eevil", None, 3, ["a"]])
def test_other_text_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the label is"):
        checked_text(value)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a.png", "a.png"),
        ("train/a.png", "train/a.png"),
        ("train\\a.png", "train/a.png"),
        ("./a.png", "a.png"),
        ("../a.png", "a.png"),
        ("train/../../a.png", "a.png"),
        ("/data/a.png", "a.png"),
        ("C:\\data\\a.png", "a.png"),
        ("file:///data/a.png", "a.png"),
        ("a..b/c...png", "a..b/c...png"),
    ],
)
def test_names_stay_in_their_folder(given: str, name: str) -> None:
    assert checked_name(given) == name
    assert not leads_outside(name)


@pytest.mark.parametrize("value", ["..", ".", "/", "a/..", "", None, "a\x1b.png", "x" * 1025])
def test_names_of_nothing_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="the image's name is"):
        checked_name(value)


def test_values_are_shown_short() -> None:
    assert shown("x" * 100) == repr("x" * 40 + "…")
    assert shown([1] * 1000) == "a list of 1000"
    assert shown({}) == "an object of 0"
    assert shown(10**5000) == "a number of more than 18 digits"
    assert shown(None) == "None"


def test_words_are_numbers() -> None:
    assert finite_numbers([" 1", "-2.5e-1 ", ".5", "3."], "x").tolist() == [1, -0.25, 0.5, 3]
    assert finite_numbers([], "x").tolist() == []
    assert whole_number(" 12 ", "n") == 12


@pytest.mark.parametrize("word", ["", "1_0", "nan", "inf", "1e", "0x10", "1,5", "٣", "1e9999", "1e8"])
def test_words_that_are_no_numbers_are_refused(word: str) -> None:
    with pytest.raises(ValueError, match="x holds"):
        finite_numbers(["1", word], "x")


@pytest.mark.parametrize("word", [None, "", "-1", "1.0", "٣", "9" * 16, "11"])
def test_words_that_are_not_whole_are_refused(word: str | None) -> None:
    with pytest.raises(ValueError, match=r"n is .* expected a whole number from 0 to 10"):
        whole_number(word, "n", most=10)
